//! `/status`, `/status-sync`, and the status object that most answers consist of.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use runyard_domain::endpoint::WEEK_MS;
use runyard_domain::{Job, JobId, Outcome, Payload, Phase, WaitReason};
use runyard_engine::{Ended, EngineError};
use runyard_vault::Denied;
use serde::Serialize;
use tokio::time::Instant;

use super::access::{Reads, Target};
use super::error::JobError;
use super::query::number;
use crate::Gateway;
use crate::body::Room;
use crate::splice::Splice;

/// `GET|POST /status/{job}?ttl=`.
pub(crate) async fn status(
    State(gateway): State<Gateway>,
    Reads(target): Reads,
) -> Result<Response, JobError> {
    let mut job = target.job(&gateway)?;
    if let Some(ttl_ms) = number(target.query.as_deref(), "ttl")? {
        job = set_ttl(&gateway, &target, job, ttl_ms).await?;
    }
    Ok(object(&gateway, &job, Payloads::With).await?.answer())
}

/// A new time to live; a job that has ended has none any more.
async fn set_ttl(gateway: &Gateway, target: &Target, job: Job, ttl_ms: i64) -> Result<Job, JobError> {
    if !(10_000..=WEEK_MS).contains(&ttl_ms) {
        let allowed = "10000 (10 s) to 604800000 (7 days), in milliseconds";
        return Err(JobError::Parameter { name: "ttl", found: ttl_ms.to_string(), allowed });
    }
    if target.caller.job().is_some() {
        return Err(Denied::JobToken.into());
    }
    match gateway.engine().set_ttl(&target.caller, &job.id, ttl_ms).await {
        Ok(job) => Ok(job),
        Err(EngineError::Refused { .. }) => target.job(gateway),
        Err(error) => Err(error.into()),
    }
}

/// `GET|POST /status-sync/{job}?wait=`: the status once the job has ended, or when the wait is over.
pub(crate) async fn status_sync(
    State(gateway): State<Gateway>,
    Reads(target): Reads,
) -> Result<Response, JobError> {
    let wait = wait(target.query.as_deref(), gateway.timing().sync_wait)?;
    let id = target.job_id(&gateway)?;
    let waited = ended(&gateway, &id, wait).await?.ok_or_else(|| target.no_such_job(id.as_str()))?;
    Ok(waited.object(&gateway).await?.answer())
}

/// The parameter `wait`, within RunPod's bounds.
pub(crate) fn wait(query: Option<&str>, default: Duration) -> Result<Duration, JobError> {
    let wait = number(query, "wait")?.map(|ms| Duration::from_millis(ms.clamp(1_000, 300_000) as u64));
    Ok(wait.unwrap_or(default))
}

/// A job that somebody waited for.
pub(crate) enum Waited {
    /// It ended meanwhile: nothing has to be read.
    Ended(Arc<Ended>),
    /// As the store has it.
    Stored(Box<Job>),
}

impl Waited {
    /// Its status object.
    pub(crate) async fn object(&self, gateway: &Gateway) -> Result<Splice, JobError> {
        match self {
            Self::Ended(end) => object_with(gateway, &end.job, end.output.clone()).await,
            Self::Stored(job) => object(gateway, job, Payloads::With).await,
        }
    }
}

/// The job once it has ended, or as it is after `wait`. Woken by its changes; the store is asked only about a job
/// that has ended before, and when the wait is over.
pub(crate) async fn ended(gateway: &Gateway, id: &JobId, wait: Duration) -> Result<Option<Waited>, JobError> {
    let until = Instant::now() + wait;
    let waiter = gateway.engine().waiter(id);
    loop {
        let changed = waiter.changed();
        if let Some(ended) = waiter.ended() {
            return Ok(Some(Waited::Ended(ended)));
        }
        let waits = Instant::now() < until && !gateway.engine().is_waiting_over();
        if !waits || gateway.engine().endpoint_of_live(id).is_none() {
            let job = gateway.engine().job(id)?;
            if job.as_ref().is_none_or(Job::is_done) || !waits {
                return Ok(job.map(|job| Waited::Stored(Box::new(job))));
            }
        }
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

/// A job's state as the wire says it.
pub(crate) fn state(job: &Job) -> &'static str {
    match &job.phase {
        Phase::Draft { .. } | Phase::Waiting { .. } | Phase::Held { .. } => "IN_QUEUE",
        Phase::Running { .. } => "IN_PROGRESS",
        Phase::Done { outcome: Outcome::Completed, .. } => "COMPLETED",
        Phase::Done { outcome: Outcome::Failed { .. }, .. } => "FAILED",
        Phase::Done { outcome: Outcome::Cancelled { .. }, .. } => "CANCELLED",
        Phase::Done { outcome: Outcome::TimedOut { .. }, .. } => "TIMED_OUT",
    }
}

/// Whether an object carries what the worker sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payloads {
    With,
    Without,
}

/// The status object of a job, with what the store has of its payloads.
pub(crate) async fn object(gateway: &Gateway, job: &Job, payloads: Payloads) -> Result<Splice, JobError> {
    let reader = gateway.engine().reader();
    let payload = match (payloads, &job.phase) {
        (Payloads::Without, _) | (_, Phase::Draft { .. } | Phase::Waiting { .. } | Phase::Held { .. }) => {
            None
        }
        (Payloads::With, Phase::Running { .. }) => reader.progress(&job.id)?,
        (Payloads::With, Phase::Done { .. }) => reader.output(&job.id)?,
    };
    object_with(gateway, job, payload).await
}

/// The status object: `id`, `status`, then in RunPod's order what is known, then our own `queue`, `phase`,
/// `start` and `reason`.
async fn object_with(gateway: &Gateway, job: &Job, payload: Option<Payload>) -> Result<Splice, JobError> {
    let mut splice = Splice::default();
    splice.text("{").field("id", job.id.as_str()).field("status", state(job));
    times(&mut splice, job);
    if job.losses > 0 {
        splice.field("retries", &job.losses);
    }
    if let Some(payload) = payload {
        splice.hold(answer_room(gateway, payload.len()).await?);
        splice.key("output").raw(gateway.engine().bytes(payload).await?);
    }
    if let Phase::Done { outcome: Outcome::Failed { error, .. }, .. } = &job.phase {
        splice.field("error", error);
    }
    extras(gateway, &mut splice, job);
    splice.text("}");
    Ok(splice)
}

/// Room for a payload that is answered.
pub(crate) async fn answer_room(gateway: &Gateway, bytes: u64) -> Result<Option<Room>, JobError> {
    gateway.answer_room(bytes).await.map_err(|_| JobError::NoRoomToAnswer)
}

/// `delayTime`, `executionTime` and `workerId`, as far as there are any.
pub(crate) fn times(splice: &mut Splice, job: &Job) {
    let (delay_ms, execution_ms, worker) = match &job.phase {
        Phase::Draft { .. } | Phase::Waiting { .. } | Phase::Held { .. } => (None, None, None),
        Phase::Running { worker, queued_at, started, .. } => {
            (Some(started.since(*queued_at)), None, Some(worker))
        }
        Phase::Done { delay_ms, execution_ms, worker, .. } => (*delay_ms, *execution_ms, worker.as_ref()),
    };
    if let Some(ms) = delay_ms {
        splice.field("delayTime", &ms);
    }
    if let Some(ms) = execution_ms {
        splice.field("executionTime", &ms);
    }
    if let Some(worker) = worker {
        splice.field("workerId", worker.as_str());
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    position: u64,
    eta_ms: Option<i64>,
}

/// The start that a job waits for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Start<'a> {
    /// What it is at, in words.
    phase: &'a str,
    /// For how long it has been starting.
    for_ms: i64,
    /// How long starts of this endpoint usually take.
    usual_ms: Option<i64>,
}

#[derive(Serialize)]
struct Reason<'a> {
    code: &'a str,
    message: String,
}

/// What RunPod does not tell.
fn extras(gateway: &Gateway, splice: &mut Splice, job: &Job) {
    match &job.phase {
        Phase::Draft { .. } | Phase::Waiting { .. } | Phase::Held { .. } => {
            let reason = gateway.reasons().waiting(job);
            if let Some(place) = gateway.engine().place(&job.id) {
                let eta_ms = eta(gateway, job, &reason, place.position, place.usual_ms);
                splice.field("queue", &Queue { position: place.position, eta_ms });
            }
            if let WaitReason::Starting { phase, for_ms, usual, .. } = &reason {
                let start = Start { phase, for_ms: *for_ms, usual_ms: usual.map(|usual| usual.ms) };
                splice.field("phase", "starting").field("start", &start);
            } else {
                splice.field("phase", "queued");
            }
            let message = reason.sentence(gateway.engine().now());
            splice.field("reason", &Reason { code: reason.code(), message });
        }
        Phase::Running { .. } => {
            splice.field("phase", "executing");
        }
        Phase::Done { outcome, .. } => match outcome {
            Outcome::Completed => {}
            Outcome::Failed { reason, .. } | Outcome::TimedOut { reason } => {
                splice.field("reason", &Reason { code: reason.code(), message: reason.sentence() });
            }
            Outcome::Cancelled { by } => {
                let message = match by.strip_prefix("purge by ") {
                    Some(by) => format!("removed from the queue when {by} purged it"),
                    None => format!("cancelled by {by}"),
                };
                splice.field("reason", &Reason { code: "cancelled", message });
            }
        },
    }
}

/// When the job is expected to start, where jobs of its endpoint were measured.
fn eta(
    gateway: &Gateway,
    job: &Job,
    reason: &WaitReason,
    position: u64,
    usual_ms: Option<i64>,
) -> Option<i64> {
    if let WaitReason::AllBusy { eta_ms: Some(ms), .. } | WaitReason::InList { eta_ms: Some(ms), .. } = reason
    {
        return Some(*ms);
    }
    let counts = gateway.reasons().workers(&job.endpoint);
    let workers = (counts.running + counts.idle).max(1);
    usual_ms.map(|ms| ms.saturating_mul(position.div_ceil(workers) as i64))
}
