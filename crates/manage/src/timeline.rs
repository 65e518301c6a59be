//! A job's life as a waterfall: its spans in time, from its submission to its webhooks, with the start of each worker that
//! it waited for. What goes on has no end.

use axum::Json;
use axum::extract::{Path, State};
use runyard_domain::delivery::{Delivery, DeliveryState, Heard};
use runyard_domain::start::{Part, Step, Usual};
use runyard_domain::{Job, Outcome, Phase, Timestamp, WorkerId, WorkerRecord};
use serde_json::{Value, json};

use crate::auth::Auth;
use crate::problem::Problem;
use crate::{Manage, views};

/// A part of a job's life.
#[derive(Debug, Clone, PartialEq)]
struct Span {
    name: &'static str,
    start: Timestamp,
    end: Option<Timestamp>,
    /// `ok`, `bad`, or `open` where it goes on.
    state: &'static str,
    attempt: Option<u32>,
    worker: Option<WorkerId>,
    note: Option<String>,
    usual_ms: Option<i64>,
}

impl Span {
    fn new(name: &'static str, start: Timestamp, end: Option<Timestamp>) -> Self {
        let state = if end.is_some() { "ok" } else { "open" };
        let end = end.map(|end| end.max(start));
        Self { name, start, end, state, attempt: None, worker: None, note: None, usual_ms: None }
    }

    fn of(self, attempt: u32, worker: Option<&WorkerId>) -> Self {
        Self { attempt: Some(attempt), worker: worker.cloned(), ..self }
    }

    fn ended(self, note: Option<String>) -> Self {
        Self { state: if note.is_some() { "bad" } else { self.state }, note, ..self }
    }

    fn view(&self) -> Value {
        json!({
            "name": self.name,
            "start": self.start.0,
            "end": self.end.map(|end| end.0),
            "state": self.state,
            "attempt": self.attempt,
            "worker": self.worker,
            "note": self.note,
            "usualMs": self.usual_ms,
        })
    }
}

/// The wait for an attempt, and the attempt.
#[derive(Debug, Clone, PartialEq)]
struct Leg {
    queued: Timestamp,
    worker: Option<WorkerId>,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    /// When its worker began to send the answer, where that was measured.
    posted: Option<Timestamp>,
    /// Why it failed, where it did.
    failed: Option<String>,
}

/// Every wait and attempt of a job, oldest first.
fn legs(job: &Job) -> Vec<Leg> {
    let earlier = job.attempts.iter().map(|attempt| Leg {
        queued: attempt.queued_at,
        worker: Some(attempt.worker.clone()),
        started: Some(attempt.started),
        ended: Some(attempt.ended),
        posted: None,
        failed: Some(attempt.code.clone()),
    });
    let mut legs: Vec<Leg> = earlier.collect();
    let since = job.attempts.last().map_or(job.submitted_at, |attempt| attempt.ended);
    let waits =
        |queued, worker| Leg { queued, worker, started: None, ended: None, posted: None, failed: None };
    match &job.phase {
        Phase::Draft { .. } => {}
        Phase::Waiting { since } => legs.push(waits(*since, None)),
        Phase::Held { worker, queued_at, .. } => legs.push(waits(*queued_at, Some(worker.clone()))),
        Phase::Running { worker, queued_at, started, .. } => {
            legs.push(Leg { started: Some(*started), ..waits(*queued_at, Some(worker.clone())) });
        }
        Phase::Done { at, outcome, worker, delay_ms, execution_ms, upload_ms, .. } => {
            let started = execution_ms.map(|ms| at.plus(-ms));
            let queued = started.map_or(since, |started| started.plus(-delay_ms.unwrap_or(0)));
            let failed = match outcome {
                Outcome::Failed { reason, .. } | Outcome::TimedOut { reason } => {
                    Some(reason.code().to_owned())
                }
                Outcome::Cancelled { .. } => Some("cancelled".to_owned()),
                Outcome::Completed => None,
            };
            let posted = upload_ms.map(|ms| at.plus(-ms));
            legs.push(Leg { started, ended: Some(*at), posted, failed, ..waits(queued, worker.clone()) });
        }
    }
    legs
}

pub(crate) async fn job(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let job = manage.find_job(&auth.0, &id)?;
    let mut spans = vec![Span::new("submitted", job.submitted_at, Some(job.submitted_at))];
    let legs = legs(&job);
    let first = legs.first().map(|leg| leg.queued);
    if job.batch.is_some() && first.is_none_or(|first| first > job.submitted_at) {
        spans.push(Span::new("draft", job.submitted_at, first));
    }
    // Of many attempts some are not kept; the newest has the job's own number.
    let skipped = job.attempts.len() >= runyard_domain::job::ATTEMPTS_KEPT;
    for (at, leg) in legs.iter().enumerate() {
        let is_last = at + 1 == legs.len();
        let own = if is_last && leg.started.is_some() { job.attempt } else { at as u32 + 1 };
        let number = if skipped && at > 0 && is_last { job.attempt.max(own) } else { own };
        spans.extend(manage.leg(&job, leg, number)?);
    }
    let deliveries = manage.inner.engine.reader().deliveries(&job.id)?;
    spans.extend(deliveries.iter().flat_map(webhooks));
    let is_open = spans.iter().any(|span| span.end.is_none());
    let to = spans.iter().filter_map(|span| span.end).max().filter(|_| !is_open);
    Ok(Json(json!({
        "job": job.id,
        "status": views::status(&job),
        "from": job.submitted_at.0,
        "to": to.map(|to| to.0),
        "now": manage.inner.engine.now().0,
        "spans": spans.iter().map(Span::view).collect::<Vec<_>>(),
    })))
}

impl Manage {
    /// A wait with the start of the worker that it was for, and the run.
    fn leg(&self, job: &Job, leg: &Leg, number: u32) -> Result<Vec<Span>, Problem> {
        let taken = leg.started.or(leg.ended);
        let never_ran = leg.failed.clone().filter(|_| leg.started.is_none());
        let mut spans = vec![Span::new("queued", leg.queued, taken).of(number, None).ended(never_ran)];
        let record = match &leg.worker {
            Some(worker) => self.record_of(worker)?,
            None if leg.ended.is_none() => self.inner.fleet.first_starting(&job.endpoint),
            None => None,
        };
        if let Some(record) = record {
            let view = self.inner.fleet.start_of(&record);
            spans.extend(
                start(&record, &view.parts, leg.queued)
                    .into_iter()
                    .map(|span| span.of(number, Some(&record.id))),
            );
        }
        if let Some(started) = leg.started {
            let worker = leg.worker.as_ref();
            let run = Span::new("run", started, leg.posted.or(leg.ended)).of(number, worker);
            spans.push(run.ended(leg.failed.clone()));
            // A handler that failed has sent its answer all the same.
            spans.extend(leg.posted.map(|at| Span::new("result.upload", at, leg.ended).of(number, worker)));
        }
        Ok(spans)
    }

    fn record_of(&self, worker: &WorkerId) -> Result<Option<WorkerRecord>, Problem> {
        let live = self.inner.fleet.workers().into_iter().find(|record| record.id == *worker);
        match live {
            Some(record) => Ok(Some(record)),
            None => Ok(self.inner.engine.reader().worker(worker)?),
        }
    }
}

/// The start of a worker, as far as a job waited for it that had been queued since then.
fn start(record: &WorkerRecord, parts: &[(Part, Option<Usual>)], queued: Timestamp) -> Vec<Span> {
    let mut spans = Vec::new();
    if record.ready_at.is_some_and(|ready| ready <= queued) {
        return spans;
    }
    if record.created_at > queued {
        spans.push(Span::new("worker.schedule", queued, Some(record.created_at)));
    }
    for (part, usual) in parts {
        let name = match part.step {
            Step::Image => "worker.image",
            Step::Launch => "worker.launch",
            Step::Load => "worker.load",
        };
        // One that ended in this part did not get beyond it.
        let end = part.to.or(record.ended_at);
        if end.is_some_and(|end| end <= queued) {
            continue;
        }
        let mut span = Span::new(name, part.from.max(queued), end);
        span.usual_ms = usual.map(|usual| usual.ms);
        spans.push(span);
    }
    spans
}

/// The tries to deliver one end of a job, and the pause before the next one.
fn webhooks(delivery: &Delivery) -> Vec<Span> {
    let mut spans: Vec<Span> = delivery
        .tries
        .iter()
        .map(|tried| {
            let note = match &tried.heard {
                heard if heard.is_success() => None,
                Heard::Status(status) => Some(format!("answered {status}")),
                Heard::Error(error) => Some(error.clone()),
            };
            Span::new("webhook", tried.at, Some(tried.at.plus(tried.ms))).ended(note)
        })
        .collect();
    if let DeliveryState::Pending { .. } = delivery.state {
        let since = spans.last().and_then(|span| span.end).unwrap_or(delivery.made_at);
        spans.push(Span::new("webhook.wait", since, None));
    }
    spans
}

#[cfg(test)]
mod tests {
    use runyard_domain::job::Attempt;
    use runyard_domain::{EndpointId, FailReason, JobId, Policy};

    use super::*;

    fn job(phase: Phase, attempts: Vec<Attempt>) -> Job {
        Job {
            id: JobId::new("j"),
            endpoint: EndpointId::new("e"),
            seq: 1,
            sync: false,
            submitted_at: Timestamp(1_000),
            submitted_by: "local".into(),
            policy: Policy { execution_timeout_ms: 0, ttl_ms: 1, low_priority: false },
            expires_at: Timestamp(1),
            requeues: 1,
            retention_ms: 1,
            pinned: None,
            batch: None,
            webhook: None,
            has_s3: false,
            attempt: 2,
            losses: 1,
            lost_by: vec![],
            attempts,
            phase,
        }
    }

    fn lost() -> Attempt {
        Attempt {
            worker: WorkerId::new("w1"),
            release: 1,
            queued_at: Timestamp(1_000),
            started: Timestamp(2_000),
            ended: Timestamp(3_000),
            code: "worker_lost".into(),
        }
    }

    #[test]
    fn a_life_is_waits_and_attempts() {
        let outcome = Outcome::TimedOut { reason: FailReason::ExecutionTimeout { limit_ms: 500 } };
        let done = Phase::Done {
            at: Timestamp(5_000),
            outcome,
            worker: Some(WorkerId::new("w2")),
            release: Some(1),
            delay_ms: Some(1_500),
            execution_ms: Some(500),
            upload_ms: None,
        };
        let found = legs(&job(done, vec![lost()]));
        let seen: Vec<_> = found
            .iter()
            .map(|leg| (leg.queued.0, leg.started.map(|at| at.0), leg.ended.map(|at| at.0)))
            .collect();
        assert_eq!(seen, [(1_000, Some(2_000), Some(3_000)), (3_000, Some(4_500), Some(5_000))]);
        assert_eq!(found[1].failed.as_deref(), Some("execution_timeout"));
        let waits = legs(&job(Phase::Waiting { since: Timestamp(3_000) }, vec![lost()]));
        assert_eq!((waits.len(), waits[1].queued, waits[1].started), (2, Timestamp(3_000), None));
        assert_eq!(legs(&job(Phase::Draft { since: Timestamp(1) }, vec![])), []);
    }

    #[test]
    fn the_end_of_an_attempt_may_be_the_upload_of_its_result() {
        let done = |upload_ms| Phase::Done {
            at: Timestamp(5_000),
            outcome: Outcome::Completed,
            worker: Some(WorkerId::new("w2")),
            release: Some(1),
            delay_ms: Some(1_500),
            execution_ms: Some(500),
            upload_ms,
        };
        let posted = |upload_ms| legs(&job(done(upload_ms), vec![]))[0].posted.map(|at| at.0);
        assert_eq!((posted(Some(120)), posted(None)), (Some(4_880), None));
    }

    #[test]
    fn a_cancelled_job_that_never_ran_has_only_waited() {
        let done = Phase::Done {
            at: Timestamp(4_000),
            outcome: Outcome::Cancelled { by: "local".into() },
            worker: None,
            release: None,
            delay_ms: None,
            execution_ms: None,
            upload_ms: None,
        };
        let found = legs(&job(done, vec![]));
        assert_eq!(
            (found.len(), found[0].queued, found[0].ended),
            (1, Timestamp(1_000), Some(Timestamp(4_000)))
        );
        assert_eq!(found[0].started, None);
    }
}
