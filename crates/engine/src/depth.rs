//! How many jobs may wait in one queue. A submission near the limit takes its place before it is written, because
//! the queue in memory knows it only afterwards; so exactly as many are accepted as there is room for.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use runyard_domain::{EndpointId, Job, JobId};

use crate::engine::{Memory, lock};
use crate::{Engine, EngineError};

/// With more room than this nobody takes a place: so many submissions are never under way at once.
const PLENTY: u64 = 50_000;

/// Submissions that are being written.
#[derive(Debug, Default)]
pub(crate) struct Arrivals(HashMap<EndpointId, HashSet<JobId>>);

impl Arrivals {
    /// The job is in the queue, or will not come.
    pub(crate) fn settle(&mut self, endpoint: &EndpointId, job: &JobId) {
        if let Some(arriving) = self.0.get_mut(endpoint) {
            arriving.remove(job);
            if arriving.is_empty() {
                self.0.remove(endpoint);
            }
        }
    }
}

/// The places of a submission, or of a batch, until its jobs are in the queue or given up.
pub(crate) struct Entry {
    memory: Arc<Mutex<Memory>>,
    endpoint: EndpointId,
    jobs: Vec<JobId>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut memory = lock(&self.memory);
        for job in &self.jobs {
            memory.arrivals.settle(&self.endpoint, job);
        }
    }
}

impl Engine {
    /// A place in the queue for a new job; none is needed for tests, without a limit, and far from it.
    pub(crate) fn enter_queue(&self, job: &Job, limit: u32) -> Result<Option<Entry>, EngineError> {
        if job.pinned.is_some() || !self.is_tight(&job.endpoint, limit, 1) {
            return Ok(None);
        }
        self.enter_all(&job.endpoint, vec![job.id.clone()], limit).map(Some)
    }

    /// Whether the queue is so near to its limit that `more` jobs need places.
    pub(crate) fn is_tight(&self, endpoint: &EndpointId, limit: u32, more: u64) -> bool {
        let limit = u64::from(limit);
        limit != 0 && lock(&self.shared.memory).index.waiting(endpoint) + more + PLENTY > limit
    }

    /// Places for all of these jobs, or for none.
    pub(crate) fn enter_all(
        &self,
        endpoint: &EndpointId,
        jobs: Vec<JobId>,
        limit: u32,
    ) -> Result<Entry, EngineError> {
        let mut memory = lock(&self.shared.memory);
        let waiting = memory.index.waiting(endpoint);
        let arriving = memory.arrivals.0.entry(endpoint.clone()).or_default();
        let (waiting, more) = (waiting + arriving.len() as u64, jobs.len() as u64);
        let limit = u64::from(limit);
        if waiting + more > limit {
            return Err(EngineError::QueueFull { endpoint: endpoint.clone(), waiting, limit, more });
        }
        arriving.extend(jobs.iter().cloned());
        let (memory, endpoint) = (Arc::clone(&self.shared.memory), endpoint.clone());
        Ok(Entry { memory, endpoint, jobs })
    }
}
