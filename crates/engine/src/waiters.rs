//! Who waits for a job: synchronous calls, long polls of a status, streams. A waiter registers first and
//! looks afterwards, so nothing falls between. A result that comes while somebody waits for it is handed to
//! them as it was committed, so that none of them has to read it back from the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use runyard_domain::{Job, JobId, Payload};
use runyard_store::Command;
use tokio::sync::Notify;

/// A job that ended by its worker's answer.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The job.
    pub job: Job,
    /// What it returned.
    pub output: Option<Payload>,
}

/// Waiters by job.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    jobs: Mutex<HashMap<JobId, Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    waiters: usize,
    notify: Arc<Notify>,
    /// The job's last change, where that was its end.
    ended: Option<Arc<Ended>>,
}

/// Someone who waits for changes of a job, until this is dropped.
pub struct JobWaiter {
    waiters: Arc<Waiters>,
    job: JobId,
    notify: Arc<Notify>,
}

impl Waiters {
    /// Registers a waiter for a job.
    pub(crate) fn register(self: &Arc<Self>, job: &JobId) -> JobWaiter {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = jobs.entry(job.clone()).or_default();
        entry.waiters += 1;
        JobWaiter { waiters: self.clone(), job: job.clone(), notify: entry.notify.clone() }
    }

    /// Wakes everybody who waits for this job.
    pub(crate) fn wake(&self, job: &JobId) {
        self.tell(job, || None);
    }

    /// The same for a job that `command` made what it is now.
    pub(crate) fn changed(&self, job: &Job, command: &Command) {
        self.tell(&job.id, || match command {
            Command::Finish { output, .. } if job.is_done() => {
                Some(Arc::new(Ended { job: job.clone(), output: output.clone() }))
            }
            _ => None,
        });
    }

    fn tell(&self, job: &JobId, ended: impl FnOnce() -> Option<Arc<Ended>>) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = jobs.get_mut(job) {
            entry.ended = ended();
            entry.notify.notify_waiters();
        }
    }
}

impl Waiters {
    /// Wakes everybody.
    pub(crate) fn wake_all(&self) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.values().for_each(|entry| entry.notify.notify_waiters());
    }
}

impl JobWaiter {
    /// Resolves at the next change; it counts from the moment the future is made.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.notify.notified()
    }

    /// The job's end, where a worker's answer was its last change and came while somebody waits: no query is
    /// needed. `None` says nothing.
    pub fn ended(&self) -> Option<Arc<Ended>> {
        let jobs = self.waiters.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.get(&self.job).and_then(|entry| entry.ended.clone())
    }
}

impl Drop for JobWaiter {
    fn drop(&mut self) {
        let mut jobs = self.waiters.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = jobs.get_mut(&self.job) {
            entry.waiters -= 1;
            if entry.waiters == 0 {
                jobs.remove(&self.job);
            }
        }
    }
}
