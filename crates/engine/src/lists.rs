//! Lists of jobs longer than a worker asked for: who gets one, how its jobs start one after the other, and how
//! they are called back. `domain::lists` says which SDKs run them and how long they may be.
//!
//! A worker with a list has seats, as many as it asked for jobs. A job sits in one from its start until its worker
//! is through with it, also where it ended before for others; then the next one of the list starts. A job that
//! ended before its turn cannot be taken from the worker: it gets its turn as a ghost, and its result is dropped.
//!
//! What was called back may be run by its first worker all the same. So that worker gets nothing more, its answers
//! are held until it has nothing left that is its own, and then it is ended.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use runyard_domain::{EndpointId, Job, JobId, Phase, Prefetch, Timestamp, WorkerId, lists};
use runyard_store::{Command, Taken};
use runyard_vault::WorkerCaller;

use crate::engine::{Memory, lock};
use crate::live::Stopping;
use crate::take::Ask;
use crate::{Change, Engine};

/// Jobs that a worker has had for so long without coming to them may be called back for a worker without jobs,
/// where what is before them takes so long too.
const PATIENCE_MS: i64 = 5_000;

/// How often a worker without jobs looks at the lists of others.
const LOOK_MS: i64 = 1_000;

/// The longest that an answer of a worker is held whose list was called back.
const HOLD_ANSWER: Duration = Duration::from_secs(10);

/// What a worker was handed and has not come to.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// In the order in which it comes to them, ghosts included.
    jobs: VecDeque<JobId>,
    /// Those whose start is being written.
    starting: HashSet<JobId>,
    /// How many it runs at once.
    seats: usize,
    /// Jobs were called back from it, and it may run them all the same.
    spoiled: bool,
}

impl Tail {
    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.jobs.clear();
        self.starting.clear();
    }

    fn remove(&mut self, job: &JobId) {
        self.jobs.retain(|id| id != job);
        self.starting.remove(job);
    }
}

/// What a worker comes to next.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Jobs that start.
    begin: Vec<JobId>,
    /// Jobs that ended before and are run for nothing.
    ghosts: Vec<JobId>,
}

impl Memory {
    /// How many jobs a worker gets beyond those that it asked for.
    pub(crate) fn ahead(&self, who: &WorkerCaller, ask: &Ask, now: Timestamp) -> usize {
        let (worker, endpoint) = (who.worker(), who.endpoint());
        let Some(entry) = self.live.workers.get(worker) else { return 0 };
        let idle = !ask.in_progress
            && entry.stopping.is_empty()
            && entry.tail.is_empty()
            && self.index.leases(worker).next().is_none();
        if !idle
            || !lists::runs_lists(ask.sdk.as_deref(), entry.pinged_sdk.as_deref())
            || self.is_poll_held_by_another(endpoint, worker)
            || self.live.is_another_between_polls(endpoint, worker, who.release(), now)
        {
            return 0;
        }
        let Some(pace) = self.index.pace(endpoint).filter(|pace| pace.release == who.release()) else {
            return 0;
        };
        let mates = self.live.workers.values().map(|entry| &entry.view);
        let mates = mates.filter(|v| v.endpoint == *endpoint && v.release == who.release() && !v.draining);
        let workers = mates.count().max(1);
        pace.ahead(ask.max, self.index.normal_waiting(endpoint, lists::LONGEST * workers), workers)
    }

    /// Notes what a worker was handed beyond what it starts at once.
    pub(crate) fn note_list(&mut self, taken: &[Taken]) {
        let Some(worker) = taken.last().filter(|last| last.job.is_held()).and_then(|last| last.job.holder())
        else {
            return;
        };
        let Some(entry) = self.live.workers.get_mut(worker) else { return };
        let held = taken.iter().filter(|taken| taken.job.is_held());
        entry.tail.jobs = held.map(|taken| taken.job.id.clone()).collect();
        entry.tail.seats = taken.len() - entry.tail.jobs.len();
    }

    /// The list of a worker that had one before a restart.
    pub(crate) fn restore_list(&mut self, worker: &WorkerId) {
        let (started, held): (Vec<_>, Vec<_>) = self.index.leases(worker).partition(|lease| lease.started);
        if let Some(entry) = self.live.workers.get_mut(worker) {
            entry.tail.jobs = held.into_iter().map(|lease| lease.job).collect();
            entry.tail.seats = started.len().max(1);
        }
    }

    /// A job of a worker's list is not in it any more, or goes on in it as a ghost. True where it started at
    /// the worker in the same moment in which it ended.
    pub(crate) fn list_changed(&mut self, worker: &WorkerId, job: &Job) -> bool {
        let Some(entry) = self.live.workers.get_mut(worker) else { return false };
        let answered =
            matches!(&job.phase, Phase::Done { worker: Some(by), execution_ms: Some(_), .. } if by == worker);
        if job.is_done() && !answered {
            return entry.tail.starting.remove(&job.id);
        }
        entry.tail.remove(&job.id);
        false
    }

    /// What a worker comes to next, where one of its seats is free, or will be without `leaving`.
    fn turn(&mut self, worker: &WorkerId, leaving: Option<&JobId>) -> Turn {
        let mut turn = Turn::default();
        let Some(entry) = self.live.workers.get_mut(worker) else { return turn };
        if entry.tail.is_empty() {
            return turn;
        }
        let stays = |job: &JobId| Some(job) != leaving;
        let runs = self.index.leases(worker).filter(|lease| lease.started && stays(&lease.job)).count();
        let stops = entry.stopping.keys().filter(|job| stays(job)).count();
        let starts = entry.tail.starting.iter().filter(|job| stays(job)).count();
        let mut free = entry.tail.seats.saturating_sub(runs + stops + starts);
        while free > 0
            && let Some(next) = entry.tail.jobs.pop_front()
        {
            free -= 1;
            if self.index.is_held_by(&next, worker) {
                entry.tail.starting.insert(next.clone());
                turn.begin.push(next);
            } else {
                entry.stopping.insert(next.clone(), Stopping { told: 0, next: None });
                entry.stop.notify_waiters();
                turn.ghosts.push(next);
            }
        }
        turn
    }

    /// The worker whose list is to be called back for `other`, or when to look again.
    fn overdue(
        &self,
        endpoint: &EndpointId,
        other: &WorkerId,
        now: Timestamp,
    ) -> Option<Result<WorkerId, i64>> {
        let usual_ms = self.index.pace(endpoint).map_or(0, |pace| pace.usual_ms as i64);
        let lists = self.live.workers.values().filter(|entry| {
            entry.view.endpoint == *endpoint && entry.view.worker != *other && !entry.view.draining
        });
        let waits = lists.filter(|entry| !entry.tail.is_empty()).filter_map(|entry| {
            let worker = &entry.view.worker;
            let leases: Vec<_> = self.index.leases(worker).collect();
            let handed = leases.iter().filter(|lease| !lease.started).map(|lease| lease.since).min()?;
            let started = leases.iter().filter(|lease| lease.started).map(|lease| lease.since).min();
            let runs_ms = started.map_or(0, |at| now.since(at));
            let rest_ms = usual_ms * entry.tail.jobs.len() as i64 / entry.tail.seats.max(1) as i64;
            let waited_ms = now.since(handed);
            let stuck = runs_ms >= PATIENCE_MS || rest_ms >= PATIENCE_MS;
            let wait_ms =
                if stuck { PATIENCE_MS - waited_ms } else { (PATIENCE_MS - waited_ms).max(LOOK_MS) };
            Some((wait_ms, worker))
        });
        let (wait_ms, worker) = waits.min()?;
        Some(if wait_ms <= 0 { Ok(worker.clone()) } else { Err(wait_ms) })
    }
}

impl Engine {
    /// The worker is through with `leaving`, or lost sight of something: what it comes to next starts. The
    /// commands belong behind the one that `leaving` ends with.
    pub(crate) fn next_in_list(&self, worker: &WorkerId, leaving: Option<&JobId>) -> Vec<Command> {
        let turn = lock(&self.shared.memory).turn(worker, leaving);
        for job in turn.ghosts {
            let _ = self.shared.feed.send(Change::Stopping { worker: worker.clone(), job });
        }
        turn.begin.into_iter().map(|job| Command::Begin { job, worker: worker.clone() }).collect()
    }

    /// The same where nothing ends.
    pub fn resume_list(&self, worker: &WorkerId) {
        for command in self.next_in_list(worker, None) {
            self.shared.writer.submit(command);
        }
    }

    /// A worker speaks of a job of its list: it has come to it, also where nobody saw how.
    pub(crate) fn note_start(&self, worker: &WorkerId, job: &JobId) {
        let now = self.now();
        let mut memory = lock(&self.shared.memory);
        memory.live.heard(worker, now);
        if !memory.index.is_held_by(job, worker) {
            return;
        }
        let Some(entry) = memory.live.workers.get_mut(worker) else { return };
        if entry.tail.starting.contains(job) {
            return;
        }
        entry.tail.remove(job);
        entry.tail.starting.insert(job.clone());
        drop(memory);
        self.shared.writer.submit(Command::Begin { job: job.clone(), worker: worker.clone() });
    }

    /// After a restart: an ended job that its worker still has and had not come to is a ghost of its list.
    pub(crate) fn note_ghost(&self, worker: &WorkerId, job: &Job) -> bool {
        let never_ran =
            matches!(&job.phase, Phase::Done { worker: Some(by), execution_ms: None, .. } if by == worker);
        let mut memory = lock(&self.shared.memory);
        let memory = &mut *memory;
        let Some(entry) = memory.live.workers.get_mut(worker).filter(|_| never_ran) else { return false };
        let later = |id: &JobId| memory.index.held_seq(id).is_some_and(|seq| seq > job.seq);
        let at = entry.tail.jobs.iter().position(later).unwrap_or(entry.tail.jobs.len());
        entry.tail.jobs.insert(at, job.id.clone());
        true
    }

    /// Takes back what a worker has not come to; the worker gets nothing more. Says whether there was something.
    pub(crate) fn call_back(&self, worker: &WorkerId) -> bool {
        let mut memory = lock(&self.shared.memory);
        let Some(entry) = memory.live.workers.get_mut(worker) else { return false };
        if entry.tail.is_empty() || entry.tail.spoiled {
            return false;
        }
        entry.tail.spoiled = true;
        entry.view.draining = true;
        drop(memory);
        self.shared.writer.submit(Command::CallBack { worker: worker.clone() });
        true
    }

    /// Whether a worker may run jobs that were called back from it.
    pub fn is_spoiled(&self, worker: &WorkerId) -> bool {
        lock(&self.shared.memory).live.workers.get(worker).is_some_and(|entry| entry.tail.spoiled)
    }

    /// Holds the answer to a worker whose list was called back: with it, the worker would go on to jobs that are
    /// not its own any more. It ends meanwhile, once it has nothing left.
    pub async fn hold_spoiled(&self, worker: &WorkerId) {
        let left = {
            let memory = lock(&self.shared.memory);
            memory.live.workers.get(worker).filter(|entry| entry.tail.spoiled).map(|entry| entry.gone.clone())
        };
        if let Some(left) = left {
            let _ = tokio::time::timeout(HOLD_ANSWER, left.notified()).await;
        }
    }

    /// Waits, for a poll without jobs, until the list of another worker has stood for too long, and calls it back.
    pub(crate) async fn mind_lists(&self, who: &WorkerCaller) {
        loop {
            let looked = lock(&self.shared.memory).overdue(who.endpoint(), who.worker(), self.now());
            match looked {
                None => return std::future::pending().await,
                Some(Err(wait_ms)) => tokio::time::sleep(Duration::from_millis(wait_ms as u64)).await,
                Some(Ok(worker)) => {
                    tracing::warn!(worker.id = %worker, "a worker's list takes far longer than measured; what has not started goes back to the queue");
                    self.call_back(&worker);
                    let _ = self.shared.feed.send(Change::Spoiled(worker));
                }
            }
        }
    }

    /// Whether an endpoint's workers may get lists.
    pub(crate) fn allows_lists(&self, endpoint: &EndpointId) -> bool {
        self.endpoint_by_id(endpoint).is_some_and(|e| e.settings.prefetch == Prefetch::Auto)
    }
}
