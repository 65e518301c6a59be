//! What a step of a job, of a worker or of a delivery counts. The store asks in the transaction of the step itself, so
//! that what is counted and what is there are never two things, whatever is killed in between.

use runyard_domain::delivery::DeliveryState;
use runyard_domain::start::{Level, Step};
use runyard_domain::worker::WorkerState;
use runyard_domain::{Delivery, Job, Outcome, Phase, WorkerRecord};

use crate::{Interval, Key};

/// A job went from `before` to `next`; `None`: it is new. Tests of releases are not counted.
pub fn job(into: &mut Interval, before: Option<&Job>, next: &Job) {
    if next.pinned.is_some() {
        return;
    }
    let was_draft = before.is_none_or(|job| matches!(job.phase, Phase::Draft { .. }));
    match &next.phase {
        Phase::Waiting { .. } if was_draft => into.count(Key::JobsSubmitted, 1),
        Phase::Waiting { .. } => {
            let is_again = before.is_some_and(|job| {
                job.is_done() || (!job.is_held() && next.lost_by.len() > job.lost_by.len())
            });
            if is_again {
                into.count(Key::JobsRetried, 1);
            }
        }
        Phase::Done { outcome, delay_ms, execution_ms, .. } if before.is_none_or(|job| !job.is_done()) => {
            into.count(ended(outcome), 1);
            if let Some(ms) = delay_ms {
                into.time_ms(Key::Delay, *ms);
            }
            if let Some(ms) = execution_ms {
                into.time_ms(Key::Execution, *ms);
            }
        }
        _ => {}
    }
}

/// A job came with an input of so many bytes.
pub fn input(into: &mut Interval, job: &Job, bytes: u64) {
    if job.pinned.is_none() {
        into.count(Key::InputBytes, bytes);
    }
}

/// A worker answered a job with so many bytes, or with a part of that.
pub fn output(into: &mut Interval, job: &Job, bytes: u64) {
    if job.pinned.is_none() {
        into.count(Key::OutputBytes, bytes);
    }
}

fn ended(outcome: &Outcome) -> Key {
    match outcome {
        Outcome::Completed => Key::JobsCompleted,
        Outcome::Failed { .. } => Key::JobsFailed,
        Outcome::Cancelled { .. } => Key::JobsCancelled,
        Outcome::TimedOut { .. } => Key::JobsTimedOut,
    }
}

/// A worker's record went from `before` to `next`; `None`: it is new.
pub fn worker(into: &mut Interval, before: Option<&WorkerRecord>, next: &WorkerRecord) {
    let was_ready = before.and_then(|record| record.ready_at);
    if let (None, Some(ready)) = (was_ready, next.ready_at) {
        into.count(Key::StartsReady, 1);
        let whole = ready.since(next.created_at);
        into.time_ms(Key::Start, whole);
        into.time_ms(
            match next.level() {
                Level::Cold => Key::StartCold,
                Level::Prepared => Key::StartPrepared,
            },
            whole,
        );
        for part in next.start_parts(false).iter().filter(|_| next.started_at.is_some()) {
            let key = match part.step {
                Step::Image => Key::StartImage,
                Step::Launch => Key::StartLaunch,
                Step::Load => Key::StartLoad,
            };
            into.time_ms(key, part.to.unwrap_or(ready).since(part.from));
        }
    }
    let was_gone = before.is_some_and(|record| record.state == WorkerState::Gone);
    if next.state == WorkerState::Gone && !was_gone {
        match (&next.stop_cause, next.ready_at) {
            (Some(_), Some(_)) => into.count(Key::WorkersStopped, 1),
            (None, Some(_)) => into.count(Key::WorkersCrashed, 1),
            (_, None) => into.count(Key::StartsFailed, 1),
        }
    }
}

/// A delivery after one more try.
pub fn tried(into: &mut Interval, next: &Delivery) {
    into.count(
        match next.state {
            DeliveryState::Delivered { .. } => Key::WebhooksDelivered,
            DeliveryState::Pending { .. } => Key::WebhooksFailed,
            DeliveryState::GivenUp { .. } => Key::WebhooksGivenUp,
        },
        1,
    );
}
