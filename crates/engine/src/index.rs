//! Who waits, who is held and who runs, in memory, rebuilt from the store at start and kept by the writer in commit
//! order. It answers what a query per request would be too slow for: a job's place in the queue, whether a
//! worker has something to take, what the scaler sees.

use std::collections::{BTreeMap, HashMap};

use runyard_domain::lists::Pace;
use runyard_domain::scaling::Demand;
use runyard_domain::{EndpointId, FailReason, Job, JobId, Outcome, Phase, Timestamp, WorkerId};

/// Up to here a place in the queue is counted; beyond, it is estimated.
const EXACT_PLACES: usize = 1_000;

/// The order of taking: tests first, then normal priority, then batches, then low priority; within each by submission.
type Order = (u8, u64);

const TESTS: u8 = 0;
const NORMAL: u8 = 1;
const BATCH: u8 = 2;
const LOW: u8 = 3;

#[derive(Debug)]
struct Waiting {
    since: Timestamp,
    pinned: Option<u32>,
    lost_by: Vec<WorkerId>,
}

/// A job that a worker has.
#[derive(Debug, Clone)]
struct Leased {
    endpoint: EndpointId,
    worker: WorkerId,
    /// When it started, or, where it has not, when it was handed over.
    since: Timestamp,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// In the worker's list, with its place in the queue's order.
    Held(Order),
    Runs {
        test: bool,
    },
}

#[derive(Debug, Default)]
struct Queue {
    waiting: BTreeMap<Order, Waiting>,
    /// In workers' lists: since when they wait.
    held: BTreeMap<Order, Timestamp>,
    running: u64,
    pace: Option<Pace>,
    /// How jobs ended, by release.
    tallies: BTreeMap<u32, Tally>,
}

/// A job that a worker has, as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// When it started, or, where it has not, when it was handed over.
    pub since: Timestamp,
    /// Whether the worker has come to it.
    pub started: bool,
}

/// Every live job by endpoint.
#[derive(Debug, Default)]
pub(crate) struct Index {
    queues: HashMap<EndpointId, Queue>,
    orders: HashMap<JobId, (EndpointId, Order)>,
    leased: HashMap<JobId, Leased>,
    running: usize,
    by_worker: HashMap<WorkerId, Vec<JobId>>,
}

/// A job's place in its queue, or in the list of the worker that holds it.
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

/// An endpoint's queue as it is measured, tests apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queued {
    /// Jobs that wait, in workers' lists too.
    pub waiting: u64,
    /// Since when the oldest of them does.
    pub oldest: Option<Timestamp>,
    /// Jobs that run.
    pub running: u64,
}

/// How the jobs of a release ended, tests apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// By an answer or a limit of theirs; cancelled ones are not counted.
    pub ended: u64,
    /// Those of them that went wrong.
    pub failed: u64,
}

/// Releases of an endpoint whose tallies are kept.
const TALLIES: usize = 32;

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
        let before = self.leased.get(&job.id).map(|lease| lease.worker.clone());
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
            Phase::Held { worker, queued_at, handed, .. } => {
                let order = (class(job), job.seq);
                queue.held.insert(order, *queued_at);
                shift.busy = self.lease(job, worker, *handed, Stage::Held(order), before.as_ref());
            }
            Phase::Running { worker, started, .. } => {
                let test = job.pinned.is_some();
                queue.running += u64::from(!test);
                self.running += 1;
                shift.busy = self.lease(job, worker, *started, Stage::Runs { test }, before.as_ref());
            }
            Phase::Done { outcome, execution_ms: Some(ms), release: Some(release), .. } => {
                let measures = matches!(outcome, Outcome::Completed | Outcome::TimedOut { .. });
                // Once each: a repeated chunk shows an ended job again.
                if before.is_some() && job.pinned.is_none() {
                    queue.count(*release, outcome);
                }
                if measures && before.is_some() {
                    let pace = queue.pace.get_or_insert(Pace::new(*release));
                    if pace.release != *release {
                        *pace = Pace::new(*release);
                    }
                    pace.note(*ms);
                }
            }
            Phase::Draft { .. } | Phase::Done { .. } => {}
        }
        if let Some(worker) = before
            && !self.by_worker.contains_key(&worker)
        {
            shift.idle = Some(worker);
        }
        shift
    }

    /// Notes that a worker has a job; says which worker, where it is its first one.
    fn lease(
        &mut self,
        job: &Job,
        worker: &WorkerId,
        since: Timestamp,
        stage: Stage,
        before: Option<&WorkerId>,
    ) -> Option<WorkerId> {
        let lease = Leased { endpoint: job.endpoint.clone(), worker: worker.clone(), since, stage };
        self.leased.insert(job.id.clone(), lease);
        let all = self.by_worker.entry(worker.clone()).or_default();
        all.push(job.id.clone());
        (all.len() == 1 && before != Some(worker)).then(|| worker.clone())
    }

    /// Takes a job out.
    pub(crate) fn remove(&mut self, job: &JobId) {
        if let Some((endpoint, order)) = self.orders.remove(job)
            && let Some(queue) = self.queues.get_mut(&endpoint)
        {
            queue.waiting.remove(&order);
        }
        if let Some(lease) = self.leased.remove(job) {
            self.running -= usize::from(!matches!(lease.stage, Stage::Held(_)));
            if let Some(queue) = self.queues.get_mut(&lease.endpoint) {
                match lease.stage {
                    Stage::Held(order) => drop(queue.held.remove(&order)),
                    Stage::Runs { test } => queue.running -= u64::from(!test),
                }
            }
            if let Some(all) = self.by_worker.get_mut(&lease.worker) {
                all.retain(|id| id != job);
                if all.is_empty() {
                    self.by_worker.remove(&lease.worker);
                }
            }
        }
    }

    /// Forgets an endpoint with all its jobs; says which.
    pub(crate) fn drop_endpoint(&mut self, endpoint: &EndpointId) -> Vec<JobId> {
        let waiting = self.orders.iter().filter(|(_, (e, _))| e == endpoint).map(|(id, _)| id.clone());
        let leased = self.leased.iter().filter(|(_, l)| l.endpoint == *endpoint).map(|(id, _)| id.clone());
        let mut jobs: Vec<JobId> = waiting.chain(leased).collect();
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

    /// The incarnation that has a job, and whether it has come to it.
    pub(crate) fn holder(&self, job: &JobId) -> Option<(WorkerId, bool)> {
        self.leased.get(job).map(|lease| (lease.worker.clone(), lease.stage.has_started()))
    }

    /// Whether this incarnation has the job and has not come to it.
    pub(crate) fn is_held_by(&self, job: &JobId, worker: &WorkerId) -> bool {
        self.leased.get(job).is_some_and(|lease| lease.worker == *worker && !lease.stage.has_started())
    }

    /// The jobs that an incarnation has.
    pub(crate) fn leases(&self, worker: &WorkerId) -> impl Iterator<Item = Lease> + '_ {
        let ids = self.by_worker.get(worker).map_or(&[][..], Vec::as_slice);
        ids.iter().filter_map(|id| {
            let lease = self.leased.get(id)?;
            Some(Lease { job: id.clone(), since: lease.since, started: lease.stage.has_started() })
        })
    }

    /// The place of a held job in its queue's order of submission.
    pub(crate) fn held_seq(&self, job: &JobId) -> Option<u64> {
        match self.leased.get(job)?.stage {
            Stage::Held((_, seq)) => Some(seq),
            Stage::Runs { .. } => None,
        }
    }

    /// How the jobs of a release ended.
    pub(crate) fn tally(&self, endpoint: &EndpointId, release: u32) -> Tally {
        let tally = self.queues.get(endpoint).and_then(|queue| queue.tallies.get(&release));
        tally.copied().unwrap_or_default()
    }

    /// How long jobs of an endpoint's newest release take.
    pub(crate) fn pace(&self, endpoint: &EndpointId) -> Option<Pace> {
        self.queues.get(endpoint)?.pace
    }

    /// How many jobs of normal priority wait, counted up to `enough`.
    pub(crate) fn normal_waiting(&self, endpoint: &EndpointId, enough: usize) -> usize {
        let Some(queue) = self.queues.get(endpoint) else { return 0 };
        queue.waiting.range((NORMAL, 0)..(LOW, 0)).take(enough).count()
    }

    /// A waiting job's place in its queue, a held one's in its worker's list.
    pub(crate) fn place(&self, job: &JobId) -> Option<Place> {
        if let Some(lease) = self.leased.get(job) {
            return self.place_in_list(job, lease);
        }
        let (endpoint, order) = self.orders.get(job)?;
        let queue = self.queues.get(endpoint)?;
        let before = queue.waiting.range(..*order).take(EXACT_PLACES).count();
        let position = if before < EXACT_PLACES {
            before as u64 + 1
        } else {
            let first = queue.waiting.keys().next().map_or(0, |(_, seq)| *seq);
            order.1.saturating_sub(first).clamp(EXACT_PLACES as u64 + 1, queue.waiting.len() as u64)
        };
        // What workers hold comes first.
        Some(Place { position: position + queue.held.len() as u64, usual_ms: queue.usual_ms() })
    }

    fn place_in_list(&self, job: &JobId, lease: &Leased) -> Option<Place> {
        let Stage::Held(order) = lease.stage else { return None };
        let earlier = |id: &&JobId| {
            self.leased.get(*id).is_some_and(|l| matches!(l.stage, Stage::Held(other) if other < order))
        };
        let before =
            self.by_worker.get(&lease.worker)?.iter().filter(|id| *id != job).filter(earlier).count();
        let usual_ms = self.queues.get(&lease.endpoint)?.usual_ms();
        Some(Place { position: before as u64 + 1, usual_ms })
    }

    /// One endpoint's jobs; `depth` bounds the list of waiting times.
    pub(crate) fn snapshot(&self, endpoint: &EndpointId, depth: usize) -> Snapshot {
        let Some(queue) = self.queues.get(endpoint) else { return Snapshot::default() };
        let class_len = |class: u8| queue.waiting.range((class, 0)..(class + 1, 0)).count() as u64;
        let normal = queue.waiting.range((NORMAL, 0)..(LOW, 0));
        Snapshot {
            demand: Demand {
                waiting_since: queue
                    .held
                    .values()
                    .copied()
                    .chain(normal.map(|(_, w)| w.since))
                    .take(depth)
                    .collect(),
                waiting: (queue.waiting.len() + queue.held.len()) as u64 - class_len(TESTS) - class_len(LOW),
                waiting_low: class_len(LOW),
                running: queue.running,
            },
            usual_ms: queue.usual_ms(),
        }
    }

    /// An endpoint's queue as it is measured.
    pub(crate) fn queued(&self, endpoint: &EndpointId) -> Queued {
        let Some(queue) = self.queues.get(endpoint) else { return Queued::default() };
        let tests = queue.waiting.range(..(NORMAL, 0)).count();
        let first = |class: u8| queue.waiting.range((class, 0)..(class + 1, 0)).next().map(|(_, w)| w.since);
        let firsts = [NORMAL, BATCH, LOW].into_iter().filter_map(first);
        Queued {
            waiting: (queue.waiting.len() - tests + queue.held.len()) as u64,
            oldest: firsts.chain(queue.held.values().next().copied()).min(),
            running: queue.running,
        }
    }

    /// How many jobs wait at an endpoint, tests included.
    pub(crate) fn waiting(&self, endpoint: &EndpointId) -> u64 {
        self.queues.get(endpoint).map_or(0, |queue| queue.waiting.len() as u64)
    }

    /// The endpoint of a job that waits or that a worker has.
    pub(crate) fn endpoint_of(&self, job: &JobId) -> Option<&EndpointId> {
        let waiting = self.orders.get(job).map(|(endpoint, _)| endpoint);
        waiting.or_else(|| self.leased.get(job).map(|held| &held.endpoint))
    }

    /// How many jobs run, of all endpoints.
    pub(crate) fn running(&self) -> usize {
        self.running
    }
}

impl Stage {
    fn has_started(self) -> bool {
        !matches!(self, Self::Held(_))
    }
}

impl Tally {
    /// The end of one job. Whether it is the release's doing: a time to live that ended is not.
    pub fn note(&mut self, outcome: &Outcome) {
        let failed = match outcome {
            Outcome::Completed => false,
            Outcome::Failed { .. } | Outcome::TimedOut { reason: FailReason::ExecutionTimeout { .. } } => {
                true
            }
            Outcome::TimedOut { .. } | Outcome::Cancelled { .. } => return,
        };
        self.ended += 1;
        self.failed += u64::from(failed);
    }
}

impl Queue {
    fn count(&mut self, release: u32, outcome: &Outcome) {
        self.tallies.entry(release).or_default().note(outcome);
        if self.tallies.len() > TALLIES {
            self.tallies.pop_first();
        }
    }

    fn usual_ms(&self) -> Option<i64> {
        self.pace.map(|pace| pace.usual_ms as i64)
    }
}

fn class(job: &Job) -> u8 {
    match (job.pinned, job.policy.low_priority) {
        (Some(_), _) => TESTS,
        (None, false) if job.batch.is_some() => BATCH,
        (None, false) => NORMAL,
        (None, true) => LOW,
    }
}
