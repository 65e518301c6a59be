//! Limits that the clock alone enforces: time to live, execution timeout, retention. One task sleeps until
//! the earliest of them; a commit that brings an earlier one wakes it.

use std::sync::Weak;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use runyard_domain::Timestamp;
use runyard_store::Command;
use tokio::sync::Notify;

use crate::engine::Shared;
use crate::{Engine, EngineError};

/// The most limits that are enforced before the next look.
const ROUND: usize = 500;

/// The longest sleep: a wall clock that was set forward is noticed by then.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// After a start with running jobs nothing is ended for so long: what their workers answered while nobody was
/// here (the agent keeps it) comes first.
const GRACE_MS: i64 = 10_000;

/// The earliest known limit.
#[derive(Debug)]
pub(crate) struct Timers {
    earliest: AtomicI64,
    not_before: AtomicI64,
    earlier: Notify,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            earliest: AtomicI64::new(i64::MAX),
            not_before: AtomicI64::new(i64::MIN),
            earlier: Notify::new(),
        }
    }
}

impl Timers {
    /// Jobs run already at this start.
    pub(crate) fn grant_grace(&self, now: Timestamp) {
        self.not_before.store(now.plus(GRACE_MS).0, Ordering::Release);
    }

    /// When to act next.
    fn next(&self) -> i64 {
        self.earliest.load(Ordering::Acquire).max(self.not_before.load(Ordering::Acquire))
    }

    /// Notes a limit; wakes the task where it is earlier than what it sleeps for.
    pub(crate) fn arm(&self, at: Timestamp) {
        if at.0 < self.earliest.fetch_min(at.0, Ordering::AcqRel) {
            self.earlier.notify_one();
        }
    }
}

/// Starts the task; it ends with the engine.
pub(crate) fn spawn(engine: &Engine) -> Result<(), EngineError> {
    if let Some(at) = engine.shared.reader.next_due()? {
        engine.shared.timers.arm(at);
    }
    let shared = std::sync::Arc::downgrade(&engine.shared);
    let timers = engine.shared.timers.clone();
    tokio::spawn(async move {
        loop {
            let Some(sleep) = until_earliest(&shared, &timers) else { return };
            tokio::select! {
                biased;
                () = tokio::time::sleep(sleep) => {}
                () = timers.earlier.notified() => continue,
            }
            let Some(shared) = shared.upgrade() else { return };
            if let Err(error) = enforce(&Engine { shared }).await {
                tracing::warn!(%error, "limits could not be enforced; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    });
    Ok(())
}

fn until_earliest(shared: &Weak<Shared>, timers: &Timers) -> Option<Duration> {
    let now = shared.upgrade()?.env.now();
    let wait = timers.next().saturating_sub(now.0).max(0);
    Some(Duration::from_millis(wait as u64).min(LONGEST_SLEEP))
}

async fn enforce(engine: &Engine) -> Result<(), EngineError> {
    let shared = &engine.shared;
    if shared.timers.next() > shared.env.now().0 {
        return Ok(());
    }
    let armed = Timestamp(shared.timers.earliest.swap(i64::MAX, Ordering::AcqRel));
    let outcome = expire_due(engine).await;
    match shared.reader.next_due() {
        Ok(at) => at.into_iter().for_each(|at| shared.timers.arm(at)),
        Err(error) => {
            // What was due is still due.
            shared.timers.arm(armed);
            return Err(error.into());
        }
    }
    outcome
}

async fn expire_due(engine: &Engine) -> Result<(), EngineError> {
    let shared = &engine.shared;
    let now = shared.env.now();
    let jobs = shared.reader.due(now, ROUND)?.into_iter().map(|job| Command::Expire { job });
    // One with its thousands of jobs is enough for a round.
    let batches = shared.reader.due_batches(now, 1)?.into_iter().map(Command::ExpireBatch);
    let mut outcome = Ok(());
    for done in jobs.chain(batches).map(|command| shared.writer.commit(command)).collect::<Vec<_>>() {
        if let Err(error) = done.await {
            outcome = Err(error);
        }
    }
    outcome
}
