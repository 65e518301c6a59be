//! The job machine: what a command makes of a job.
//!
//! The fence: the wire's answer names only worker and job, so an incarnation that lost a job never gets it
//! again, and its late answer counts as long as nobody else finished the job.

use super::{ATTEMPTS_KEPT, Answer, Attempt, Command, Job, Loss, Outcome, Phase, Refusal};
use crate::{FailReason, Timestamp, WorkerId};

/// What `command` makes of `job` at `now`.
pub fn decide(job: &Job, command: &Command, now: Timestamp) -> Result<Job, Refusal> {
    let mut next = job.clone();
    match command {
        Command::Release => release(&mut next, now)?,
        Command::Start { worker, release } => start(&mut next, worker, *release, now)?,
        Command::Hold { worker, release } => hold(&mut next, worker, *release, now)?,
        Command::Begin { worker } => begin(&mut next, worker, now)?,
        Command::CallBack { worker } => call_back(&mut next, worker)?,
        Command::Finish { worker, answer, posted } => {
            finish(&mut next, worker, answer, now)?;
            note_upload(&mut next, *posted, now);
        }
        Command::Lose { worker, loss } => lose(&mut next, worker, loss, now)?,
        Command::GiveBack { worker } => give_back(&mut next, worker)?,
        Command::Cancel { by } => {
            if job.is_done() {
                return Err(Refusal::AlreadyDone);
            }
            end(&mut next, Outcome::Cancelled { by: by.clone() }, now);
        }
        Command::Expire => expire(&mut next, now)?,
        Command::Retry { seq } => retry(&mut next, *seq, now)?,
        Command::SetTtl { ttl_ms } => {
            if job.is_done() {
                return Err(Refusal::AlreadyDone);
            }
            next.policy.ttl_ms = *ttl_ms;
            next.expires_at = now.plus(*ttl_ms);
        }
    }
    Ok(next)
}

fn release(job: &mut Job, now: Timestamp) -> Result<(), Refusal> {
    match job.phase {
        Phase::Draft { .. } => {
            job.expires_at = now.plus(job.policy.ttl_ms);
            job.phase = Phase::Waiting { since: now };
            Ok(())
        }
        Phase::Done { .. } => Err(Refusal::AlreadyDone),
        _ => Err(Refusal::NotDraft),
    }
}

/// Since when the job waits, if this worker may have it.
fn takeable(job: &Job, worker: &WorkerId, release: u32) -> Result<Timestamp, Refusal> {
    let Phase::Waiting { since } = job.phase else { return Err(Refusal::NotWaiting) };
    if job.lost_by.contains(worker) {
        return Err(Refusal::Fenced);
    }
    if job.pinned.is_some_and(|pinned| pinned != release) {
        return Err(Refusal::OtherRelease);
    }
    Ok(since)
}

fn start(job: &mut Job, worker: &WorkerId, release: u32, now: Timestamp) -> Result<(), Refusal> {
    let since = takeable(job, worker, release)?;
    job.attempt += 1;
    job.phase = Phase::Running { worker: worker.clone(), release, queued_at: since, started: now };
    Ok(())
}

fn hold(job: &mut Job, worker: &WorkerId, release: u32, now: Timestamp) -> Result<(), Refusal> {
    let queued_at = takeable(job, worker, release)?;
    job.phase = Phase::Held { worker: worker.clone(), release, queued_at, handed: now };
    Ok(())
}

fn begin(job: &mut Job, worker: &WorkerId, now: Timestamp) -> Result<(), Refusal> {
    match &job.phase {
        Phase::Held { worker: holder, release, queued_at, .. } if holder == worker => {
            job.attempt += 1;
            job.phase = Phase::Running {
                worker: worker.clone(),
                release: *release,
                queued_at: *queued_at,
                started: now,
            };
            Ok(())
        }
        _ => Err(Refusal::NotHeld),
    }
}

/// The worker may run it all the same, so it is fenced; an answer of it counts if it comes first.
fn call_back(job: &mut Job, worker: &WorkerId) -> Result<(), Refusal> {
    match &job.phase {
        Phase::Held { worker: holder, queued_at, .. } if holder == worker => {
            job.phase = Phase::Waiting { since: *queued_at };
            job.lost_by.push(worker.clone());
            Ok(())
        }
        _ => Err(Refusal::NotHeld),
    }
}

fn finish(job: &mut Job, worker: &WorkerId, answer: &Answer, now: Timestamp) -> Result<(), Refusal> {
    let held_now = job.holder() == Some(worker);
    if held_now && job.is_held() {
        // Nobody saw it start.
        begin(job, worker, now)?;
    }
    match &job.phase {
        Phase::Done { .. } => return Err(Refusal::AlreadyDone),
        _ if held_now || job.lost_by.contains(worker) => {}
        _ => return Err(Refusal::NeverHeld),
    }
    let outcome = match answer {
        Answer::Success => Outcome::Completed,
        Answer::Failure { error, reason } => Outcome::Failed { error: error.clone(), reason: reason.clone() },
    };
    let fenced = job.lost_by.clone();
    end(job, outcome, now);
    if held_now {
        // It let go of the job by answering it: a retry may come to it again.
        job.lost_by = fenced;
    } else if let Phase::Done { worker: finisher, .. } = &mut job.phase {
        *finisher = Some(worker.clone());
    }
    Ok(())
}

/// How long the answer that ended a job was on its way: no longer than the attempt.
fn note_upload(job: &mut Job, posted: Option<Timestamp>, now: Timestamp) {
    if let Phase::Done { execution_ms: Some(ran), upload_ms, .. } = &mut job.phase {
        *upload_ms = posted.map(|posted| now.since(posted).clamp(0, (*ran).max(0)));
    }
}

fn lose(job: &mut Job, worker: &WorkerId, loss: &Loss, now: Timestamp) -> Result<(), Refusal> {
    if job.is_done() {
        return Err(Refusal::AlreadyDone);
    }
    if job.holder() != Some(worker) {
        return Err(Refusal::NeverHeld);
    }
    if job.is_held() {
        // It never started there.
        return call_back(job, worker);
    }
    if loss.spends && job.losses >= job.requeues {
        let reason = with_attempts(loss.reason.clone(), job.attempt);
        end(job, Outcome::Failed { error: reason.sentence(), reason }, now);
        return Ok(());
    }
    if let Phase::Running { worker, release, queued_at, started } = job.phase.clone() {
        let code = loss.reason.code().to_owned();
        keep(job, Attempt { worker, release, queued_at, started, ended: now, code });
    }
    job.losses += u32::from(loss.spends);
    job.lost_by.push(worker.clone());
    job.phase = Phase::Waiting { since: now };
    Ok(())
}

fn with_attempts(reason: FailReason, attempts: u32) -> FailReason {
    match reason {
        FailReason::WorkerLost { exit, .. } => FailReason::WorkerLost { exit, attempts },
        FailReason::Abandoned { .. } => FailReason::Abandoned { attempts },
        other => other,
    }
}

fn give_back(job: &mut Job, worker: &WorkerId) -> Result<(), Refusal> {
    match &job.phase {
        Phase::Running { worker: holder, queued_at, .. } if holder == worker => {
            job.attempt -= 1;
            job.phase = Phase::Waiting { since: *queued_at };
            Ok(())
        }
        Phase::Held { worker: holder, queued_at, .. } if holder == worker => {
            job.phase = Phase::Waiting { since: *queued_at };
            Ok(())
        }
        Phase::Done { .. } => Err(Refusal::AlreadyDone),
        _ => Err(Refusal::NeverHeld),
    }
}

fn expire(job: &mut Job, now: Timestamp) -> Result<(), Refusal> {
    match job.phase {
        Phase::Done { .. } => return Err(Refusal::AlreadyDone),
        Phase::Draft { .. } => return Err(Refusal::NotDue),
        _ => {}
    }
    let reason = if job.expires_at <= now {
        let (queued_ms, ran_ms) = match job.phase {
            Phase::Running { queued_at, started, .. } => (started.since(queued_at), now.since(started)),
            Phase::Waiting { since } => (now.since(since), 0),
            Phase::Held { queued_at, .. } => (now.since(queued_at), 0),
            Phase::Draft { .. } | Phase::Done { .. } => (0, 0),
        };
        FailReason::TtlExpired { ttl_ms: job.policy.ttl_ms, queued_ms, ran_ms }
    } else {
        match job.phase {
            Phase::Running { .. } if job.due_at() <= now => {
                FailReason::ExecutionTimeout { limit_ms: job.policy.execution_timeout_ms }
            }
            _ => return Err(Refusal::NotDue),
        }
    };
    end(job, Outcome::TimedOut { reason }, now);
    Ok(())
}

fn retry(job: &mut Job, seq: u64, now: Timestamp) -> Result<(), Refusal> {
    match &job.phase {
        Phase::Done { outcome: Outcome::Failed { .. } | Outcome::TimedOut { .. }, .. } => {}
        _ => return Err(Refusal::NotRetryable),
    }
    if let Some(attempt) = last_attempt(&job.phase) {
        keep(job, attempt);
    }
    job.seq = seq;
    job.losses = 0;
    job.expires_at = now.plus(job.policy.ttl_ms);
    job.phase = Phase::Waiting { since: now };
    Ok(())
}

/// The attempt with which a job failed; `None` where it never ran.
fn last_attempt(phase: &Phase) -> Option<Attempt> {
    let Phase::Done { at, outcome, worker, release, delay_ms, execution_ms, .. } = phase else { return None };
    let (Outcome::Failed { reason, .. } | Outcome::TimedOut { reason }) = outcome else { return None };
    let started = at.plus(-(*execution_ms)?);
    Some(Attempt {
        worker: worker.clone()?,
        release: (*release)?,
        queued_at: started.plus(-delay_ms.unwrap_or(0)),
        started,
        ended: *at,
        code: reason.code().to_owned(),
    })
}

fn keep(job: &mut Job, attempt: Attempt) {
    if job.attempts.len() >= ATTEMPTS_KEPT {
        job.attempts.remove(1);
    }
    job.attempts.push(attempt);
}

fn end(job: &mut Job, outcome: Outcome, now: Timestamp) {
    let (worker, release, delay_ms, execution_ms) = match &job.phase {
        Phase::Running { worker, release, queued_at, started } => {
            (Some(worker.clone()), Some(*release), Some(started.since(*queued_at)), Some(now.since(*started)))
        }
        Phase::Held { worker, release, .. } => (Some(worker.clone()), Some(*release), None, None),
        _ => (None, None, None, None),
    };
    if let Some(worker) = &worker
        && !job.lost_by.contains(worker)
    {
        job.lost_by.push(worker.clone());
    }
    job.phase = Phase::Done { at: now, outcome, worker, release, delay_ms, execution_ms, upload_ms: None };
}
