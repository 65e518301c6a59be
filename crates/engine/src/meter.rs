//! How the writer does: how long its batches take to become durable, and how many changes it writes. Noted once a batch,
//! without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runyard_domain::EndpointId;
use runyard_metrics::{BOUNDS_US, Histogram, Interval, Subject, histogram};

use crate::engine::lock;
use crate::{Engine, EngineError, Queued};

/// Counts since they were taken last.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    commits: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
    max_us: AtomicU64,
    commands: AtomicU64,
}

/// What the writer did since somebody asked last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriterLoad {
    /// How long each batch took to become durable.
    pub commits: Histogram,
    /// Changes in them.
    pub commands: u64,
}

impl Meter {
    /// Notes a batch of so many changes.
    pub(crate) fn note(&self, took: Duration, commands: usize) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commits[histogram::bucket_of(us)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        self.max_us.fetch_max(us, Ordering::Relaxed);
        self.commands.fetch_add(commands as u64, Ordering::Relaxed);
    }

    fn take(&self) -> WriterLoad {
        let taken = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let counts: Vec<u64> = self.commits.iter().map(taken).collect();
        let commits = Histogram::of(&counts, taken(&self.sum_us), taken(&self.max_us));
        WriterLoad { commits, commands: taken(&self.commands) }
    }
}

impl Engine {
    /// What the writer did since this was asked last.
    pub fn take_writer_load(&self) -> WriterLoad {
        self.shared.writer.meter().take()
    }

    /// An endpoint's queue at this moment.
    pub fn queued(&self, endpoint: &EndpointId) -> Queued {
        lock(&self.shared.memory).index.queued(endpoint)
    }

    /// Keeps what was measured. On a full disk it is refused, and may be brought again.
    pub async fn measure(&self, points: Vec<(Subject, Interval)>) -> Result<(), EngineError> {
        self.shared.writer.commit(runyard_store::Command::Measure(points)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_not_taken_again() {
        let meter = Meter::default();
        meter.note(Duration::from_millis(3), 5);
        meter.note(Duration::from_mins(150), 1);
        let load = meter.take();
        assert_eq!((load.commits.count(), load.commits.max(), load.commands), (2, 9_000.0, 6));
        assert_eq!(meter.take(), WriterLoad::default());
    }
}
