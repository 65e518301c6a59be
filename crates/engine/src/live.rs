//! Workers as they show themselves: who has asked for jobs, who holds a poll, who is idle since when, who is
//! draining, and which jobs a worker still has to let go of. Memory only; a restart learns it again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use runyard_domain::{EndpointId, JobId, Timestamp, WorkerId};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::lists::Tail;

/// For so long after a poll or a job of its own a worker without jobs comes before one that prefetches, and counts as
/// idle: it is about to ask again.
pub(crate) const PRECEDENCE_MS: i64 = 100;

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It has not asked for a job yet.
    Starting,
    /// It has asked, and holds no job.
    Idle(Timestamp),
    /// It holds jobs.
    Busy,
}

/// One worker as it shows itself.
#[derive(Debug, Clone)]
pub struct LiveWorker {
    /// The incarnation.
    pub worker: WorkerId,
    /// Its endpoint.
    pub endpoint: EndpointId,
    /// Its release.
    pub release: u32,
    /// What it is doing.
    pub presence: Presence,
    /// Whether it takes nothing more.
    pub draining: bool,
    /// When it first asked for a job.
    pub ready_at: Option<Timestamp>,
    /// The SDK version it told.
    pub sdk: Option<String>,
    /// Why it says it is not fit.
    pub unfit: Option<String>,
    /// Whether it has answered a job yet.
    pub answered: bool,
    /// When it was heard last: it asked, pinged, or said something of a job. At first, since when it is expected.
    pub heard_at: Timestamp,
    /// Whether it pings: the silence of one that never did says nothing.
    pub pings: bool,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) view: LiveWorker,
    /// Rises with each registration: older workers are served first, so that younger ones can go.
    pub(crate) rank: u64,
    /// Wakes held polls of this worker: a match, a drain, an order to stop a job.
    pub(crate) take: Arc<Notify>,
    pub(crate) stop: Arc<Notify>,
    /// Told when it is gone.
    pub(crate) gone: Arc<Notify>,
    /// Held polls that were told to go once; later ones are paused.
    pub(crate) released: bool,
    pub(crate) stopping: BTreeMap<JobId, Stopping>,
    pub(crate) last_ping: Option<HashSet<JobId>>,
    /// What its pings say of its SDK.
    pub(crate) pinged_sdk: Option<String>,
    /// When this server first expected it.
    pub(crate) registered_at: Timestamp,
    /// It was seen to have several jobs at once, or to ask for some several times at once.
    pub(crate) has_slots: bool,
    /// When its last poll ended, while it has none.
    left_at: Option<Timestamp>,
    /// What it was handed and has not come to.
    pub(crate) tail: Tail,
}

/// How often a worker was told to let go of a job, and when it is told next; `None`: at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopping {
    pub(crate) told: u8,
    pub(crate) next: Option<Instant>,
}

impl Entry {
    /// Since when it has had neither a job nor a poll, where it may be given jobs.
    fn free_since(&self) -> Option<(Timestamp, Timestamp)> {
        match (self.view.presence, self.left_at) {
            (Presence::Idle(idle), Some(left)) if !self.view.draining && self.tail.is_empty() => {
                Some((idle, left))
            }
            _ => None,
        }
    }

    fn is_coming(&self, now: Timestamp) -> bool {
        self.free_since().is_some_and(|(idle, left)| now.since(idle.max(left)) < PRECEDENCE_MS)
    }

    fn is_between_polls(&self, now: Timestamp) -> bool {
        self.free_since().is_some_and(|(idle, left)| idle <= left && now.since(left) < PRECEDENCE_MS)
    }
}

/// Every worker that may come.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) workers: HashMap<WorkerId, Entry>,
    next_rank: u64,
}

impl Live {
    /// Expects a worker; `ready_at` is known where it was there before a restart.
    pub(crate) fn register(
        &mut self,
        worker: &WorkerId,
        endpoint: &EndpointId,
        release: u32,
        ready_at: Option<Timestamp>,
        busy: bool,
        now: Timestamp,
    ) {
        let presence = match (busy, ready_at) {
            (true, _) => Presence::Busy,
            (false, Some(_)) => Presence::Idle(now),
            (false, None) => Presence::Starting,
        };
        let view = LiveWorker {
            worker: worker.clone(),
            endpoint: endpoint.clone(),
            release,
            presence,
            draining: false,
            ready_at,
            sdk: None,
            unfit: None,
            answered: false,
            heard_at: now,
            pings: false,
        };
        self.next_rank += 1;
        let entry = Entry {
            view,
            rank: self.next_rank,
            take: Arc::default(),
            stop: Arc::default(),
            gone: Arc::default(),
            released: false,
            stopping: BTreeMap::new(),
            last_ping: None,
            pinged_sdk: None,
            registered_at: now,
            has_slots: false,
            left_at: None,
            tail: Tail::default(),
        };
        self.workers.insert(worker.clone(), entry);
    }

    /// Notes a sign of life.
    pub(crate) fn heard(&mut self, worker: &WorkerId, now: Timestamp) {
        if let Some(entry) = self.workers.get_mut(worker) {
            entry.view.heard_at = now;
        }
    }

    /// Notes that a worker asks; true where it is the first time.
    pub(crate) fn asked(&mut self, worker: &WorkerId, sdk: Option<&str>, now: Timestamp) -> bool {
        let Some(entry) = self.workers.get_mut(worker) else { return false };
        entry.view.heard_at = now;
        if let Some(sdk) = sdk
            && entry.view.sdk.as_deref() != Some(sdk)
        {
            entry.view.sdk = Some(sdk.to_owned());
        }
        if entry.view.ready_at.is_some() {
            return false;
        }
        entry.view.ready_at = Some(now);
        if entry.view.presence == Presence::Starting {
            entry.view.presence = Presence::Idle(now);
        }
        true
    }

    /// Whether a worker may be given jobs: not where it drains, and not while it has some that it has not come to.
    pub(crate) fn takes(&self, worker: &WorkerId) -> bool {
        self.workers.get(worker).is_some_and(|entry| !entry.view.draining && entry.tail.is_empty())
    }

    /// Whether a worker of another release is there that takes jobs, or will when it has started.
    pub(crate) fn has_other(&self, endpoint: &EndpointId, release: u32) -> bool {
        let mut all = self.workers.values().map(|entry| &entry.view);
        all.any(|view| view.endpoint == *endpoint && view.release != release && !view.draining)
    }

    /// A poll of a worker began.
    pub(crate) fn polls(&mut self, worker: &WorkerId) {
        if let Some(entry) = self.workers.get_mut(worker) {
            entry.left_at = None;
        }
    }

    /// The last poll of a worker ended.
    pub(crate) fn left(&mut self, worker: &WorkerId, now: Timestamp) {
        if let Some(entry) = self.workers.get_mut(worker) {
            entry.left_at = Some(now);
        }
    }

    /// How many workers of a release have nothing to do and will ask for jobs any moment: their last poll or their
    /// last job just ended.
    pub(crate) fn coming(&self, endpoint: &EndpointId, release: u32, now: Timestamp) -> usize {
        let mates =
            self.workers.values().filter(|e| e.view.endpoint == *endpoint && e.view.release == release);
        mates.filter(|entry| entry.is_coming(now)).count()
    }

    /// Whether a worker other than this one has nothing to do and is between two polls.
    pub(crate) fn is_another_between_polls(
        &self,
        endpoint: &EndpointId,
        worker: &WorkerId,
        release: u32,
        now: Timestamp,
    ) -> bool {
        self.workers.values().any(|entry| {
            let view = &entry.view;
            let is_mate = view.endpoint == *endpoint && view.release == release && view.worker != *worker;
            is_mate && entry.is_between_polls(now)
        })
    }

    /// Notes that a worker got its first job or lost its last one.
    pub(crate) fn shift(&mut self, worker: &WorkerId, busy: bool, now: Timestamp) {
        if let Some(entry) = self.workers.get_mut(worker) {
            entry.view.presence = if busy { Presence::Busy } else { Presence::Idle(now) };
        }
    }
}
