//! Who asks for jobs at this moment: polls that look right now and polls that are held. One place decides which
//! held poll a waiting job wakes. Every poll has one entry here for as long as it lives, so that nothing has to
//! be counted up and down.
//!
//! A job that becomes takeable wakes exactly one poll that may take it; the worker that has been there longest
//! is preferred, so that younger ones can go when there is less to do. A poll whose client goes away passes
//! its wake-up on.
//!
//! A poll that prefetches comes last: its worker is busy, and would let the job wait. It gets only what neither the
//! polls of others nor workers between two polls (`live::PRECEDENCE_MS`) will take.

use std::collections::HashMap;

use runyard_domain::{EndpointId, Timestamp, WorkerId};
use runyard_vault::WorkerCaller;
use tokio::sync::oneshot;

use crate::Engine;
use crate::engine::{Memory, lock};

/// Polls by endpoint.
#[derive(Default)]
pub(crate) struct Polls {
    endpoints: HashMap<EndpointId, EndpointPolls>,
    next: u64,
}

#[derive(Default)]
struct EndpointPolls {
    /// By rank: the worker that has been there longest comes first, and whoever prefetches last.
    held: Vec<Held>,
    /// Polls that were woken or ask right now.
    asking: HashMap<u64, Asking>,
}

struct Asking {
    worker: WorkerId,
    /// How many jobs it may still take.
    max: usize,
}

/// Where a poll stands among those that are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// Its worker has work, and would do this later.
    pub(crate) prefetches: bool,
    /// Its worker's.
    pub(crate) worker: u64,
}

struct Held {
    id: u64,
    rank: Rank,
    worker: WorkerId,
    release: u32,
    pinned_only: bool,
    max: usize,
    wake: oneshot::Sender<()>,
}

impl Memory {
    /// Wakes as many held polls as there are takeable jobs that nobody is asking for yet.
    pub(crate) fn match_polls(&mut self, endpoint: &EndpointId, now: Timestamp) {
        let Some(polls) = self.polls.endpoints.get_mut(endpoint) else { return };
        let mut covered: usize = polls.asking.values().map(|asking| asking.max).sum();
        let mut kept = Vec::with_capacity(polls.held.len());
        for held in std::mem::take(&mut polls.held) {
            let takeable = |enough| {
                self.index.takeable(endpoint, &held.worker, held.release, held.pinned_only, enough) >= enough
            };
            let others_first = |covered: usize| {
                held.rank.prefetches && !takeable(covered + 1 + self.live.coming(endpoint, held.release, now))
            };
            let lets = held.pinned_only || self.shares.lets(endpoint, held.release, &self.live);
            if !takeable(covered + 1) || !lets || others_first(covered) || !self.live.takes(&held.worker) {
                kept.push(held);
                continue;
            }
            covered += polls.wake(held).unwrap_or(0);
        }
        polls.held = kept;
    }

    /// How many jobs of an endpoint others will take before a poll that prefetches.
    pub(crate) fn claimed(&self, poll: &Poll, release: u32, now: Timestamp) -> usize {
        let Some(polls) = self.polls.endpoints.get(&poll.endpoint) else { return 0 };
        let others = polls.asking.iter().filter(|(id, _)| **id != poll.id).map(|(_, asking)| asking.max);
        others.sum::<usize>() + self.live.coming(&poll.endpoint, release, now)
    }

    /// Whether a worker has a poll here now.
    pub(crate) fn is_polling(&self, endpoint: &EndpointId, worker: &WorkerId) -> bool {
        self.polls.endpoints.get(endpoint).is_some_and(|polls| polls.has(worker))
    }

    /// Lets every held poll of an endpoint look anew: another release serves now, or none.
    pub(crate) fn wake_all_polls(&mut self, endpoint: &EndpointId) {
        let Some(polls) = self.polls.endpoints.get_mut(endpoint) else { return };
        let (look, kept) =
            std::mem::take(&mut polls.held).into_iter().partition(|h| self.live.takes(&h.worker));
        polls.held = kept;
        let look: Vec<Held> = look;
        for held in look {
            polls.wake(held);
        }
    }

    /// Whether another worker waits for jobs of this endpoint that anybody may take.
    pub(crate) fn is_poll_held_by_another(&self, endpoint: &EndpointId, worker: &WorkerId) -> bool {
        let Some(polls) = self.polls.endpoints.get(endpoint) else { return false };
        polls.held.iter().any(|h| h.worker != *worker && !h.pinned_only && self.live.takes(&h.worker))
    }
}

impl EndpointPolls {
    fn has(&self, worker: &WorkerId) -> bool {
        self.held.iter().any(|held| held.worker == *worker)
            || self.asking.values().any(|asking| asking.worker == *worker)
    }

    /// Lets a poll ask; says for how many jobs, unless its client is gone.
    fn wake(&mut self, held: Held) -> Option<usize> {
        held.wake.send(()).ok()?;
        self.asking.insert(held.id, Asking { worker: held.worker, max: held.max });
        Some(held.max)
    }
}

/// One poll's place; leaving it lets others be matched.
pub(crate) struct Poll {
    engine: Engine,
    endpoint: EndpointId,
    worker: WorkerId,
    id: u64,
    max: usize,
}

impl Poll {
    /// A poll that asks right now for up to `max` jobs.
    pub(crate) fn enter(engine: &Engine, who: &WorkerCaller, max: usize) -> Self {
        let (engine, endpoint, worker) = (engine.clone(), who.endpoint().clone(), who.worker().clone());
        let mut memory = lock(&engine.shared.memory);
        memory.polls.next += 1;
        let id = memory.polls.next;
        let asking = Asking { worker: worker.clone(), max };
        memory.polls.endpoints.entry(endpoint.clone()).or_default().asking.insert(id, asking);
        memory.live.polls(&worker);
        drop(memory);
        Self { engine, endpoint, worker, id, max }
    }

    /// From asking to held: resolves when it is worth to ask again.
    pub(crate) fn hold(&self, release: u32, rank: Rank, pinned_only: bool) -> oneshot::Receiver<()> {
        let (wake, woken) = oneshot::channel();
        let now = self.engine.now();
        let mut memory = lock(&self.engine.shared.memory);
        let polls = memory.polls.endpoints.entry(self.endpoint.clone()).or_default();
        polls.asking.remove(&self.id);
        let (id, worker, max) = (self.id, self.worker.clone(), self.max);
        let held = Held { id, rank, worker, release, pinned_only, max, wake };
        let at = polls.held.partition_point(|h| h.rank <= rank);
        polls.held.insert(at, held);
        memory.match_polls(&self.endpoint, now);
        woken
    }

    /// From held back to asking, without having been woken.
    pub(crate) fn ask_again(&self) {
        let mut memory = lock(&self.engine.shared.memory);
        let polls = memory.polls.endpoints.entry(self.endpoint.clone()).or_default();
        polls.held.retain(|held| held.id != self.id);
        polls.asking.insert(self.id, Asking { worker: self.worker.clone(), max: self.max });
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        let now = self.engine.now();
        let mut memory = lock(&self.engine.shared.memory);
        let mut polls_on = false;
        if let Some(polls) = memory.polls.endpoints.get_mut(&self.endpoint) {
            polls.held.retain(|h| h.id != self.id);
            polls.asking.remove(&self.id);
            polls_on = polls.has(&self.worker);
            if polls.held.is_empty() && polls.asking.is_empty() {
                memory.polls.endpoints.remove(&self.endpoint);
            }
        }
        if !polls_on {
            memory.live.left(&self.worker, now);
        }
        memory.match_polls(&self.endpoint, now);
    }
}
