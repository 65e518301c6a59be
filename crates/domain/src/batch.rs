//! Batches: requests to one endpoint that are gathered first, run together, and are kept together. The requests are
//! jobs; a batch only says when they may start and how long they stay.
//!
//! A batch begins as a draft, whose jobs nobody takes. Finalized, they run. It ends by itself with its last job, or by
//! a cancel. RunPod's batches know no end of their own; ours do (`docs/decisions/0010-batches-end.md`).

use serde::{Deserialize, Serialize};

use crate::{BatchId, EndpointId, Timestamp};

/// How many batches of an endpoint may be drafts or run. Source: RunPod's limits, as the next two.
pub const MAX_ACTIVE: usize = 10;

/// How many requests a batch may have.
pub const MAX_REQUESTS: usize = 5_000;

/// A draft that nobody adds to for so long is cancelled.
pub const DRAFT_MS: i64 = 7 * 86_400_000;

/// How long a finalized request may wait and run unless it says otherwise: work that nobody waits for.
pub const TTL_MS: i64 = 7 * 86_400_000;

/// The longest name, in characters.
pub const MAX_NAME: usize = 200;

/// A batch without its requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Unique.
    pub id: BatchId,
    /// Whose requests.
    pub endpoint: EndpointId,
    /// What its maker calls it.
    pub name: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// A key's id, or `local`.
    pub created_by: String,
    /// How long it is kept, with its requests, once it has ended.
    pub retention_ms: i64,
    /// Where it is.
    pub state: BatchState,
}

/// Where a batch is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum BatchState {
    /// Requests are added; none runs.
    Draft {
        /// When somebody changed it last.
        touched_at: Timestamp,
    },
    /// Its requests run.
    Finalized {
        /// Since when.
        at: Timestamp,
    },
    /// Nothing runs any more.
    Ended {
        /// Since when.
        at: Timestamp,
        /// How.
        how: BatchEnd,
    },
}

/// How a batch ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum BatchEnd {
    /// Every request ended, at least one of them well, or there was none.
    Completed,
    /// Every request ended, none well.
    Failed,
    /// Somebody cancelled it.
    Cancelled {
        /// A key's id, or `local`; the clock is `draft expired`.
        by: String,
    },
}

/// Requests of a batch by where they stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchCounts {
    /// In a draft, or in the queue.
    pub waiting: u64,
    /// Running.
    pub running: u64,
    /// Ended well.
    pub completed: u64,
    /// Ended otherwise: failed, timed out, cancelled.
    pub failed: u64,
    /// Of those, cancelled.
    pub cancelled: u64,
}

impl BatchCounts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.waiting + self.running + self.completed + self.failed
    }

    /// Those that have not ended.
    pub fn live(&self) -> u64 {
        self.waiting + self.running
    }
}

/// Why a batch is not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchRefusal {
    /// There is no such batch.
    #[error("there is no such batch of this endpoint, or its retention is over")]
    NoSuchBatch,
    /// There is no such request in it.
    #[error("there is no such request in this batch")]
    NoSuchRequest,
    /// Only a draft takes and loses requests.
    #[error("requests are added to and removed from drafts only; this batch was finalized or has ended")]
    NotDraft,
    /// A cancelled one cannot be finalized.
    #[error("the batch was cancelled")]
    Cancelled,
    /// The endpoint has too many already.
    #[error("the endpoint has {MAX_ACTIVE} active batches already; finalize, cancel or wait for one of them")]
    TooManyActive,
    /// It would have too many requests.
    #[error("a batch has at most {MAX_REQUESTS} requests; this one has {has} and {more} more came")]
    TooManyRequests {
        /// Requests in it.
        has: usize,
        /// Requests that came.
        more: usize,
    },
}

impl Batch {
    /// Whether it counts against [`MAX_ACTIVE`].
    pub fn is_active(&self) -> bool {
        !matches!(self.state, BatchState::Ended { .. })
    }

    /// Whether its requests may not start yet.
    pub fn is_draft(&self) -> bool {
        matches!(self.state, BatchState::Draft { .. })
    }

    /// Whether somebody ended it.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.state, BatchState::Ended { how: BatchEnd::Cancelled { .. }, .. })
    }

    /// It with `more` requests beside the `has` that it has.
    pub fn added(&self, has: usize, more: usize, now: Timestamp) -> Result<Self, BatchRefusal> {
        if has + more > MAX_REQUESTS {
            return Err(BatchRefusal::TooManyRequests { has, more });
        }
        self.touched(now)
    }

    /// It after a change of its requests.
    pub fn touched(&self, now: Timestamp) -> Result<Self, BatchRefusal> {
        match self.state {
            BatchState::Draft { .. } => Ok(self.with(BatchState::Draft { touched_at: now })),
            _ => Err(BatchRefusal::NotDraft),
        }
    }

    /// It with its requests released. One that was finalized before stays as it is.
    pub fn finalized(&self, now: Timestamp) -> Result<Self, BatchRefusal> {
        match &self.state {
            BatchState::Draft { .. } => Ok(self.with(BatchState::Finalized { at: now })),
            BatchState::Ended { how: BatchEnd::Cancelled { .. }, .. } => Err(BatchRefusal::Cancelled),
            _ => Ok(self.clone()),
        }
    }

    /// It cancelled. One that has ended stays as it is.
    #[must_use]
    pub fn cancelled(&self, by: &str, now: Timestamp) -> Self {
        match self.state {
            BatchState::Ended { .. } => self.clone(),
            _ => self.with(BatchState::Ended { at: now, how: BatchEnd::Cancelled { by: by.to_owned() } }),
        }
    }

    /// It as its requests make it: ended with the last of them, running again with one that is retried.
    #[must_use]
    pub fn settled(&self, counts: &BatchCounts, now: Timestamp) -> Self {
        let over = counts.live() == 0;
        match &self.state {
            BatchState::Finalized { .. } if over => {
                let failed = counts.completed == 0 && counts.total() > 0;
                let how = if failed { BatchEnd::Failed } else { BatchEnd::Completed };
                self.with(BatchState::Ended { at: now, how })
            }
            BatchState::Ended { how: BatchEnd::Completed | BatchEnd::Failed, .. } if !over => {
                self.with(BatchState::Finalized { at: now })
            }
            _ => self.clone(),
        }
    }

    /// When the clock alone changes it: a draft is cancelled, an ended one is forgotten with its requests.
    pub fn due_at(&self) -> Timestamp {
        match self.state {
            BatchState::Draft { touched_at } => touched_at.plus(DRAFT_MS),
            BatchState::Finalized { .. } => Timestamp(i64::MAX),
            BatchState::Ended { at, .. } => at.plus(self.retention_ms),
        }
    }

    fn with(&self, state: BatchState) -> Self {
        Self { state, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Batch {
        Batch {
            id: BatchId::new("batch_1"),
            endpoint: EndpointId::new("e"),
            name: None,
            created_at: Timestamp(0),
            created_by: "local".into(),
            retention_ms: 1_000,
            state: BatchState::Draft { touched_at: Timestamp(0) },
        }
    }

    fn counts(waiting: u64, completed: u64, failed: u64) -> BatchCounts {
        BatchCounts { waiting, completed, failed, ..BatchCounts::default() }
    }

    #[test]
    fn it_ends_with_its_last_request() {
        let ran = draft().finalized(Timestamp(5)).expect("a draft");
        assert_eq!(ran.settled(&counts(1, 1, 0), Timestamp(6)), ran);
        for (counts, how) in [
            (counts(0, 1, 9), BatchEnd::Completed),
            (counts(0, 0, 0), BatchEnd::Completed),
            (counts(0, 0, 2), BatchEnd::Failed),
        ] {
            let ended = ran.settled(&counts, Timestamp(7));
            assert_eq!(ended.state, BatchState::Ended { at: Timestamp(7), how });
            assert_eq!(ended.due_at(), Timestamp(1_007));
            assert_eq!(ended.finalized(Timestamp(8)), Ok(ended.clone()), "finalizing twice changes nothing");
            assert!(!ended.is_active());
        }
        let again = ran.settled(&counts(0, 0, 2), Timestamp(7)).settled(&counts(1, 0, 1), Timestamp(8));
        assert!(again.is_active(), "a request was retried");
    }

    #[test]
    fn only_drafts_take_requests_and_only_so_many() {
        let draft = draft();
        assert_eq!(draft.added(4_999, 1, Timestamp(9)).map(|b| b.due_at()), Ok(Timestamp(9 + DRAFT_MS)));
        let refused = BatchRefusal::TooManyRequests { has: 4_999, more: 2 };
        assert_eq!(draft.added(4_999, 2, Timestamp(9)), Err(refused));
        let ran = draft.finalized(Timestamp(5)).expect("a draft");
        assert_eq!(ran.added(0, 1, Timestamp(9)), Err(BatchRefusal::NotDraft));
        let cancelled = ran.cancelled("k", Timestamp(6));
        assert_eq!(cancelled.finalized(Timestamp(7)), Err(BatchRefusal::Cancelled));
        assert_eq!(cancelled.cancelled("other", Timestamp(8)), cancelled);
        assert_eq!(cancelled.settled(&counts(0, 1, 0), Timestamp(9)), cancelled);
    }
}
