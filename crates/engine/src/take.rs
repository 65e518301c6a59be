//! Workers that ask: jobs at once or when there are some, their hand-over, draining. Who is woken for which job
//! is decided in `polls`.
//!
//! Jobs that were taken for a poll and not handed over go back to the queue unspent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use runyard_domain::job::Answer;
use runyard_domain::{EndpointId, FailReason, Job, JobId, Timestamp, WorkerId};
use runyard_store::{Command, Reply, Taken, Which};
use runyard_vault::WorkerCaller;
use tokio::sync::OwnedSemaphorePermit;

use crate::engine::{Memory, lock};
use crate::live::{Entry, LiveWorker};
use crate::polls::{Poll, Rank};
use crate::traffic::Claim;
use crate::{Change, Engine, EngineError, Lease};

/// A job that its worker holds for longer than this, and that the worker does not know of when it asks for
/// the next one, was forgotten.
const FORGOTTEN_AFTER_MS: i64 = 10_000;

/// The same for a worker with several slots: each of them asks for itself, and its poll may have begun before the
/// job came to another. No poll lives that long, also not one that waited at the agent for a server.
const FORGOTTEN_BY_SLOTS_AFTER_MS: i64 = 60_000;

/// How often a poll that prefetches looks whether those that come before it have come.
const LOOK: Duration = Duration::from_millis(50);

/// What a worker asks for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// How many jobs at most.
    pub max: usize,
    /// How long it is ready to wait.
    pub hold: Duration,
    /// Whether it says that it has jobs in progress.
    pub in_progress: bool,
    /// Whether it would begin the job only when it is through with another.
    pub prefetches: bool,
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
    /// What the inputs take of the memory that all share.
    room: Option<OwnedSemaphorePermit>,
}

impl Handover {
    /// The worker has them.
    pub fn delivered(&mut self) {
        self.open.clear();
        self.room = None;
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

/// What a worker forgot that says it has no job. While a list moves nothing is: some SDKs say so between two
/// jobs of one. And a server that was just started knows nothing of when a poll began that was sent to it again.
fn forgotten_by(entry: &Entry, leases: Vec<Lease>, now: Timestamp) -> Vec<JobId> {
    let after_ms = if entry.has_slots { FORGOTTEN_BY_SLOTS_AFTER_MS } else { FORGOTTEN_AFTER_MS };
    let old = |lease: &Lease| now.since(lease.since.max(entry.registered_at)) >= after_ms;
    if leases.iter().any(|lease| !lease.started) && !leases.iter().all(old) {
        return Vec::new();
    }
    leases.into_iter().filter(old).map(|lease| lease.job).collect()
}

impl Memory {
    /// Takes in what a poll says of its worker's jobs; says which of them it forgot.
    fn note_slots(&mut self, who: &WorkerCaller, ask: &Ask, now: Timestamp) -> Vec<JobId> {
        let leases: Vec<Lease> = self.index.leases(who.worker()).collect();
        let polls = self.is_polling(who.endpoint(), who.worker());
        let Some(entry) = self.live.workers.get_mut(who.worker()) else { return Vec::new() };
        entry.has_slots |= polls || leases.iter().filter(|lease| lease.started).count() > 1;
        if ask.in_progress {
            return Vec::new();
        }
        entry.stopping.clear();
        if leases.is_empty() {
            entry.tail.clear();
        }
        forgotten_by(entry, leases, now)
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
        let busy = memory.index.leases(worker).next().is_some();
        memory.live.register(worker, endpoint, release, ready_at, busy, now);
        memory.restore_list(worker);
    }

    /// The worker is gone.
    pub fn unregister_worker(&self, worker: &WorkerId) {
        let now = self.now();
        let mut memory = lock(&self.shared.memory);
        if let Some(entry) = memory.live.workers.remove(worker) {
            // A canary may be the only one now.
            memory.match_polls(&entry.view.endpoint, now);
            drop(memory);
            entry.take.notify_waiters();
            entry.stop.notify_waiters();
            entry.gone.notify_waiters();
        }
    }

    /// A worker as it shows itself.
    pub fn live_worker(&self, worker: &WorkerId) -> Option<LiveWorker> {
        lock(&self.shared.memory).live.workers.get(worker).map(|entry| entry.view.clone())
    }

    /// The jobs a worker has, with the time of their start, or of their hand-over where they have not started.
    pub fn held_by(&self, worker: &WorkerId) -> Vec<(JobId, Timestamp)> {
        self.leases(worker).into_iter().map(|lease| (lease.job, lease.since)).collect()
    }

    /// The same, with which of them have started.
    pub fn leases(&self, worker: &WorkerId) -> Vec<Lease> {
        lock(&self.shared.memory).index.leases(worker).collect()
    }

    /// The worker takes nothing more, and what it has not started goes back. Its held polls are to be released by
    /// [`release_polls`](Self::release_polls), after it was told to end.
    pub fn mark_draining(&self, worker: &WorkerId) {
        let now = self.now();
        {
            let mut memory = lock(&self.shared.memory);
            if let Some(entry) = memory.live.workers.get_mut(worker) {
                entry.view.draining = true;
                let endpoint = entry.view.endpoint.clone();
                memory.match_polls(&endpoint, now);
            }
        }
        self.call_back(worker);
    }

    /// Answers every held poll of a draining worker once; later ones are paused.
    pub fn release_polls(&self, worker: &WorkerId) {
        if let Some(entry) = lock(&self.shared.memory).live.workers.get_mut(worker) {
            entry.released = true;
            entry.take.notify_waiters();
            entry.stop.notify_waiters();
        }
    }

    /// Jobs for a worker: at once where there are some, else when there are, else nothing.
    pub async fn take(&self, who: &WorkerCaller, ask: Ask) -> Result<Take, EngineError> {
        let deadline = tokio::time::Instant::now() + ask.hold;
        let max = ask.max.max(1);
        self.note_asking(who, &ask).await?;
        let mut entered = None;
        loop {
            let Some((released, claim)) = self.standing(who) else { return Ok(Take::Drained) };
            let pinned_only = claim.pinned_only;
            // A poll that was woken keeps its place: giving it up would wake the next one for the same job.
            let poll = &*entered.get_or_insert_with(|| Poll::enter(self, who, max));
            if let Some(jobs) = self.take_now(who, poll, &claim, &ask).await? {
                return Ok(Take::Jobs(jobs));
            }
            let released = released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            let rank = Rank { prefetches: ask.prefetches, worker: claim.rank };
            let woken = poll.hold(who.release(), rank, pinned_only);
            if self.is_released(who.worker()) {
                return Ok(Take::Nothing);
            }
            let minding = async {
                if pinned_only {
                    std::future::pending::<()>().await;
                }
                self.mind_lists(who).await;
            };
            tokio::select! {
                biased;
                // A server that shuts down hands nothing out, so what would wake this poll would do so for ever.
                _ = woken, if !self.is_draining() => {}
                () = released => return Ok(Take::Nothing),
                () = tokio::time::sleep_until(deadline) => return Ok(Take::Nothing),
                () = minding => {}
                () = tokio::time::sleep(LOOK), if ask.prefetches => poll.ask_again(),
            }
        }
    }

    /// What a poll needs to know of its worker; `None` where the worker is draining or unknown.
    fn standing(&self, who: &WorkerCaller) -> Option<(Arc<tokio::sync::Notify>, Claim)> {
        let claim = Claim::of(&*self.endpoint_by_id(who.endpoint())?, who.release());
        let memory = lock(&self.shared.memory);
        let entry = memory.live.workers.get(who.worker())?;
        if entry.view.draining {
            return None;
        }
        Some((entry.take.clone(), Claim { rank: claim.rank + entry.rank, ..claim }))
    }

    async fn note_asking(&self, who: &WorkerCaller, ask: &Ask) -> Result<(), EngineError> {
        let now = self.now();
        let (first, forgotten) = {
            let mut memory = lock(&self.shared.memory);
            let first = memory.live.asked(who.worker(), ask.sdk.as_deref(), now);
            (first, memory.note_slots(who, ask, now))
        };
        if first {
            let _ = self.shared.feed.send(Change::Ready(who.worker().clone()));
        }
        if !forgotten.is_empty() {
            self.abandon(who.worker(), forgotten).await;
        }
        Ok(())
    }

    async fn take_now(
        &self,
        who: &WorkerCaller,
        poll: &Poll,
        claim: &Claim,
        ask: &Ask,
    ) -> Result<Option<Handover>, EngineError> {
        let (worker, endpoint, release) = (who.worker().clone(), who.endpoint().clone(), who.release());
        // A server that shuts down hands out nothing more; what waits is served after the restart.
        if self.is_draining() {
            return Ok(None);
        }
        let max = ask.max.max(1);
        let lists = !claim.pinned_only && !claim.is_canary && self.allows_lists(&endpoint);
        let now = self.now();
        let (ahead, pinned_only) = {
            let memory = lock(&self.shared.memory);
            let pinned_only = claim.pinned_only || !memory.lets(who);
            let takeable =
                |enough| memory.index.takeable(&endpoint, &worker, release, pinned_only, enough) >= enough;
            if !memory.live.takes(&worker) || !takeable(1) {
                return Ok(None);
            }
            if ask.prefetches && !takeable(1 + memory.claimed(poll, release, now)) {
                return Ok(None);
            }
            (if lists { memory.ahead(who, ask, now) } else { 0 }, pinned_only)
        };
        let command = Command::Take { endpoint, worker: worker.clone(), release, pinned_only, max, ahead };
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
        let mut handover = Handover { jobs: Vec::new(), engine: self.clone(), worker, open, room: None };
        if self.live_worker(&handover.worker).is_none() {
            // It ended meanwhile, and its jobs were settled before these were its own.
            return Ok(None);
        }
        let Ok(room) = self.room_for(&taken).await else {
            tracing::warn!(worker.id = %handover.worker, jobs = taken.len(), "too many large inputs are on their way to workers; these jobs go back to the queue");
            return Ok(None);
        };
        handover.room = room;
        for taken in taken {
            let id = taken.job.id.clone();
            match self.handed(taken).await {
                Ok(handed) => handover.jobs.push(handed),
                Err(error) => {
                    // Given back, it would stand at the head of the queue for ever.
                    self.fail_unreadable(&handover.worker, &id, &error).await?;
                    handover.open.retain(|open| *open != id);
                }
            }
        }
        Ok(Some(handover).filter(|handover| !handover.jobs.is_empty()))
    }

    async fn handed(&self, taken: Taken) -> Result<Handed, EngineError> {
        let Taken { job, input, s3 } = taken;
        let s3 = match s3 {
            Some(sealed) => Some(Bytes::from(self.shared.vault.unseal(&self.bytes(sealed).await?)?)),
            None => None,
        };
        Ok(Handed { job, input: self.bytes(input).await?, s3 })
    }

    async fn fail_unreadable(
        &self,
        worker: &WorkerId,
        job: &JobId,
        error: &EngineError,
    ) -> Result<(), EngineError> {
        tracing::error!(job.id = %job, %error, "a job cannot be handed over");
        let reason = FailReason::InputUnreadable { why: error.to_string() };
        let answer = Answer::Failure { error: reason.sentence(), reason };
        let (job_id, worker) = (job.clone(), worker.clone());
        let command = Command::Finish { job: job_id, worker, answer, output: None, posted: None };
        self.commit_job(job, command).await.map(drop)
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
