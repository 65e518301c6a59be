//! Results and chunks: a worker's SDK sends each once, so a 200 here means that it is with the server or
//! synced to the spool.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use runyard_domain::JobId;
use runyard_listener::{Pace, Received};
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout};

use crate::agent::Agent;
use crate::reply::{self, Reply};
use crate::room::{self, Part};
use crate::spool::Post;
use crate::upstream::{Answer, Away, Outgoing};
use crate::worker::{PostGuard, Worker};

/// The largest body, in bytes.
pub const MAX_BODY: usize = 64 * 1024 * 1024;
/// How long the server may take to settle a post before it counts as away.
const ANSWER: Duration = Duration::from_secs(30);
/// Numbers the chunks of a job, so that the server can drop repetitions.
const CHUNK: &str = "x-runyard-chunk";
/// Says when a worker began to send a result, in milliseconds since the epoch.
const POSTED: &str = "x-runyard-posted";
/// Marks a post in a worker's place: there is no result, and the body's `error` says why.
const REFUSED: &str = "x-runyard-refused";
/// Why a result that is over [`MAX_BODY`] is none.
const TOO_LONG: &str =
    "it is larger than 64 MiB; store it elsewhere (rp_upload, a volume) and return its address";

/// A body in memory, and its parts of its worker's room and of everybody's.
#[derive(Debug)]
pub struct Body {
    /// The body.
    pub bytes: Bytes,
    _room: [Part; 2],
}

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoBody {
    /// It is longer than [`MAX_BODY`].
    TooLong,
    /// The worker broke off.
    Broken,
    /// It came too slowly.
    Slow,
}

/// The length that a request announces.
pub fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A local worker that needs longer to send has stopped; the room that it holds is others' too.
const PATIENCE: Duration = Duration::from_mins(1);
/// Bytes a second that it has to send, once its patience is used up.
const RATE: u64 = 256 << 10;

/// Reads a whole body, within the room of its worker and of all. One that is too long is read to its end and dropped,
/// because an SDK that cannot finish writing does not read the answer.
pub async fn collect(
    agent: &Agent,
    worker: &Worker,
    mut body: Received,
    announced: Option<usize>,
) -> Result<Body, NoBody> {
    let longest = announced.unwrap_or(MAX_BODY).min(MAX_BODY);
    let own = Arc::clone(&worker.room).acquire_many_owned(room::in_kib(longest)).await;
    let own = own.map_err(|_| NoBody::Broken)?;
    let all = agent.room.part(longest).await.ok_or(NoBody::Broken)?;
    let mut pace = Pace::new(PATIENCE, RATE);
    let mut bytes = BytesMut::with_capacity(announced.unwrap_or(0).min(MAX_BODY));
    let mut too_long = false;
    loop {
        let asked = Instant::now();
        let Some(frame) = timeout(pace.left(), body.frame()).await.map_err(|_| NoBody::Slow)? else { break };
        let Ok(data) = frame.map_err(|_| NoBody::Broken)?.into_data() else { continue };
        pace.moved(asked.elapsed(), data.len());
        too_long |= bytes.len() + data.len() > MAX_BODY;
        if too_long {
            bytes.clear();
        } else {
            bytes.extend_from_slice(&data);
        }
    }
    if too_long { Err(NoBody::TooLong) } else { Ok(Body { bytes: bytes.freeze(), _room: [own, all] }) }
}

fn unread(error: NoBody) -> Response<Reply> {
    match error {
        // SDKs send a result again after a 5xx, and never after anything else.
        NoBody::Slow => {
            reply::last_refusal(StatusCode::SERVICE_UNAVAILABLE, "the body came too slowly: send it again")
        }
        NoBody::TooLong | NoBody::Broken => reply::empty(StatusCode::BAD_REQUEST),
    }
}

/// `POST job-done`: a result, or a job's progress.
pub async fn done(
    agent: Arc<Agent>,
    worker: Arc<Worker>,
    job: JobId,
    mut request: Outgoing,
    body: Received,
    announced: Option<usize>,
) -> Response<Reply> {
    let guard = worker.post_begins();
    request.headers.insert(POSTED, HeaderValue::from(agent.now().0));
    let body = match collect(&agent, &worker, body, announced).await {
        Ok(body) => Some(body),
        // Refusing it would leave the job running for ever: it fails with the reason instead.
        Err(NoBody::TooLong) => {
            refused(&mut request, TOO_LONG);
            None
        }
        Err(error) => return unread(error),
    };
    if let Some(body) = &body {
        request.body = body.bytes.clone();
    }
    let last = !is_progress(&request.body);
    settle(agent, worker, Post::new(job, last, request), body, guard).await
}

/// Answers for a worker whose SDK has said that it cannot send a job's result: nobody else would, and the job would be
/// run again for the same.
pub fn refuse(agent: &Arc<Agent>, worker: &Arc<Worker>, job: JobId, why: &str) {
    // What could not be sent was a part of the result, and the result was sent all the same.
    if !worker.holds(&job) {
        return;
    }
    let path = format!("/w/{}/v2/{}/job-done/{}/{job}", worker.token, worker.endpoint, worker.id);
    let mut request =
        Outgoing { method: Method::POST, path, headers: HeaderMap::new(), body: Bytes::new(), only: None };
    refused(&mut request, &format!("its SDK could not send it: {why}"));
    let (agent, worker, guard) = (Arc::clone(agent), Arc::clone(worker), worker.post_begins());
    tokio::spawn(async move { settle(agent, worker, Post::new(job, true, request), None, guard).await });
}

/// Makes a request say that a job has no result that could be sent, and why.
fn refused(request: &mut Outgoing, why: &str) {
    request.headers.insert(REFUSED, HeaderValue::from_static("1"));
    request.body = serde_json::json!({ "error": why }).to_string().into();
}

/// `POST job-stream`: one chunk of a result.
pub async fn stream(
    agent: Arc<Agent>,
    worker: Arc<Worker>,
    job: JobId,
    mut request: Outgoing,
    body: Received,
    announced: Option<usize>,
) -> Response<Reply> {
    let guard = worker.post_begins();
    let body = match collect(&agent, &worker, body, announced).await {
        Ok(body) => body,
        Err(NoBody::TooLong) => {
            return reply::refusal(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the chunk is over 64 MiB, which is the limit",
            );
        }
        Err(error) => return unread(error),
    };
    request.body = body.bytes.clone();
    request.headers.insert(CHUNK, HeaderValue::from(worker.next_chunk(&job)));
    settle(agent, worker, Post::new(job, false, request), Some(body), guard).await
}

/// Settles a post in a task of its own: it was received whole, so it counts even if its worker dies now.
async fn settle(
    agent: Arc<Agent>,
    worker: Arc<Worker>,
    post: Post,
    body: Option<Body>,
    guard: PostGuard,
) -> Response<Reply> {
    let settled = tokio::spawn(async move {
        let response = match forward(&agent, &worker, &post).await {
            Ok(answer) => {
                if post.last && answer.status < StatusCode::INTERNAL_SERVER_ERROR {
                    worker.release_job(&post.job);
                }
                reply::passed_on(answer, None)
            }
            Err(Away) => keep(&agent, &worker, post).await,
        };
        drop((body, guard));
        response
    });
    settled.await.unwrap_or_else(|_| reply::empty(StatusCode::INTERNAL_SERVER_ERROR))
}

/// To the server, unless earlier posts of the worker wait for it in the spool.
async fn forward(agent: &Agent, worker: &Worker, post: &Post) -> Result<Answer, Away> {
    if agent.spool.holds_of(&worker.id) {
        return Err(Away);
    }
    let call = timeout(ANSWER, agent.upstream.call(&post.request, |_, _| ())).await;
    call.unwrap_or(Err(Away)).map(|(answer, ())| answer)
}

async fn keep(agent: &Agent, worker: &Worker, post: Post) -> Response<Reply> {
    let (job, last) = (post.job.clone(), post.last);
    match agent.spool.append(worker, post).await {
        Ok(()) => {
            if last {
                worker.release_job(&job);
            }
            reply::empty(StatusCode::OK)
        }
        Err(error) => {
            tracing::error!(worker.id = %worker.id, job.id = %job, %error, "A result could not be spooled");
            sleep(Duration::from_secs(1)).await;
            reply::refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the server is away and the spool cannot be written",
            )
        }
    }
}

/// Whether a job-done body only tells progress: `{"status":"IN_PROGRESS",…}`.
pub fn is_progress(body: &[u8]) -> bool {
    // As the server reads it, to the letter: the last of equal names counts, and what is no JSON is a result.
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(body).unwrap_or_default();
    fields.get("status").is_some_and(|status| status.get() == "\"IN_PROGRESS\"")
}

#[cfg(test)]
mod tests {
    use super::is_progress;

    #[test]
    fn progress_is_not_a_result() {
        for body in [
            r#"{"status":"IN_PROGRESS","output":1}"#,
            r#" { "status": "IN_PROGRESS" , "output": {"a":1}}"#,
            r#"{"output":1,"status":"IN_PROGRESS"}"#,
        ] {
            assert!(is_progress(body.as_bytes()), "{body}");
        }
        for body in [
            r#"{"output":{"status":"IN_PROGRESS"}}"#,
            "{}",
            "",
            r#"{"status":"COMPLETED"}"#,
            r#"{"status":"IN_PROGRESS","status":"COMPLETED"}"#,
            r#"{"status":"IN_PROGRESS""#,
        ] {
            assert!(!is_progress(body.as_bytes()), "{body}");
        }
    }
}
