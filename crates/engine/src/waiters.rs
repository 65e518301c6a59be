//! Who waits for a job: synchronous calls, long polls of a status, streams. A waiter registers first and
//! looks afterwards, so nothing falls between.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use runyard_domain::JobId;
use tokio::sync::Notify;

/// Waiters by job.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    jobs: Mutex<HashMap<JobId, (usize, Arc<Notify>)>>,
}

/// One registered waiter; dropping it unregisters.
pub(crate) struct Waiter {
    waiters: Arc<Waiters>,
    job: JobId,
    notify: Arc<Notify>,
}

impl Waiters {
    /// Registers a waiter for a job.
    pub(crate) fn register(self: &Arc<Self>, job: &JobId) -> Waiter {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = jobs.entry(job.clone()).or_default();
        entry.0 += 1;
        Waiter { waiters: self.clone(), job: job.clone(), notify: entry.1.clone() }
    }

    /// Wakes everybody who waits for this job.
    pub(crate) fn wake(&self, job: &JobId) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, notify)) = jobs.get(job) {
            notify.notify_waiters();
        }
    }
}

impl Waiters {
    /// Wakes everybody.
    pub(crate) fn wake_all(&self) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.values().for_each(|(_, notify)| notify.notify_waiters());
    }
}

impl Waiter {
    /// A future that resolves at the next change; it counts from the moment it is made.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut jobs = self.waiters.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = jobs.get_mut(&self.job) {
            entry.0 -= 1;
            if entry.0 == 0 {
                jobs.remove(&self.job);
            }
        }
    }
}
