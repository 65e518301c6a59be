//! Jobs that ended while their worker still runs them: the order to let go of them, and how it is seen that
//! the worker did.

use std::collections::HashSet;
use std::time::Duration;

use runyard_domain::job::Loss;
use runyard_domain::{FailReason, Job, JobId, Outcome, Phase, Timestamp, WorkerId};
use runyard_store::Which;
use runyard_vault::WorkerCaller;
use tokio::time::Instant;

use crate::engine::{Memory, lock};
use crate::live::Stopping;
use crate::{Change, Engine};

/// A job that its worker has held for longer than this, and that two of its pings in a row do not name, was
/// forgotten.
const UNNAMED_AFTER_MS: i64 = 30_000;

/// An order is repeated so often, so far apart: the SDK drops one for a job that it has taken and not begun yet
/// (up to 0.1 s), and one for a job that it let go of costs nothing.
const TELLINGS: u8 = 3;
const TELL_AGAIN: Duration = Duration::from_millis(500);

/// So long after an order the worker's held take comes back empty: it asks anew, and says with that whether it has
/// jobs in progress. SDKs let go within milliseconds and tell nobody.
const ASK_ANEW: Duration = Duration::from_millis(300);

impl Memory {
    /// Orders a worker to let go of a job; false where the worker is not there any more.
    pub(crate) fn must_stop(&mut self, worker: &WorkerId, job: &JobId) -> bool {
        let Some(entry) = self.live.workers.get_mut(worker) else { return false };
        entry.stopping.entry(job.clone()).or_insert(Stopping { told: 0, next: None });
        entry.stop.notify_waiters();
        true
    }
}

impl Engine {
    /// Jobs that a worker was told to stop, or should have been, and still seems to run.
    pub fn unstopped(&self, worker: &WorkerId) -> Vec<JobId> {
        let memory = lock(&self.shared.memory);
        memory.live.workers.get(worker).map_or(Vec::new(), |e| e.stopping.keys().cloned().collect())
    }

    /// Whether a worker heard that it has to stop a job, and may have done so unseen.
    pub fn was_told(&self, worker: &WorkerId, job: &JobId) -> bool {
        let memory = lock(&self.shared.memory);
        let stopping = memory.live.workers.get(worker).and_then(|entry| entry.stopping.get(job));
        stopping.is_some_and(|stopping| stopping.told > 0)
    }

    /// Orders a worker to let go of a job that ended before the worker was known here (a restart).
    pub fn order_stop(&self, worker: &WorkerId, job: &JobId) {
        if self.job(job).ok().flatten().is_some_and(|job| self.note_ghost(worker, &job)) {
            return;
        }
        if lock(&self.shared.memory).must_stop(worker, job) {
            let _ = self.shared.feed.send(Change::Stopping { worker: worker.clone(), job: job.clone() });
        }
    }

    /// Jobs that a worker has to stop, told a few times each; waits for one up to `hold`. `None` where the worker
    /// is draining and was told so before: answer slowly.
    pub async fn stop_orders(&self, who: &WorkerCaller, hold: Duration) -> Option<Vec<JobId>> {
        let deadline = Instant::now() + hold;
        loop {
            let (notify, wake_at) = {
                let now = Instant::now();
                let mut memory = lock(&self.shared.memory);
                let entry = memory.live.workers.get_mut(who.worker())?;
                let due = entry
                    .stopping
                    .iter_mut()
                    .filter(|(_, s)| s.told < TELLINGS && s.next.is_none_or(|at| at <= now));
                let orders: Vec<JobId> = due
                    .map(|(job, stopping)| {
                        stopping.told += 1;
                        stopping.next = Some(now + TELL_AGAIN);
                        job.clone()
                    })
                    .collect();
                if !orders.is_empty() {
                    let take = entry.take.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(ASK_ANEW).await;
                        take.notify_waiters();
                    });
                    return Some(orders);
                }
                if entry.released {
                    return None;
                }
                let later =
                    entry.stopping.values().filter(|s| s.told < TELLINGS).filter_map(|s| s.next).min();
                (entry.stop.clone(), later.map_or(deadline, |at| at.min(deadline)))
            };
            let changed = notify.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.unstopped_untold(who.worker()) {
                tokio::select! {
                    biased;
                    () = changed => {}
                    () = tokio::time::sleep_until(wake_at) => {
                        if Instant::now() >= deadline {
                            return Some(Vec::new());
                        }
                    }
                }
                if self.is_released(who.worker()) && !self.has_untold(who.worker()) {
                    return Some(Vec::new());
                }
            }
        }
    }

    fn unstopped_untold(&self, worker: &WorkerId) -> bool {
        self.is_released(worker) || self.has_untold(worker)
    }

    fn has_untold(&self, worker: &WorkerId) -> bool {
        let memory = lock(&self.shared.memory);
        memory.live.workers.get(worker).is_some_and(|entry| entry.stopping.values().any(|s| s.told == 0))
    }

    pub(crate) fn is_released(&self, worker: &WorkerId) -> bool {
        lock(&self.shared.memory).live.workers.get(worker).is_none_or(|entry| entry.released)
    }

    /// A worker's sign of life, with the jobs it has where it told them.
    pub fn ping(&self, who: &WorkerCaller, jobs: &[JobId], sdk: Option<&str>) {
        let mut unnamed: Option<HashSet<JobId>> = None;
        let at = self.now();
        let mut memory = lock(&self.shared.memory);
        if let Some(entry) = memory.live.workers.get_mut(who.worker()) {
            entry.view.heard_at = at;
            entry.view.pings = true;
            if let Some(sdk) = sdk {
                entry.view.sdk.get_or_insert_with(|| sdk.to_owned());
                entry.pinged_sdk = Some(sdk.to_owned());
            }
            let now: HashSet<JobId> = jobs.iter().cloned().collect();
            let before = entry.last_ping.replace(now.clone());
            unnamed = before.as_ref().map(|before| now.union(before).cloned().collect());
            // Two pings in a row without the job: one alone may have been on its way when the job came.
            entry.stopping.retain(|job, stopping| {
                stopping.told == 0 || now.contains(job) || before.as_ref().is_none_or(|b| b.contains(job))
            });
        }
        let Some(named) = unnamed else { return };
        let old = |since: &Timestamp| at.since(*since) >= UNNAMED_AFTER_MS;
        // What it has not come to, no SDK names.
        let held = memory.index.leases(who.worker()).filter(|lease| lease.started && old(&lease.since));
        let forgotten: Vec<JobId> = held.map(|lease| lease.job).filter(|id| !named.contains(id)).collect();
        drop(memory);
        self.resume_list(who.worker());
        if !forgotten.is_empty() {
            let (engine, worker) = (self.clone(), who.worker().clone());
            tokio::spawn(async move { engine.abandon(&worker, forgotten).await });
        }
    }

    /// A worker does not know jobs that it was given: they go back, and the worker should be replaced.
    pub(crate) async fn abandon(&self, worker: &WorkerId, jobs: Vec<JobId>) {
        tracing::warn!(worker.id = %worker, jobs = jobs.len(), "a worker forgot jobs that it was given");
        let loss = Loss { reason: FailReason::Abandoned { attempts: 0 }, spends: true };
        if let Err(error) = self.lose(worker, Which::Jobs(jobs), loss).await {
            tracing::error!(worker.id = %worker, %error, "forgotten jobs could not be settled");
        }
        let _ = self.shared.feed.send(Change::Forgetful(worker.clone()));
    }

    /// A worker says that it is not fit to work.
    pub fn unfit(&self, who: &WorkerCaller, message: String) {
        if let Some(entry) = lock(&self.shared.memory).live.workers.get_mut(who.worker()) {
            entry.view.unfit = Some(message.clone());
        }
        let _ = self.shared.feed.send(Change::Unfit { worker: who.worker().clone(), message });
    }

    pub(crate) fn settle_stop(&self, worker: &WorkerId, is: impl Fn(&JobId) -> bool) {
        if let Some(entry) = lock(&self.shared.memory).live.workers.get_mut(worker) {
            entry.stopping.retain(|job, _| !is(job));
        }
    }
}

/// How a job ended, as its holder sees it.
pub(crate) trait Ended {
    /// Whether it ended while this worker held it, and not by this worker.
    fn is_ended_without(&self, holder: &WorkerId) -> bool;
    /// Whether it ended by this worker's own answer.
    fn is_answered_by(&self, holder: &WorkerId) -> bool;
}

impl Ended for Job {
    fn is_ended_without(&self, holder: &WorkerId) -> bool {
        match &self.phase {
            Phase::Done { outcome: Outcome::Cancelled { .. } | Outcome::TimedOut { .. }, .. } => true,
            // An earlier holder answered late, and its answer counted.
            Phase::Done { worker, .. } => worker.as_ref() != Some(holder),
            _ => false,
        }
    }

    fn is_answered_by(&self, holder: &WorkerId) -> bool {
        matches!(&self.phase, Phase::Done { worker: Some(worker), .. } if worker == holder)
            && !self.is_ended_without(holder)
    }
}
