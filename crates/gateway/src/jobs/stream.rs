//! `/stream`: poll and drain. A chunk is forgotten only after an answer with it was taken by the connection,
//! so a client that gives up gets it again; a terminal status comes together with all that remains, and while
//! more remains than fits, the answer says IN_PROGRESS.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use runyard_domain::{Job, JobId, Outcome, Phase};
use runyard_store::Chunk;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::access::Reads;
use super::error::JobError;
use super::status::{answer_room, state, wait};
use crate::Gateway;
use crate::splice::Splice;

/// How much one answer carries; a single larger chunk goes alone.
const ANSWER_BYTES: u64 = 1 << 20;

/// The longest wait for the noting of an answer that was just taken.
const NOTING_WAIT: Duration = Duration::from_secs(2);

/// `GET|POST /stream/{job}?wait=`.
pub(crate) async fn stream(
    State(gateway): State<Gateway>,
    Reads(target): Reads,
) -> Result<Response, JobError> {
    let until = Instant::now() + wait(target.query.as_deref(), gateway.timing().stream_hold)?;
    let id = target.job(&gateway)?.id;
    let waiter = gateway.engine().waiter(&id);
    loop {
        let changed = waiter.changed();
        gateway.notings().settled(&id).await;
        let job = target.job(&gateway)?;
        let (chunks, more) = gateway.engine().reader().undelivered(&id, ANSWER_BYTES)?;
        if chunks.is_empty() && is_over(&gateway, &job) {
            return Err(JobError::StreamOver(id.to_string()));
        }
        let waits = Instant::now() < until && !gateway.engine().is_waiting_over();
        if !chunks.is_empty() || job.is_done() || !waits {
            return answer(&gateway, &job, chunks, more).await;
        }
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

/// Whether a cancelled job's client had its time to see the end: RunPod's Python client knows no CANCELLED in
/// its stream loop and ends only at an error.
fn is_over(gateway: &Gateway, job: &Job) -> bool {
    let pause = gateway.timing().cancelled_stream.as_millis() as i64;
    match &job.phase {
        Phase::Done { at, outcome: Outcome::Cancelled { .. }, .. } => {
            gateway.engine().now().since(*at) >= pause
        }
        _ => false,
    }
}

async fn answer(gateway: &Gateway, job: &Job, chunks: Vec<Chunk>, more: bool) -> Result<Response, JobError> {
    let status = if job.is_done() && more { "IN_PROGRESS" } else { state(job) };
    let upto = chunks.last().map(|chunk| chunk.index);
    let mut splice = Splice::default();
    splice.hold(answer_room(gateway, chunks.iter().map(|chunk| chunk.value.len()).sum()).await?);
    splice.text("{").field("status", status).key("stream").text("[");
    for (at, chunk) in chunks.into_iter().enumerate() {
        splice.text(if at == 0 { "{" } else { ",{" }).value("output").text(":");
        splice.raw(gateway.engine().bytes(chunk.value).await?).text("}");
    }
    splice.text("]}");
    let Some(upto) = upto else { return Ok(splice.answer()) };
    let (gateway, id) = (gateway.clone(), job.id.clone());
    Ok(splice.answer_then(move || {
        let noting = gateway.notings().begin(&id);
        tokio::spawn(async move {
            // A failure only means that these chunks come once more.
            if let Err(error) = gateway.engine().delivered(&id, upto).await {
                tracing::warn!(job.id = %id, %error, "a delivered part of a stream could not be noted");
            }
            drop(noting);
        });
    }))
}

/// Answers that were taken and are not noted yet. A client may ask again within a millisecond, faster than the
/// disk: that poll waits here, and so gets no chunk twice.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notings {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    open: Mutex<HashMap<JobId, usize>>,
    changed: Notify,
}

/// One answer until it is noted.
struct Noting {
    shared: Arc<Shared>,
    job: JobId,
}

impl Notings {
    fn begin(&self, job: &JobId) -> Noting {
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open.entry(job.clone()).or_default() += 1;
        Noting { shared: self.shared.clone(), job: job.clone() }
    }

    async fn settled(&self, job: &JobId) {
        let settled = async {
            loop {
                let changed = self.shared.changed.notified();
                if !self.shared.open.lock().unwrap_or_else(PoisonError::into_inner).contains_key(job) {
                    return;
                }
                changed.await;
            }
        };
        // Overdue notings cost a repetition, no loss.
        let _ = tokio::time::timeout(NOTING_WAIT, settled).await;
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.job) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.job);
            }
        }
        drop(open);
        self.shared.changed.notify_waiters();
    }
}
