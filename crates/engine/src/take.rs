//! Workers that ask: held polls, their matching with waiting jobs, orders to stop jobs, draining.
//!
//! A job that becomes takeable wakes exactly one poll that may take it; the worker that has been there
//! longest is preferred, so that younger ones can go when there is less to do. A poll whose client goes away
//! passes its wake-up on; jobs that were taken for it and not handed over go back to the queue unspent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use runyard_domain::job::Loss;
use runyard_domain::{EndpointId, FailReason, Job, JobId, Outcome, Phase, Timestamp, WorkerId};
use runyard_store::{Command, Reply, Taken, Which};
use runyard_vault::WorkerCaller;
use tokio::sync::oneshot;

use crate::engine::{Memory, lock};
use crate::live::{LiveWorker, Stopping};
use crate::{Change, Engine, EngineError};

/// A job that its worker holds for longer than this, and that the worker does not know of when it asks for
/// the next one, was forgotten.
const FORGOTTEN_AFTER_MS: i64 = 10_000;

/// What a worker asks for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// How many jobs at most.
    pub max: usize,
    /// How long it is ready to wait.
    pub hold: Duration,
    /// Whether it says that it has jobs in progress.
    pub in_progress: bool,
    /// The SDK version it tells.
    pub sdk: Option<String>,
}

/// What a worker gets.
pub enum Take {
    /// Jobs.
    Jobs(Handover),
    /// Nothing for now.
    Nothing,
    /// Nothing any more: it is draining, and was told so before. Answer slowly.
    Drained,
}

/// One job as a worker gets it.
#[derive(Debug, Clone)]
pub struct Handed {
    /// The job, running.
    pub job: Job,
    /// Its input.
    pub input: Bytes,
    /// Its `s3Config`, opened.
    pub s3: Option<Bytes>,
}

/// Jobs on their way to a worker. Dropping it without [`delivered`](Self::delivered) gives them back.
pub struct Handover {
    /// What is handed over.
    pub jobs: Vec<Handed>,
    engine: Engine,
    worker: WorkerId,
    open: Vec<JobId>,
}

impl Handover {
    /// The worker has them.
    pub fn delivered(&mut self) {
        self.open.clear();
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        if !self.open.is_empty() {
            let which = Which::Jobs(std::mem::take(&mut self.open));
            let worker = self.worker.clone();
            self.engine.shared.writer.submit(Command::GiveBack { worker, which });
        }
    }
}

/// Held polls by endpoint.
#[derive(Default)]
pub(crate) struct Polls {
    endpoints: HashMap<EndpointId, EndpointPolls>,
    next: u64,
}

#[derive(Default)]
struct EndpointPolls {
    held: Vec<Held>,
    /// Polls that were woken or are asking right now; each may still take a waiting job.
    asking: usize,
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
        let mut covered = polls.asking;
        let mut kept = Vec::with_capacity(polls.held.len());
        for held in std::mem::take(&mut polls.held) {
            let (worker, release) = (&held.worker, held.release);
            let takeable = self.index.takeable(endpoint, worker, release, held.pinned_only, covered + 1);
            if takeable <= covered {
                kept.push(held);
                continue;
            }
            covered += held.max;
            if held.wake.send(()).is_ok() {
                polls.asking += 1;
            } else {
                covered -= held.max;
            }
        }
        polls.held = kept;
    }

    /// Lets every held poll of an endpoint look anew: another release serves now.
    pub(crate) fn wake_all_polls(&mut self, endpoint: &EndpointId) {
        let Some(polls) = self.polls.endpoints.get_mut(endpoint) else { return };
        for held in std::mem::take(&mut polls.held) {
            polls.asking += usize::from(held.wake.send(()).is_ok());
        }
    }

    /// Orders a worker to let go of a job; false where the worker is not there any more.
    pub(crate) fn must_stop(&mut self, worker: &WorkerId, job: &JobId) -> bool {
        let Some(entry) = self.live.workers.get_mut(worker) else { return false };
        entry.stopping.insert(job.clone(), Stopping { told: false });
        entry.stop.notify_waiters();
        true
    }
}

/// A poll's place among those that ask; leaving it lets others be matched.
struct Asking {
    memory: Arc<Mutex<Memory>>,
    endpoint: EndpointId,
    held: Option<u64>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut memory = lock(&self.memory);
        if let Some(polls) = memory.polls.endpoints.get_mut(&self.endpoint) {
            let still_held = self.held.is_some_and(|id| polls.held.iter().any(|h| h.id == id));
            if still_held {
                polls.held.retain(|h| Some(h.id) != self.held);
            } else {
                polls.asking = polls.asking.saturating_sub(1);
            }
        }
        memory.match_polls(&self.endpoint);
    }
}

impl Engine {
    /// Expects a worker from now on.
    pub fn register_worker(
        &self,
        worker: &WorkerId,
        endpoint: &EndpointId,
        release: u32,
        ready_at: Option<Timestamp>,
    ) {
        let now = self.now();
        let mut memory = lock(&self.shared.memory);
        let busy = !memory.index.held(worker).is_empty();
        memory.live.register(worker, endpoint, release, ready_at, busy, now);
    }

    /// The worker is gone.
    pub fn unregister_worker(&self, worker: &WorkerId) {
        let entry = lock(&self.shared.memory).live.workers.remove(worker);
        if let Some(entry) = entry {
            entry.take.notify_waiters();
            entry.stop.notify_waiters();
        }
    }

    /// A worker as it shows itself.
    pub fn live_worker(&self, worker: &WorkerId) -> Option<LiveWorker> {
        lock(&self.shared.memory).live.workers.get(worker).map(|entry| entry.view.clone())
    }

    /// The jobs a worker holds, with the time of their hand-over.
    pub fn held_by(&self, worker: &WorkerId) -> Vec<(JobId, Timestamp)> {
        lock(&self.shared.memory).index.held(worker)
    }

    /// The worker takes nothing more. Its held polls are to be released by
    /// [`release_polls`](Self::release_polls), after it was told to end.
    pub fn mark_draining(&self, worker: &WorkerId) {
        if let Some(entry) = lock(&self.shared.memory).live.workers.get_mut(worker) {
            entry.view.draining = true;
        }
    }

    /// Answers every held poll of a draining worker once; later ones are paused.
    pub fn release_polls(&self, worker: &WorkerId) {
        if let Some(entry) = lock(&self.shared.memory).live.workers.get_mut(worker) {
            entry.released = true;
            entry.take.notify_waiters();
            entry.stop.notify_waiters();
        }
    }

    /// Jobs that a worker was told to stop, or should have been, and still seems to run.
    pub fn unstopped(&self, worker: &WorkerId) -> Vec<JobId> {
        let memory = lock(&self.shared.memory);
        memory.live.workers.get(worker).map_or(Vec::new(), |e| e.stopping.keys().cloned().collect())
    }

    /// Jobs for a worker: at once where there are some, else when there are, else nothing.
    pub async fn take(&self, who: &WorkerCaller, ask: Ask) -> Result<Take, EngineError> {
        let deadline = tokio::time::Instant::now() + ask.hold;
        self.note_asking(who, &ask).await?;
        loop {
            let Some((released, rank, pinned_only)) = self.standing(who) else { return Ok(Take::Drained) };
            let mut asking = self.ask_now(who);
            if let Some(jobs) = self.take_now(who, pinned_only, ask.max).await? {
                return Ok(Take::Jobs(jobs));
            }
            let released = released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            let woken = self.hold(&mut asking, who, rank, pinned_only, ask.max);
            if self.is_released(who.worker()) {
                return Ok(Take::Nothing);
            }
            tokio::select! {
                // A server that shuts down hands nothing out, so what would wake this poll would do so for ever.
                _ = woken, if !self.is_draining() => {}
                () = released => return Ok(Take::Nothing),
                () = tokio::time::sleep_until(deadline) => return Ok(Take::Nothing),
            }
            drop(asking);
        }
    }

    /// What a poll needs to know of its worker; `None` where the worker is draining or unknown.
    fn standing(&self, who: &WorkerCaller) -> Option<(Arc<tokio::sync::Notify>, u64, bool)> {
        let serving = self.endpoint_by_id(who.endpoint())?.serving;
        let memory = lock(&self.shared.memory);
        let entry = memory.live.workers.get(who.worker())?;
        if entry.view.draining {
            return None;
        }
        Some((entry.take.clone(), entry.rank, serving != Some(who.release())))
    }

    async fn note_asking(&self, who: &WorkerCaller, ask: &Ask) -> Result<(), EngineError> {
        let now = self.now();
        let (first, forgotten) = {
            let mut memory = lock(&self.shared.memory);
            let first = memory.live.asked(who.worker(), ask.sdk.as_deref(), now);
            let mut forgotten = Vec::new();
            if !ask.in_progress {
                if let Some(entry) = memory.live.workers.get_mut(who.worker()) {
                    entry.stopping.clear();
                }
                let held = memory.index.held(who.worker());
                forgotten.extend(
                    held.into_iter().filter(|(_, at)| now.since(*at) >= FORGOTTEN_AFTER_MS).map(|(id, _)| id),
                );
            }
            (first, forgotten)
        };
        if first {
            let _ = self.shared.feed.send(Change::Ready(who.worker().clone()));
        }
        if !forgotten.is_empty() {
            let loss = Loss { reason: FailReason::Abandoned { attempts: 0 }, spends: true };
            self.lose(who.worker(), Which::Jobs(forgotten), loss).await?;
            let _ = self.shared.feed.send(Change::Forgetful(who.worker().clone()));
        }
        Ok(())
    }

    fn ask_now(&self, who: &WorkerCaller) -> Asking {
        let mut memory = lock(&self.shared.memory);
        memory.polls.endpoints.entry(who.endpoint().clone()).or_default().asking += 1;
        Asking { memory: self.shared.memory.clone(), endpoint: who.endpoint().clone(), held: None }
    }

    /// Turns an asking poll into a held one.
    fn hold(
        &self,
        asking: &mut Asking,
        who: &WorkerCaller,
        rank: u64,
        pinned_only: bool,
        max: usize,
    ) -> oneshot::Receiver<()> {
        let (wake, woken) = oneshot::channel();
        let mut memory = lock(&self.shared.memory);
        memory.polls.next += 1;
        let id = memory.polls.next;
        let polls = memory.polls.endpoints.entry(who.endpoint().clone()).or_default();
        polls.asking = polls.asking.saturating_sub(1);
        let held = Held {
            id,
            rank,
            worker: who.worker().clone(),
            release: who.release(),
            pinned_only,
            max: max.max(1),
            wake,
        };
        let at = polls.held.partition_point(|h| h.rank <= rank);
        polls.held.insert(at, held);
        asking.held = Some(id);
        memory.match_polls(who.endpoint());
        woken
    }

    async fn take_now(
        &self,
        who: &WorkerCaller,
        pinned_only: bool,
        max: usize,
    ) -> Result<Option<Handover>, EngineError> {
        let (worker, endpoint, release) = (who.worker().clone(), who.endpoint().clone(), who.release());
        // A server that shuts down hands out nothing more; what waits is served after the restart.
        if self.is_draining()
            || lock(&self.shared.memory).index.takeable(&endpoint, &worker, release, pinned_only, 1) == 0
        {
            return Ok(None);
        }
        let command = Command::Take { endpoint, worker: worker.clone(), release, pinned_only, max };
        let engine = self.clone();
        // In a task of its own: a poll that is given up while the jobs are being taken must still end in a
        // hand-over, whose drop gives them back.
        let taking = tokio::spawn(async move { engine.hand_over(worker, command).await });
        taking.await.unwrap_or(Err(EngineError::Stopped))
    }

    async fn hand_over(&self, worker: WorkerId, command: Command) -> Result<Option<Handover>, EngineError> {
        let Reply::Taken(taken) = self.shared.writer.commit(command).await? else { return Ok(None) };
        if taken.is_empty() {
            return Ok(None);
        }
        let open = taken.iter().map(|t| t.job.id.clone()).collect();
        let mut handover = Handover { jobs: Vec::new(), engine: self.clone(), worker, open };
        for Taken { job, input, s3 } in taken {
            let s3 = match s3 {
                Some(sealed) => Some(Bytes::from(self.shared.vault.unseal(&self.bytes(sealed).await?)?)),
                None => None,
            };
            let input = self.bytes(input).await?;
            handover.jobs.push(Handed { job, input, s3 });
        }
        Ok(Some(handover))
    }

    /// Jobs that a worker has to stop, told once each; waits for one up to `hold`. `None` where the worker
    /// is draining and was told so before: answer slowly.
    pub async fn stop_orders(&self, who: &WorkerCaller, hold: Duration) -> Option<Vec<JobId>> {
        let deadline = tokio::time::Instant::now() + hold;
        loop {
            let notify = {
                let mut memory = lock(&self.shared.memory);
                let entry = memory.live.workers.get_mut(who.worker())?;
                let untold = entry.stopping.iter_mut().filter(|(_, s)| !s.told);
                let orders: Vec<JobId> = untold
                    .map(|(job, stopping)| {
                        stopping.told = true;
                        job.clone()
                    })
                    .collect();
                if !orders.is_empty() {
                    return Some(orders);
                }
                if entry.released {
                    return None;
                }
                entry.stop.clone()
            };
            let changed = notify.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.unstopped_untold(who.worker()) {
                tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(deadline) => return Some(Vec::new()),
                }
                if self.is_released(who.worker()) {
                    return Some(Vec::new());
                }
            }
        }
    }

    fn unstopped_untold(&self, worker: &WorkerId) -> bool {
        let memory = lock(&self.shared.memory);
        memory
            .live
            .workers
            .get(worker)
            .is_some_and(|entry| entry.released || entry.stopping.values().any(|s| !s.told))
    }

    fn is_released(&self, worker: &WorkerId) -> bool {
        lock(&self.shared.memory).live.workers.get(worker).is_none_or(|entry| entry.released)
    }

    /// A worker's sign of life, with the jobs it has where it told them.
    pub fn ping(&self, who: &WorkerCaller, jobs: &[JobId], sdk: Option<&str>) {
        let mut memory = lock(&self.shared.memory);
        if let Some(entry) = memory.live.workers.get_mut(who.worker()) {
            if let Some(sdk) = sdk
                && entry.view.sdk.is_none()
            {
                entry.view.sdk = Some(sdk.to_owned());
            }
            let now: std::collections::HashSet<JobId> = jobs.iter().cloned().collect();
            let before = entry.last_ping.replace(now.clone());
            entry.stopping.retain(|job, stopping| {
                !stopping.told || now.contains(job) || before.as_ref().is_none_or(|b| b.contains(job))
            });
        }
    }

    /// A worker says that it is not fit to work.
    pub fn unfit(&self, who: &WorkerCaller, message: String) {
        if let Some(entry) = lock(&self.shared.memory).live.workers.get_mut(who.worker()) {
            entry.view.unfit = Some(message.clone());
        }
        let _ = self.shared.feed.send(Change::Unfit { worker: who.worker().clone(), message });
    }

    pub(crate) fn settle_stop(&self, worker: &WorkerId, is: impl Fn(&JobId) -> bool) {
        if let Some(entry) = lock(&self.shared.memory).live.workers.get_mut(worker) {
            entry.stopping.retain(|job, _| !is(job));
        }
    }

    /// After a restart: jobs that the store says a worker holds, and that were never handed to it, go back.
    pub async fn reconcile(&self, worker: &WorkerId, holds: &[JobId]) -> Result<Vec<Job>, EngineError> {
        let lost: Vec<JobId> =
            self.held_by(worker).into_iter().map(|(id, _)| id).filter(|id| !holds.contains(id)).collect();
        if lost.is_empty() {
            return Ok(Vec::new());
        }
        self.give_back(worker, Which::Jobs(lost)).await
    }
}

/// Whether a job ended while its worker did not end it.
pub(crate) trait Ended {
    fn is_ended_from_outside(&self) -> bool;
}

impl Ended for Job {
    fn is_ended_from_outside(&self) -> bool {
        matches!(
            &self.phase,
            Phase::Done { outcome: Outcome::Cancelled { .. } | Outcome::TimedOut { .. }, .. }
        )
    }
}
