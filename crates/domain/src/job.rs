//! A job and what can be asked of it. [`decide`] (in `machine`) takes a job, a command and the time, and answers
//! with the job as it is afterwards, or with the reason why the command changes nothing. It is pure: the store
//! loads, decides and writes inside one transaction.

use serde::{Deserialize, Serialize};

use crate::{BatchId, EndpointId, FailReason, JobId, Timestamp, WorkerId};

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
    /// The batch that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchId>,
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
    /// Its attempts before the one that its phase tells of, oldest first: those that were lost, and those that ended
    /// before a retry. At most [`ATTEMPTS_KEPT`]: of more, the first and the newest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// Where it is.
    pub phase: Phase,
}

/// How many earlier attempts of a job are kept.
pub const ATTEMPTS_KEPT: usize = 10;

/// An attempt that is over while its job went on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The incarnation that ran it.
    pub worker: WorkerId,
    /// Its release.
    pub release: u32,
    /// Since when the job had waited for it.
    pub queued_at: Timestamp,
    /// When it started.
    pub started: Timestamp,
    /// When it was over.
    pub ended: Timestamp,
    /// The code of why it failed: `worker_lost`, `handler_exception`, ….
    pub code: String,
}

/// Where a job is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// In a batch that is a draft: nobody takes it.
    Draft {
        /// Since when.
        since: Timestamp,
    },
    /// In the queue.
    Waiting {
        /// Since when.
        since: Timestamp,
    },
    /// In the list of a worker that runs other jobs before it: leased, and not started. For its client it is
    /// still in the queue.
    Held {
        /// The incarnation.
        worker: WorkerId,
        /// Its release.
        release: u32,
        /// Since when it waits.
        queued_at: Timestamp,
        /// When it was handed over.
        handed: Timestamp,
    },
    /// Run by a worker.
    Running {
        /// The incarnation.
        worker: WorkerId,
        /// Its release.
        release: u32,
        /// Since when it had waited.
        queued_at: Timestamp,
        /// When it started: its hand-over, or, in a list, the end of the job before it.
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
        /// Milliseconds of these, at their end, in which the worker's answer was on its way and written; `None` where
        /// nobody measured it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upload_ms: Option<i64>,
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
        /// A key's id or `local`, with ` over /v2` behind it where that was the door; or `purge by …`.
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
    /// Its batch was finalized: it waits from now on, and its time to live begins.
    Release,
    /// A worker takes it.
    Start {
        /// The incarnation.
        worker: WorkerId,
        /// Its release.
        release: u32,
    },
    /// A worker gets it in a list, behind other jobs.
    Hold {
        /// The incarnation.
        worker: WorkerId,
        /// Its release.
        release: u32,
    },
    /// The worker in whose list it is comes to it.
    Begin {
        /// The incarnation.
        worker: WorkerId,
    },
    /// It leaves the list of a worker that has not started it.
    CallBack {
        /// The incarnation.
        worker: WorkerId,
    },
    /// A worker answers.
    Finish {
        /// The incarnation.
        worker: WorkerId,
        /// What it said.
        answer: Answer,
        /// When it began to send that, where it is known.
        posted: Option<Timestamp>,
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
    /// It is no part of a draft.
    #[error("the job is no part of a draft")]
    NotDraft,
    /// It is not in the queue.
    #[error("the job is not waiting")]
    NotWaiting,
    /// It is not in this worker's list, or it has started.
    #[error("the job does not wait in this worker's list")]
    NotHeld,
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

    /// When it ended, where it has.
    pub fn ended_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Done { at, .. } => Some(at),
            _ => None,
        }
    }

    /// The incarnation that has it now, started or not.
    pub fn holder(&self) -> Option<&WorkerId> {
        match &self.phase {
            Phase::Running { worker, .. } | Phase::Held { worker, .. } => Some(worker),
            _ => None,
        }
    }

    /// Whether a worker has it and has not started it.
    pub fn is_held(&self) -> bool {
        matches!(self.phase, Phase::Held { .. })
    }

    /// Whether output (progress, chunks) of this incarnation still counts.
    pub fn takes_output_of(&self, worker: &WorkerId) -> bool {
        match &self.phase {
            Phase::Running { worker: holder, .. } | Phase::Held { worker: holder, .. } => holder == worker,
            Phase::Waiting { .. } => self.lost_by.last() == Some(worker),
            Phase::Draft { .. } | Phase::Done { .. } => false,
        }
    }

    /// The next moment at which the clock alone changes it: a limit while it lives, the end of its retention
    /// once it is done.
    pub fn due_at(&self) -> Timestamp {
        match &self.phase {
            Phase::Waiting { .. } | Phase::Held { .. } => self.expires_at,
            Phase::Running { started, .. } => match self.policy.execution_timeout_ms {
                0 => self.expires_at,
                limit => self.expires_at.min(started.plus(limit)),
            },
            // A batch keeps its jobs, and says how long.
            Phase::Done { .. } if self.batch.is_some() => Timestamp(i64::MAX),
            Phase::Draft { .. } => Timestamp(i64::MAX),
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

mod machine;
pub use machine::decide;

#[cfg(test)]
mod tests;
