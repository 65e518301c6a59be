//! Batches as the wire shows them: RunPod's fields first, then our own. RunPod's batches stay `FINALIZED` for ever;
//! ours end as `COMPLETED`, or as `FAILED` where no request ended well.

use std::collections::VecDeque;
use std::io;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use jiff::Timestamp as Instant;
use runyard_domain::batch::{BatchEnd, BatchState};
use runyard_domain::{Job, Outcome, Phase, Timestamp};
use runyard_engine::{BatchView, EngineError};

use super::status::state;
use crate::Gateway;
use crate::splice::Splice;

/// The wire's word for a batch's state.
fn word(state: &BatchState) -> &'static str {
    match state {
        BatchState::Draft { .. } => "DRAFT",
        BatchState::Finalized { .. } => "FINALIZED",
        BatchState::Ended { how: BatchEnd::Completed, .. } => "COMPLETED",
        BatchState::Ended { how: BatchEnd::Failed, .. } => "FAILED",
        BatchState::Ended { how: BatchEnd::Cancelled { .. }, .. } => "CANCELLED",
    }
}

/// One batch; with the jobs that a call added to it.
pub(crate) fn show(view: &BatchView, added: Option<&[Job]>) -> Splice {
    let BatchView { batch, counts, .. } = view;
    let mut splice = Splice::default();
    splice.text("{").field("id", batch.id.as_str()).field("endpointId", batch.endpoint.as_str());
    splice.field("status", word(&batch.state));
    splice.field("requestTotal", &counts.total()).field("requestInProgress", &counts.running);
    splice.field("requestCompleted", &counts.completed).field("requestFailed", &counts.failed);
    splice.field("createdAt", &batch.created_at.0);
    splice.field("requestQueued", &counts.waiting).field("requestCancelled", &counts.cancelled);
    if let Some(name) = &batch.name {
        splice.field("name", name);
    }
    if let BatchState::Ended { at, how } = &batch.state {
        splice.field("endedAt", &at.0).field("keptUntil", &batch.due_at().0);
        if let BatchEnd::Cancelled { by } = how {
            splice.field("cancelledBy", by);
        }
    }
    if let Some(added) = added {
        splice.key("requests").text("[");
        for (at, job) in added.iter().enumerate() {
            splice.text(if at == 0 { "{" } else { ",{" });
            splice.field("id", job.id.as_str()).field("status", state(job)).text("}");
        }
        splice.text("]");
    }
    splice.text("}");
    splice
}

/// A page of batches; of one more than `limit` it is known that it is there.
pub(crate) fn list_page(found: &[BatchView], offset: usize, limit: usize) -> Splice {
    let mut splice = Splice::default();
    splice.text("{\"batches\":[");
    for (at, view) in found.iter().take(limit).enumerate() {
        if at > 0 {
            splice.text(",");
        }
        splice.append(show(view, None));
    }
    splice.text("],\"offset\":").value(&offset).field("limit", &limit);
    splice.field("hasMore", &(found.len() > limit)).text("}");
    splice
}

/// A page of requests. Outputs are read one after the other while the answer is sent: a page of large ones does not
/// have to fit into memory.
pub(crate) fn request_page(
    gateway: Gateway,
    view: &BatchView,
    jobs: Vec<Job>,
    offset: usize,
    limit: usize,
) -> Response {
    let total = view.counts.total() as usize;
    let has_more = offset + jobs.len() < total;
    let tail = format!("],\"total\":{total},\"offset\":{offset},\"limit\":{limit},\"hasMore\":{has_more}}}");
    let parts = Parts { gateway, jobs: jobs.into(), opened: false, tail: Some(tail) };
    let body = stream::unfold(parts, |mut parts| async move {
        let piece = parts.next().await?;
        Some((piece, parts))
    });
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What is still to be sent.
struct Parts {
    gateway: Gateway,
    jobs: VecDeque<Job>,
    opened: bool,
    tail: Option<String>,
}

impl Parts {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let opening = if self.opened { "," } else { "{\"requests\":[" };
        let Some(job) = self.jobs.pop_front() else {
            let tail = self.tail.take()?;
            return Some(Ok(if self.opened { tail } else { format!("{opening}{tail}") }.into()));
        };
        self.opened = true;
        match request(&self.gateway, &job).await {
            Ok(text) => Some(Ok([opening.as_bytes(), &text].concat().into())),
            Err(error) => {
                // The status is sent already: the connection breaks instead of ending in half a document.
                tracing::error!(job.id = %job.id, %error, "a request of a batch cannot be shown");
                Some(Err(io::Error::other(error)))
            }
        }
    }
}

/// One request with what came of it.
async fn request(gateway: &Gateway, job: &Job) -> Result<Vec<u8>, EngineError> {
    let mut text = Vec::new();
    put(&mut text, "{\"id\":", job.id.as_str());
    put(&mut text, ",\"status\":", state(job));
    let (mut started, mut ended) = (None, None);
    match &job.phase {
        Phase::Running { started: at, .. } => started = Some(*at),
        Phase::Done { at, outcome, execution_ms, .. } => {
            ended = Some(*at);
            started = execution_ms.map(|ms| at.plus(-ms));
            match outcome {
                Outcome::Completed => {
                    if let Some(output) = gateway.engine().reader().output(&job.id)? {
                        text.extend_from_slice(b",\"output\":");
                        text.extend_from_slice(&gateway.engine().bytes(output).await?);
                    }
                }
                Outcome::Failed { error, .. } => put(&mut text, ",\"error\":", error),
                Outcome::TimedOut { reason } => put(&mut text, ",\"error\":", &reason.sentence()),
                Outcome::Cancelled { by } => put(&mut text, ",\"error\":", &format!("cancelled by {by}")),
            }
        }
        _ => {}
    }
    for (name, at) in [(",\"startedAt\":", started), (",\"completedAt\":", ended)] {
        if let Some(at) = at.and_then(iso) {
            put(&mut text, name, &at);
        }
    }
    text.push(b'}');
    Ok(text)
}

/// A field whose value is a text.
fn put(text: &mut Vec<u8>, key: &str, value: &str) {
    text.extend_from_slice(key.as_bytes());
    serde_json::to_writer(text, value).expect("a text has a JSON form");
}

/// A time in ISO 8601, always with three decimals, so that texts compare as times do; `None` for one that no calendar has.
fn iso(at: Timestamp) -> Option<String> {
    Instant::from_millisecond(at.0).ok().map(|at| format!("{at:.3}"))
}
