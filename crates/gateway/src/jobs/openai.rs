//! `/v2/{endpoint}/openai/v1/*`: an OpenAI call becomes a job whose input names the route and carries the body
//! as it came; what the worker yields becomes the answer (facts: worker-vllm's input and output shapes).
//!
//! With `"stream": true` the yielded texts are the server-sent events themselves, cut anywhere, and are passed
//! on as they come, event by event ([`super::events`]). Otherwise the answer is the one object that was yielded or returned. A client that
//! goes away cancels its job.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Method, StatusCode, Uri, header};
use runyard_domain::{Job, JobId, Outcome, Phase};
use runyard_engine::NewJob;
use runyard_vault::Caller;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::access::Runs;
use super::error::JobError;
use super::events::Events;
use super::request::{self, BadBody};
use super::status::answer_room;
use super::worker_error::object_of;
use crate::Gateway;
use crate::body::{Limits, Room};
use crate::json::{Malformed, pick};
use crate::rates::Pass;
use crate::splice::Splice;

/// How much of a stream is read from the store at once.
const READ_BYTES: u64 = 1 << 20;

/// Any method on any path below `openai/`.
pub(crate) async fn call(
    State(gateway): State<Gateway>,
    Runs(mut target): Runs,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, JobError> {
    let route = uri.path().split_once("/openai").map_or("/", |(_, rest)| rest).to_owned();
    let asked = match method {
        Method::GET => Asked { input: json!({"openai_route": route}).to_string().into(), streams: false },
        Method::POST => read(&gateway, &route, &headers, body).await?,
        _ => return Err(JobError::Method("GET and POST")),
    };
    let new = NewJob { sync: true, ..NewJob::new(target.endpoint.clone(), asked.input) };
    let accepted = gateway.engine().submit(&target.caller, new).await?;
    let pass = target.take_pass();
    let following = Following {
        gateway,
        caller: target.caller,
        job: accepted.job.id,
        over: false,
        room: None,
        _pass: pass,
    };
    if asked.streams { Ok(events(following).await) } else { whole(following).await }
}

struct Asked {
    input: Bytes,
    streams: bool,
}

async fn read(gateway: &Gateway, route: &str, headers: &HeaderMap, body: Body) -> Result<Asked, JobError> {
    let (size, timing) = (gateway.options().runsync_limit, gateway.timing());
    let held = gateway.requests().read(headers, body, Limits::new(timing, size)).await;
    let held = held.map_err(|error| JobError::unread(&error, size, timing))?;
    let text = request::object(&held.bytes)?;
    let [streams] =
        pick(text, ["stream"]).map_err(|error| BadBody::Malformed(Malformed::locate(text, &error)))?;
    let streams = streams.is_some_and(|raw| raw.get() == "true");
    let mut input = format!("{{\"openai_route\":{},\"openai_input\":", json!(route)).into_bytes();
    input.extend_from_slice(text.trim().as_bytes());
    input.push(b'}');
    Ok(Asked { input: input.into(), streams })
}

/// A job that a client waits for. Dropped before the job's end, it cancels it: nobody will read the answer.
struct Following {
    gateway: Gateway,
    caller: Caller,
    job: JobId,
    over: bool,
    /// Of the values that were handed on last.
    room: Option<Room>,
    _pass: Option<Pass>,
}

impl Drop for Following {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let (gateway, caller, job) = (self.gateway.clone(), self.caller.clone(), self.job.clone());
        tokio::spawn(async move {
            if let Err(error) = gateway.engine().cancel(&caller, &job).await {
                tracing::debug!(job.id = %job, %error, "a job whose client went away was not cancelled");
            }
        });
    }
}

impl Following {
    /// The next yielded values, or the job once it has ended and nothing is left.
    async fn next(&mut self) -> Result<Step, JobError> {
        self.room = None;
        let engine = self.gateway.engine();
        let waiter = engine.waiter(&self.job);
        loop {
            let changed = waiter.changed();
            tokio::pin!(changed);
            let job = engine
                .job(&self.job)?
                .ok_or_else(|| JobError::NoSuchJob { job: self.job.to_string(), endpoint: String::new() })?;
            let (chunks, _) = engine.reader().undelivered(&self.job, READ_BYTES)?;
            if let Some(last) = chunks.last() {
                let upto = last.index;
                let bytes = chunks.iter().map(|chunk| chunk.value.len()).sum();
                self.room = answer_room(&self.gateway, bytes).await?;
                let mut values = Vec::with_capacity(chunks.len());
                for chunk in chunks {
                    values.push(engine.bytes(chunk.value).await?);
                }
                // Nobody else reads this stream; what breaks off here breaks off for its one client.
                engine.delivered(&self.job, upto).await?;
                return Ok(Step::Values(values));
            }
            if job.is_done() {
                self.over = true;
                return Ok(Step::Ended(Box::new(job)));
            }
            changed.await;
        }
    }
}

enum Step {
    Values(Vec<Bytes>),
    Ended(Box<Job>),
}

/// The answer of a call that does not stream.
async fn whole(mut following: Following) -> Result<Response, JobError> {
    let mut first = None;
    let job = loop {
        match following.next().await? {
            Step::Values(values) => first = first.or_else(|| values.into_iter().next()),
            Step::Ended(job) => break job,
        }
    };
    if let Some((status, error)) = failure(&job) {
        return Ok(json_answer(status, error.to_string().into()));
    }
    let output = match following.gateway.engine().reader().output(&job.id)? {
        Some(payload) => {
            following.room = answer_room(&following.gateway, payload.len()).await?;
            following.gateway.engine().bytes(payload).await?
        }
        None => Bytes::from_static(b"null"),
    };
    // `return_aggregate_stream` makes a list of what was yielded; without it the list is empty.
    let answer = match serde_json::from_slice::<Vec<Box<RawValue>>>(&output) {
        Ok(list) => list.into_iter().next().map(|raw| Bytes::from(raw.get().to_owned())).or(first),
        Err(_) if output.as_ref() == b"null" => first,
        Err(_) => Some(output),
    };
    let answer = answer.unwrap_or_else(|| Bytes::from_static(b"{}"));
    if let Some((status, error)) = yielded_error(&answer) {
        return Ok(json_answer(status, error));
    }
    let mut splice = Splice::default();
    splice.hold(following.room.take()).raw(answer);
    Ok(splice.answer())
}

/// What a worker yielded, where it is an error: an object under `error`, or, from vLLM before 0.10, an object that
/// calls itself one, which then gets the wrapping that clients look for.
fn yielded_error(value: &Bytes) -> Option<(StatusCode, Bytes)> {
    let read: Value = serde_json::from_slice(value).ok().filter(Value::is_object)?;
    if let Some(error) = read.get("error").filter(|error| !error.is_null()) {
        return Some((error_status(error), value.clone()));
    }
    let bare = read.get("object").is_some_and(|kind| kind == "error") && read["message"].is_string();
    bare.then(|| (error_status(&read), json!({"error": read}).to_string().into()))
}

/// The status that an OpenAI error object asks for, else 500.
fn error_status(error: &Value) -> StatusCode {
    let code = error.get("code").and_then(Value::as_u64).filter(|code| (400..600).contains(code));
    code.and_then(|code| StatusCode::from_u16(code as u16).ok()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// How a job that did not succeed looks to an OpenAI client.
fn failure(job: &Job) -> Option<(StatusCode, Value)> {
    let Phase::Done { outcome, .. } = &job.phase else { return None };
    let (status, code, message) = match outcome {
        Outcome::Completed => return None,
        Outcome::Failed { error, .. } if object_of(error).is_some() => {
            let error = object_of(error)?;
            return Some((error_status(&error), json!({"error": error})));
        }
        Outcome::Failed { reason, .. } => {
            (StatusCode::INTERNAL_SERVER_ERROR, reason.code(), reason.sentence())
        }
        Outcome::TimedOut { reason } => (StatusCode::GATEWAY_TIMEOUT, reason.code(), reason.sentence()),
        Outcome::Cancelled { by } => {
            (StatusCode::SERVICE_UNAVAILABLE, "cancelled", format!("the job was cancelled by {by}"))
        }
    };
    let error = json!({"error": {"message": message, "type": "server_error", "param": null, "code": code}});
    Some((status, error))
}

fn json_answer(status: StatusCode, body: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The answer of a call that streams. The status line waits for the first value, so that a job that fails
/// before it yields anything is an error and not a broken stream.
async fn events(mut following: Following) -> Response {
    let mut events = Events::default();
    let first = match following.next().await {
        Ok(Step::Values(values)) => match values.first().and_then(yielded_error) {
            Some((status, error)) => {
                // Nothing follows that a client would read; the job may still come to its own end.
                while let Ok(Step::Values(_)) = following.next().await {}
                return json_answer(status, error);
            }
            None => events.add(&values),
        },
        Ok(Step::Ended(job)) => match failure(&job) {
            Some((status, error)) => return json_answer(status, error.to_string().into()),
            None => Bytes::new(),
        },
        Err(error) => return error.into_response(),
    };
    let first = stream::once(async move { Ok::<_, std::convert::Infallible>(first) });
    let rest = stream::unfold((events, following), |(mut events, mut following)| async move {
        let sent = further(&mut events, &mut following).await?;
        Some((Ok(sent), (events, following)))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(first.chain(rest))).into_response()
}

/// What can be sent next, until the job has ended; then the error that it ended with, if it did.
async fn further(events: &mut Events, following: &mut Following) -> Option<Bytes> {
    while !following.over {
        let sent = match following.next().await.ok()? {
            Step::Values(values) => events.add(&values),
            Step::Ended(job) => match failure(&job) {
                Some((_, error)) => format!("data: {error}\n\n").into(),
                None => events.rest(),
            },
        };
        if !sent.is_empty() {
            return Some(sent);
        }
    }
    None
}
