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

/// A submission's place, until it is in the queue or given up.
pub(crate) struct Entry {
    memory: Arc<Mutex<Memory>>,
    endpoint: EndpointId,
    job: JobId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&self.memory).arrivals.settle(&self.endpoint, &self.job);
    }
}

impl Engine {
    /// A place in the queue for a new job; none is needed for tests, without a limit, and far from it.
    pub(crate) fn enter_queue(&self, job: &Job, limit: u32) -> Result<Option<Entry>, EngineError> {
        if limit == 0 || job.pinned.is_some() {
            return Ok(None);
        }
        let limit = u64::from(limit);
        let mut memory = lock(&self.shared.memory);
        let waiting = memory.index.waiting(&job.endpoint);
        if waiting + PLENTY < limit {
            return Ok(None);
        }
        let arriving = memory.arrivals.0.entry(job.endpoint.clone()).or_default();
        let waiting = waiting + arriving.len() as u64;
        if waiting >= limit {
            return Err(EngineError::QueueFull { endpoint: job.endpoint.clone(), waiting, limit });
        }
        arriving.insert(job.id.clone());
        let (memory, endpoint) = (Arc::clone(&self.shared.memory), job.endpoint.clone());
        Ok(Some(Entry { memory, endpoint, job: job.id.clone() }))
    }
}
