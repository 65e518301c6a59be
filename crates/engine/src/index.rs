//! Who waits and who runs, in memory, rebuilt from the store at start and kept by the writer in commit
//! order. It answers what a query per request would be too slow for: a job's place in the queue, whether a
//! worker has something to take, what the scaler sees.

use std::collections::{BTreeMap, HashMap};

use runyard_domain::scaling::Demand;
use runyard_domain::{EndpointId, Job, JobId, Outcome, Phase, Timestamp, WorkerId};

/// Up to here a place in the queue is counted; beyond, it is estimated.
const EXACT_PLACES: usize = 1_000;

/// The order of taking: tests first, then normal priority, then low; within each by submission.
type Order = (u8, u64);

const TESTS: u8 = 0;
const NORMAL: u8 = 1;
const LOW: u8 = 2;

#[derive(Debug)]
struct Waiting {
    since: Timestamp,
    pinned: Option<u32>,
    lost_by: Vec<WorkerId>,
}

#[derive(Debug, Clone)]
struct Running {
    endpoint: EndpointId,
    worker: WorkerId,
    started: Timestamp,
    test: bool,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: BTreeMap<Order, Waiting>,
    running: u64,
    usual_ms: Option<f64>,
}

/// Every live job by endpoint.
#[derive(Debug, Default)]
pub(crate) struct Index {
    queues: HashMap<EndpointId, Queue>,
    orders: HashMap<JobId, (EndpointId, Order)>,
    running: HashMap<JobId, Running>,
    by_worker: HashMap<WorkerId, Vec<JobId>>,
}

/// A job's place in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// From 1; exact to 1,000, then an estimate.
    pub position: u64,
    /// How long jobs of this endpoint usually run, where measured.
    pub usual_ms: Option<i64>,
}

/// One endpoint's jobs at a glance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// What the scaler sees.
    pub demand: Demand,
    /// How long jobs of this endpoint usually run, where measured.
    pub usual_ms: Option<i64>,
}

/// What a change of a job meant for workers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shift {
    /// This worker lost its last job.
    pub(crate) idle: Option<WorkerId>,
    /// This worker got its first job.
    pub(crate) busy: Option<WorkerId>,
}

impl Index {
    /// Takes in a job as it is now.
    pub(crate) fn apply(&mut self, job: &Job) -> Shift {
        let before = self.running.get(&job.id).map(|r| r.worker.clone());
        self.remove(&job.id);
        let mut shift = Shift::default();
        let queue = self.queues.entry(job.endpoint.clone()).or_default();
        match &job.phase {
            Phase::Waiting { since } => {
                let order = (class(job), job.seq);
                let waiting = Waiting { since: *since, pinned: job.pinned, lost_by: job.lost_by.clone() };
                queue.waiting.insert(order, waiting);
                self.orders.insert(job.id.clone(), (job.endpoint.clone(), order));
            }
            Phase::Running { worker, started, .. } => {
                let test = job.pinned.is_some();
                queue.running += u64::from(!test);
                let running = Running {
                    endpoint: job.endpoint.clone(),
                    worker: worker.clone(),
                    started: *started,
                    test,
                };
                self.running.insert(job.id.clone(), running);
                let held = self.by_worker.entry(worker.clone()).or_default();
                held.push(job.id.clone());
                if held.len() == 1 && before.as_ref() != Some(worker) {
                    shift.busy = Some(worker.clone());
                }
            }
            Phase::Done { outcome, execution_ms, .. } => {
                // Once each: a repeated chunk shows an ended job again.
                if let (Outcome::Completed, Some(ms), Some(_)) = (outcome, execution_ms, &before) {
                    let usual = queue.usual_ms.get_or_insert(*ms as f64);
                    *usual += (*ms as f64 - *usual) * 0.2;
                }
            }
        }
        if let Some(worker) = before
            && !self.by_worker.contains_key(&worker)
        {
            shift.idle = Some(worker);
        }
        shift
    }

    /// Takes a job out.
    pub(crate) fn remove(&mut self, job: &JobId) {
        if let Some((endpoint, order)) = self.orders.remove(job)
            && let Some(queue) = self.queues.get_mut(&endpoint)
        {
            queue.waiting.remove(&order);
        }
        if let Some(running) = self.running.remove(job) {
            if let Some(queue) = self.queues.get_mut(&running.endpoint) {
                queue.running -= u64::from(!running.test);
            }
            if let Some(held) = self.by_worker.get_mut(&running.worker) {
                held.retain(|id| id != job);
                if held.is_empty() {
                    self.by_worker.remove(&running.worker);
                }
            }
        }
    }

    /// Forgets an endpoint with all its jobs; says which.
    pub(crate) fn drop_endpoint(&mut self, endpoint: &EndpointId) -> Vec<JobId> {
        let waiting = self.orders.iter().filter(|(_, (e, _))| e == endpoint).map(|(id, _)| id.clone());
        let running = self.running.iter().filter(|(_, r)| r.endpoint == *endpoint).map(|(id, _)| id.clone());
        let mut jobs: Vec<JobId> = waiting.chain(running).collect();
        jobs.sort_unstable();
        for job in &jobs {
            self.remove(job);
        }
        self.queues.remove(endpoint);
        jobs
    }

    /// How many jobs wait that this incarnation may take.
    pub(crate) fn takeable(
        &self,
        endpoint: &EndpointId,
        worker: &WorkerId,
        release: u32,
        pinned_only: bool,
        enough: usize,
    ) -> usize {
        let Some(queue) = self.queues.get(endpoint) else { return 0 };
        let last = if pinned_only { NORMAL } else { LOW + 1 };
        queue
            .waiting
            .range(..(last, 0))
            .map(|(_, waiting)| waiting)
            .filter(|w| w.pinned.is_none_or(|pinned| pinned == release))
            .filter(|w| !w.lost_by.contains(worker))
            .take(enough)
            .count()
    }

    /// How many of the first jobs that wait were lost by every one of `workers`, so that none of them may take
    /// them. Tests are not counted.
    pub(crate) fn fenced_out(&self, endpoint: &EndpointId, workers: &[WorkerId]) -> usize {
        let Some(queue) = self.queues.get(endpoint) else { return 0 };
        let first = queue.waiting.range((NORMAL, 0)..).take(EXACT_PLACES);
        first.filter(|(_, w)| workers.iter().all(|worker| w.lost_by.contains(worker))).count()
    }

    /// The incarnation that holds a job.
    pub(crate) fn holder(&self, job: &JobId) -> Option<WorkerId> {
        self.running.get(job).map(|running| running.worker.clone())
    }

    /// The jobs an incarnation holds, with the time of their hand-over.
    pub(crate) fn held(&self, worker: &WorkerId) -> Vec<(JobId, Timestamp)> {
        let ids = self.by_worker.get(worker).map_or(&[][..], Vec::as_slice);
        ids.iter().filter_map(|id| self.running.get(id).map(|r| (id.clone(), r.started))).collect()
    }

    /// A waiting job's place in its queue.
    pub(crate) fn place(&self, job: &JobId) -> Option<Place> {
        let (endpoint, order) = self.orders.get(job)?;
        let queue = self.queues.get(endpoint)?;
        let before = queue.waiting.range(..*order).take(EXACT_PLACES).count();
        let position = if before < EXACT_PLACES {
            before as u64 + 1
        } else {
            let first = queue.waiting.keys().next().map_or(0, |(_, seq)| *seq);
            order.1.saturating_sub(first).clamp(EXACT_PLACES as u64 + 1, queue.waiting.len() as u64)
        };
        Some(Place { position, usual_ms: queue.usual_ms.map(|ms| ms as i64) })
    }

    /// One endpoint's jobs; `depth` bounds the list of waiting times.
    pub(crate) fn snapshot(&self, endpoint: &EndpointId, depth: usize) -> Snapshot {
        let Some(queue) = self.queues.get(endpoint) else { return Snapshot::default() };
        let class_len = |class: u8| queue.waiting.range((class, 0)..(class + 1, 0)).count() as u64;
        let normal = queue.waiting.range((NORMAL, 0)..(LOW, 0));
        Snapshot {
            demand: Demand {
                waiting_since: normal.map(|(_, w)| w.since).take(depth).collect(),
                waiting: queue.waiting.len() as u64 - class_len(TESTS) - class_len(LOW),
                waiting_low: class_len(LOW),
                running: queue.running,
            },
            usual_ms: queue.usual_ms.map(|ms| ms as i64),
        }
    }

    /// How many jobs run, of all endpoints.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }
}

fn class(job: &Job) -> u8 {
    match (job.pinned, job.policy.low_priority) {
        (Some(_), _) => TESTS,
        (None, false) => NORMAL,
        (None, true) => LOW,
    }
}
