//! The job machine. [`decide`] takes a job, a command and the time, and answers with the job as it is
//! afterwards, or with the reason why the command changes nothing. It is pure: the store loads, decides and
//! writes inside one transaction.
//!
//! The fence: the wire's answer names only worker and job, so an incarnation that lost a job never gets it
//! again, and its late answer counts as long as nobody else finished the job.

use serde::{Deserialize, Serialize};

use crate::{EndpointId, FailReason, JobId, Timestamp, WorkerId};

/// What the submitter may set per job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The longest one attempt may run; 0 means no limit.
    pub execution_timeout_ms: i64,
    /// Bounds queue and run together.
    pub ttl_ms: i64,
    /// Does not make the scaler add workers; taken only when no other job waits.
    pub low_priority: bool,
}

/// One request to an endpoint, without its payloads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Unique.
    pub id: JobId,
    /// Whose job it is.
    pub endpoint: EndpointId,
    /// Place in the order of submission; a retried job gets a new one.
    pub seq: u64,
    /// Whether it came by a synchronous call.
    pub sync: bool,
    /// When it was accepted.
    pub submitted_at: Timestamp,
    /// A key's id, or `local`.
    pub submitted_by: String,
    /// What the submitter set, completed from the endpoint's settings.
    pub policy: Policy,
    /// When its time to live ends.
    pub expires_at: Timestamp,
    /// How often it may go back to the queue after a lost worker.
    pub requeues: u32,
    /// How long it is kept once done.
    pub retention_ms: i64,
    /// A test request runs only on this release.
    pub pinned: Option<u32>,
    /// Where to post the result.
    pub webhook: Option<String>,
    /// Whether an `s3Config` came with it, to be passed to the worker.
    pub has_s3: bool,
    /// Executions that were started.
    pub attempt: u32,
    /// Attempts that were spent on lost workers.
    pub losses: u32,
    /// Incarnations that lost it, oldest first.
    pub lost_by: Vec<WorkerId>,
    /// Where it is.
    pub phase: Phase,
}

/// Where a job is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// In the queue.
    Waiting {
        /// Since when.
        since: Timestamp,
    },
    /// Held by a worker.
    Running {
        /// The incarnation.
        worker: WorkerId,
        /// Its release.
        release: u32,
        /// Since when it had waited.
        queued_at: Timestamp,
        /// When it was handed over.
        started: Timestamp,
    },
    /// Ended; nothing but a retry changes it.
    Done {
        /// When.
        at: Timestamp,
        /// How.
        outcome: Outcome,
        /// The last worker that held it.
        worker: Option<WorkerId>,
        /// The release of that worker.
        release: Option<u32>,
        /// Milliseconds in the queue before the last attempt; `None` if it never ran.
        delay_ms: Option<i64>,
        /// Milliseconds of the last attempt; `None` if it never ran.
        execution_ms: Option<i64>,
    },
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// With a result (or with none, which is a success too).
    Completed,
    /// With an error.
    Failed {
        /// What the wire says, unchanged from the worker where it came from there.
        error: String,
        /// The enumerated reason.
        reason: FailReason,
    },
    /// Somebody cancelled it.
    Cancelled {
        /// A key's id, `local`, or `purge by …`.
        by: String,
    },
    /// A time limit ended it.
    TimedOut {
        /// Which one.
        reason: FailReason,
    },
}

/// What a worker said of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// It succeeded.
    Success,
    /// It did not.
    Failure {
        /// The wire's text.
        error: String,
        /// The enumerated reason.
        reason: FailReason,
    },
}

/// How a worker lost its jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// What to say of the job if this was its last attempt.
    pub reason: FailReason,
    /// Whether the loss counts against the job's re-queues. A worker that was replaced for another job's
    /// sake, or by a rollout, costs its jobs nothing.
    pub spends: bool,
}

/// What can be asked of one job.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// A worker takes it.
    Start {
        /// The incarnation.
        worker: WorkerId,
        /// Its release.
        release: u32,
    },
    /// A worker answers.
    Finish {
        /// The incarnation.
        worker: WorkerId,
        /// What it said.
        answer: Answer,
    },
    /// A worker that held it is gone.
    Lose {
        /// The incarnation.
        worker: WorkerId,
        /// How.
        loss: Loss,
    },
    /// A worker was given it and never received it: back to the queue as if nothing had been.
    GiveBack {
        /// The incarnation.
        worker: WorkerId,
    },
    /// Somebody ends it.
    Cancel {
        /// Who.
        by: String,
    },
    /// The clock: whatever is due is done.
    Expire,
    /// From failed or timed out back to the queue.
    Retry {
        /// Its new place in the order.
        seq: u64,
    },
    /// Its time to live starts anew.
    SetTtl {
        /// The new limit, from now.
        ttl_ms: i64,
    },
}

/// Why a command changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not in the queue.
    #[error("the job is not waiting")]
    NotWaiting,
    /// The worker does not hold it and never did.
    #[error("this worker never held the job")]
    NeverHeld,
    /// It has ended already.
    #[error("the job has already ended")]
    AlreadyDone,
    /// Only failed and timed-out jobs can be retried.
    #[error("only a job that failed or timed out can be retried")]
    NotRetryable,
    /// The incarnation lost it before.
    #[error("this worker lost the job before and does not get it again")]
    Fenced,
    /// Nothing is due.
    #[error("nothing is due")]
    NotDue,
    /// It belongs to the test of another release.
    #[error("the job is a test of another release")]
    OtherRelease,
}

impl Job {
    /// Whether it has ended.
    pub fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done { .. })
    }

    /// The incarnation that holds it now.
    pub fn holder(&self) -> Option<&WorkerId> {
        match &self.phase {
            Phase::Running { worker, .. } => Some(worker),
            _ => None,
        }
    }

    /// Whether output (progress, chunks) of this incarnation still counts.
    pub fn takes_output_of(&self, worker: &WorkerId) -> bool {
        match &self.phase {
            Phase::Running { worker: holder, .. } => holder == worker,
            Phase::Waiting { .. } => self.lost_by.last() == Some(worker),
            Phase::Done { .. } => false,
        }
    }

    /// The next moment at which the clock alone changes it: a limit while it lives, the end of its retention
    /// once it is done.
    pub fn due_at(&self) -> Timestamp {
        match &self.phase {
            Phase::Waiting { .. } => self.expires_at,
            Phase::Running { started, .. } => match self.policy.execution_timeout_ms {
                0 => self.expires_at,
                limit => self.expires_at.min(started.plus(limit)),
            },
            Phase::Done { at, .. } => at.plus(self.retention_ms),
        }
    }

    /// The same where a delivery that is not settled holds it until then: an ended job is not forgotten earlier.
    pub fn due_while_held(&self, held_until: Option<Timestamp>) -> Timestamp {
        match held_until {
            Some(until) if self.is_done() => self.due_at().max(until),
            _ => self.due_at(),
        }
    }

    /// Whether it ended and nothing keeps it any more.
    pub fn is_forgettable(&self, held_until: Option<Timestamp>, now: Timestamp) -> bool {
        self.is_done() && self.due_while_held(held_until) <= now
    }
}

/// What `command` makes of `job` at `now`.
pub fn decide(job: &Job, command: &Command, now: Timestamp) -> Result<Job, Refusal> {
    let mut next = job.clone();
    match command {
        Command::Start { worker, release } => start(&mut next, worker, *release, now)?,
        Command::Finish { worker, answer } => finish(&mut next, worker, answer, now)?,
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

fn start(job: &mut Job, worker: &WorkerId, release: u32, now: Timestamp) -> Result<(), Refusal> {
    let Phase::Waiting { since } = job.phase else { return Err(Refusal::NotWaiting) };
    if job.lost_by.contains(worker) {
        return Err(Refusal::Fenced);
    }
    if job.pinned.is_some_and(|pinned| pinned != release) {
        return Err(Refusal::OtherRelease);
    }
    job.attempt += 1;
    job.phase = Phase::Running { worker: worker.clone(), release, queued_at: since, started: now };
    Ok(())
}

fn finish(job: &mut Job, worker: &WorkerId, answer: &Answer, now: Timestamp) -> Result<(), Refusal> {
    let held_now = job.holder() == Some(worker);
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

fn lose(job: &mut Job, worker: &WorkerId, loss: &Loss, now: Timestamp) -> Result<(), Refusal> {
    if job.is_done() {
        return Err(Refusal::AlreadyDone);
    }
    if job.holder() != Some(worker) {
        return Err(Refusal::NeverHeld);
    }
    if loss.spends && job.losses >= job.requeues {
        let reason = with_attempts(loss.reason.clone(), job.attempt);
        end(job, Outcome::Failed { error: reason.sentence(), reason }, now);
        return Ok(());
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
        Phase::Done { .. } => Err(Refusal::AlreadyDone),
        _ => Err(Refusal::NeverHeld),
    }
}

fn expire(job: &mut Job, now: Timestamp) -> Result<(), Refusal> {
    if job.is_done() {
        return Err(Refusal::AlreadyDone);
    }
    let reason = if job.expires_at <= now {
        let (queued_ms, ran_ms) = match job.phase {
            Phase::Running { queued_at, started, .. } => (started.since(queued_at), now.since(started)),
            Phase::Waiting { since } => (now.since(since), 0),
            Phase::Done { .. } => (0, 0),
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
    job.seq = seq;
    job.losses = 0;
    job.expires_at = now.plus(job.policy.ttl_ms);
    job.phase = Phase::Waiting { since: now };
    Ok(())
}

fn end(job: &mut Job, outcome: Outcome, now: Timestamp) {
    let (worker, release, delay_ms, execution_ms) = match &job.phase {
        Phase::Running { worker, release, queued_at, started } => {
            (Some(worker.clone()), Some(*release), Some(started.since(*queued_at)), Some(now.since(*started)))
        }
        _ => (None, None, None, None),
    };
    if let Some(worker) = &worker
        && !job.lost_by.contains(worker)
    {
        job.lost_by.push(worker.clone());
    }
    job.phase = Phase::Done { at: now, outcome, worker, release, delay_ms, execution_ms };
}

#[cfg(test)]
mod tests;
