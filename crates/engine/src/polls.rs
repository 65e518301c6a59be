//! Who asks for jobs at this moment: polls that look right now and polls that are held. One place decides which
//! held poll a waiting job wakes. Every poll has one entry here for as long as it lives, so that nothing has to
//! be counted up and down.
//!
//! A job that becomes takeable wakes exactly one poll that may take it; the worker that has been there longest
//! is preferred, so that younger ones can go when there is less to do. A poll whose client goes away passes
//! its wake-up on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use runyard_domain::{EndpointId, WorkerId};
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
    /// By rank: the worker that has been there longest comes first.
    held: Vec<Held>,
    /// Polls that were woken or ask right now, with how many jobs each may still take.
    asking: HashMap<u64, usize>,
}

struct Held {
    id: u64,
    rank: u64,
    worker: WorkerId,
    release: u32,
    pinned_only: bool,
    max: usize,
    wake: oneshot::Sender<()>,
}

impl Memory {
    /// Wakes as many held polls as there are takeable jobs that nobody is asking for yet.
    pub(crate) fn match_polls(&mut self, endpoint: &EndpointId) {
        let Some(polls) = self.polls.endpoints.get_mut(endpoint) else { return };
        let mut covered: usize = polls.asking.values().sum();
        let mut kept = Vec::with_capacity(polls.held.len());
        for held in std::mem::take(&mut polls.held) {
            let takeable =
                self.index.takeable(endpoint, &held.worker, held.release, held.pinned_only, covered + 1);
            let lets = held.pinned_only || self.shares.lets(endpoint, held.release, &self.live);
            if takeable <= covered || !lets || !self.live.takes(&held.worker) {
                kept.push(held);
                continue;
            }
            if held.wake.send(()).is_ok() {
                covered += held.max;
                polls.asking.insert(held.id, held.max);
            }
        }
        polls.held = kept;
    }

    /// Lets every held poll of an endpoint look anew: another release serves now, or none.
    pub(crate) fn wake_all_polls(&mut self, endpoint: &EndpointId) {
        let Some(polls) = self.polls.endpoints.get_mut(endpoint) else { return };
        let (look, kept) =
            std::mem::take(&mut polls.held).into_iter().partition(|h| self.live.takes(&h.worker));
        polls.held = kept;
        let look: Vec<Held> = look;
        for held in look {
            if held.wake.send(()).is_ok() {
                polls.asking.insert(held.id, held.max);
            }
        }
    }
}

impl Memory {
    /// Whether another worker waits for jobs of this endpoint that anybody may take.
    pub(crate) fn is_poll_held_by_another(&self, endpoint: &EndpointId, worker: &WorkerId) -> bool {
        let Some(polls) = self.polls.endpoints.get(endpoint) else { return false };
        polls.held.iter().any(|h| h.worker != *worker && !h.pinned_only && self.live.takes(&h.worker))
    }
}

/// One poll's place; leaving it lets others be matched.
pub(crate) struct Poll {
    memory: Arc<Mutex<Memory>>,
    endpoint: EndpointId,
    id: u64,
    max: usize,
}

impl Poll {
    /// A poll that asks right now for up to `max` jobs.
    pub(crate) fn enter(engine: &Engine, who: &WorkerCaller, max: usize) -> Self {
        let mut memory = lock(&engine.shared.memory);
        memory.polls.next += 1;
        let id = memory.polls.next;
        memory.polls.endpoints.entry(who.endpoint().clone()).or_default().asking.insert(id, max);
        let (memory, endpoint) = (engine.shared.memory.clone(), who.endpoint().clone());
        Self { memory, endpoint, id, max }
    }

    /// From asking to held: resolves when it is worth to ask again.
    pub(crate) fn hold(&self, who: &WorkerCaller, rank: u64, pinned_only: bool) -> oneshot::Receiver<()> {
        let (wake, woken) = oneshot::channel();
        let mut memory = lock(&self.memory);
        let polls = memory.polls.endpoints.entry(self.endpoint.clone()).or_default();
        polls.asking.remove(&self.id);
        let held = Held {
            id: self.id,
            rank,
            worker: who.worker().clone(),
            release: who.release(),
            pinned_only,
            max: self.max,
            wake,
        };
        let at = polls.held.partition_point(|h| h.rank <= rank);
        polls.held.insert(at, held);
        memory.match_polls(&self.endpoint);
        woken
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        let mut memory = lock(&self.memory);
        if let Some(polls) = memory.polls.endpoints.get_mut(&self.endpoint) {
            polls.held.retain(|h| h.id != self.id);
            polls.asking.remove(&self.id);
            if polls.held.is_empty() && polls.asking.is_empty() {
                memory.polls.endpoints.remove(&self.endpoint);
            }
        }
        memory.match_polls(&self.endpoint);
    }
}
