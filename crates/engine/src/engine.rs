//! The handle: every way into the engine. Cheap to clone.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use runyard_domain::job::Loss;
use runyard_domain::{Access, Endpoint, EndpointId, Env, Job, JobId, Payload, Timestamp, WorkerId};
use runyard_store::{Blobs, Command, Reader, Refused, Reply, Room, Store, StoreError, Taken, Which};
use runyard_vault::{Caller, Vault};
use tokio::sync::{Notify, broadcast};

use crate::catalog::Catalog;
use crate::depth::Arrivals;
use crate::gate::Gate;
use crate::index::{Index, Place, Snapshot};
use crate::live::Live;
use crate::polls::Polls;
use crate::room::InputRoom;
use crate::stops::Ended as _;
use crate::timers::Timers;
use crate::traffic::Shares;
use crate::waiters::{JobWaiter, Waiters};
use crate::writer::{Latency, Seat, Writer};
use crate::{Change, EngineError};

/// How an engine is made.
pub struct Options {
    /// Where jobs are kept.
    pub store: Box<dyn Store>,
    /// Where large payloads are kept.
    pub blobs: Blobs,
    /// Clock, ids, randomness.
    pub env: Arc<dyn Env>,
    /// Keys and seals.
    pub vault: Arc<Vault>,
}

/// What is known in memory, changed by the writer in commit order.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) index: Index,
    pub(crate) live: Live,
    pub(crate) polls: Polls,
    pub(crate) arrivals: Arrivals,
    pub(crate) shares: Shares,
    touched: BTreeSet<EndpointId>,
    deliveries_touched: bool,
}

pub(crate) struct Shared {
    pub(crate) writer: Writer,
    pub(crate) gate: Gate,
    pub(crate) reader: Arc<dyn Reader>,
    pub(crate) blobs: Blobs,
    pub(crate) env: Arc<dyn Env>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) memory: Arc<Mutex<Memory>>,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) feed: broadcast::Sender<Change>,
    pub(crate) timers: Arc<Timers>,
    pub(crate) draining: AtomicBool,
    /// Held while an endpoint's record is read, changed and written.
    pub(crate) endpoint_turn: tokio::sync::Mutex<()>,
    pub(crate) input_room: OnceLock<InputRoom>,
    waiting_over: AtomicBool,
    failed: Arc<Notify>,
}

/// The engine.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// Rebuilds memory from the store and starts the writer and the timers. Needs a tokio runtime.
    pub fn start(options: Options) -> Result<Self, EngineError> {
        Self::start_at(Seat::Thread, options)
    }

    /// The same for simulations: the writer is a task of the caller's runtime and takes for each batch as long
    /// as `latency` says. On one thread with a paused clock the same calls then give the same history.
    pub fn start_simulated(options: Options, latency: Latency) -> Result<Self, EngineError> {
        Self::start_at(Seat::Task(latency), options)
    }

    fn start_at(seat: Seat, options: Options) -> Result<Self, EngineError> {
        let Options { store, blobs, env, vault } = options;
        let reader = store.reader();
        let memory = Arc::new(Mutex::new(Memory::default()));
        let catalog = Arc::new(Catalog::default());
        for endpoint in reader.endpoints()? {
            lock(&memory).shares.recall(&endpoint, &*reader)?;
            catalog.put(endpoint);
        }
        for job in reader.live()? {
            lock(&memory).index.apply(&job);
        }
        let (feed, _) = broadcast::channel(4096);
        let waiters = Arc::new(Waiters::default());
        let timers = Arc::new(Timers::default());
        if lock(&memory).index.running() > 0 {
            timers.grant_grace(env.now());
        }
        let failed = Arc::new(Notify::new());
        let gate = Gate::of(&blobs);
        let writer = start_writer(
            seat,
            store,
            &env,
            gate.clone(),
            &memory,
            &waiters,
            &catalog,
            &feed,
            &timers,
            &failed,
        );
        let shared = Arc::new(Shared {
            writer,
            gate,
            reader,
            blobs,
            env,
            vault,
            memory,
            waiters,
            catalog,
            feed,
            timers,
            draining: AtomicBool::new(false),
            endpoint_turn: tokio::sync::Mutex::default(),
            input_room: OnceLock::new(),
            waiting_over: AtomicBool::new(false),
            failed,
        });
        let engine = Self { shared };
        crate::timers::spawn(&engine)?;
        Ok(engine)
    }

    /// Resolves when the store has failed for good: the server has to stop.
    pub async fn failed(&self) {
        self.shared.failed.notified().await;
        // It stays so, for whoever asks next.
        self.shared.failed.notify_one();
    }

    /// The clock.
    pub fn now(&self) -> Timestamp {
        self.shared.env.now()
    }

    /// Clock, ids and randomness.
    pub fn env(&self) -> &Arc<dyn Env> {
        &self.shared.env
    }

    /// Queries beside the writer.
    pub fn reader(&self) -> &dyn Reader {
        &*self.shared.reader
    }

    /// Nudges from now on.
    pub fn watch(&self) -> broadcast::Receiver<Change> {
        self.shared.feed.subscribe()
    }

    /// From now on new jobs are refused; everything else goes on.
    pub fn close_submissions(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    /// From now on nobody waits any more: who waits for a job gets its state as it is.
    pub fn end_waiting(&self) {
        self.shared.waiting_over.store(true, Ordering::Release);
        self.shared.waiters.wake_all();
    }

    /// Whether the server is about to end, so that nobody should wait.
    pub fn is_waiting_over(&self) -> bool {
        self.shared.waiting_over.load(Ordering::Acquire)
    }

    /// Whether new jobs are refused.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// The endpoint with this id or name.
    pub fn endpoint(&self, id_or_name: &str) -> Option<Arc<Endpoint>> {
        self.shared.catalog.find(id_or_name)
    }

    /// The endpoint with this id.
    pub fn endpoint_by_id(&self, id: &EndpointId) -> Option<Arc<Endpoint>> {
        self.shared.catalog.get(id)
    }

    /// Every endpoint, by name.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.shared.catalog.all()
    }

    /// One endpoint's jobs at a glance; `depth` bounds the list of waiting times.
    pub fn snapshot(&self, endpoint: &EndpointId, depth: usize) -> Snapshot {
        lock(&self.shared.memory).index.snapshot(endpoint, depth)
    }

    /// How many waiting jobs none of these workers may take, because each of them had them before.
    pub fn fenced_out(&self, endpoint: &EndpointId, workers: &[WorkerId]) -> usize {
        lock(&self.shared.memory).index.fenced_out(endpoint, workers)
    }

    /// A waiting job's place in its queue.
    pub fn place(&self, job: &JobId) -> Option<Place> {
        lock(&self.shared.memory).index.place(job)
    }

    /// The endpoint of a job that has not ended, known without a query.
    pub fn endpoint_of_live(&self, job: &JobId) -> Option<EndpointId> {
        lock(&self.shared.memory).index.endpoint_of(job).cloned()
    }

    /// How many jobs run, of all endpoints.
    pub fn running(&self) -> usize {
        lock(&self.shared.memory).index.running()
    }

    /// One job.
    pub fn job(&self, id: &JobId) -> Result<Option<Job>, EngineError> {
        Ok(self.shared.reader.job(id)?)
    }

    /// The bytes of a payload.
    pub async fn bytes(&self, payload: Payload) -> Result<Bytes, EngineError> {
        match payload {
            Payload::Inline(bytes) => Ok(bytes),
            Payload::File { .. } => {
                let blobs = self.shared.blobs.clone();
                let read = tokio::task::spawn_blocking(move || blobs.read(&payload)).await;
                Ok(read.map_err(|_| EngineError::Stopped)??)
            }
        }
    }

    /// Registers for changes of a job. Register first, look afterwards.
    pub fn waiter(&self, job: &JobId) -> JobWaiter {
        self.shared.waiters.register(job)
    }

    /// Ends a job.
    pub async fn cancel(&self, caller: &Caller, job: &JobId) -> Result<Job, EngineError> {
        self.check(caller, job)?;
        self.commit_job(job, Command::Cancel { job: job.clone(), by: caller.name().to_owned() }).await
    }

    /// From failed or timed out back to the queue.
    pub async fn retry(&self, caller: &Caller, job: &JobId) -> Result<Job, EngineError> {
        self.check(caller, job)?;
        self.commit_job(job, Command::Retry { job: job.clone() }).await
    }

    /// A new time to live for a job, from now.
    pub async fn set_ttl(&self, caller: &Caller, job: &JobId, ttl_ms: i64) -> Result<Job, EngineError> {
        self.check(caller, job)?;
        self.commit_job(job, Command::SetTtl { job: job.clone(), ttl_ms }).await
    }

    /// Ends every waiting job of an endpoint; says how many.
    pub async fn purge(&self, caller: &Caller, endpoint: &EndpointId) -> Result<usize, EngineError> {
        caller.may(Access::Run, Some(endpoint))?;
        let by = format!("purge by {}", caller.name());
        match self.commit_deed(Command::Purge { endpoint: endpoint.clone(), by }).await? {
            Reply::Jobs(jobs) => Ok(jobs.len()),
            _ => Ok(0),
        }
    }

    pub(crate) fn check(&self, caller: &Caller, job: &JobId) -> Result<(), EngineError> {
        let found = self.job(job)?.ok_or_else(|| EngineError::NoSuchJob(job.clone()))?;
        Ok(caller.may(Access::Run, Some(&found.endpoint))?)
    }

    pub(crate) async fn commit_job(&self, job: &JobId, command: Command) -> Result<Job, EngineError> {
        Self::settled(job, self.commit_deed(command).await?)
    }

    pub(crate) fn settled(job: &JobId, reply: Reply) -> Result<Job, EngineError> {
        match reply {
            Reply::Job(job) => Ok(*job),
            Reply::Refused(Refused::ByState(refusal, _)) => {
                Err(EngineError::Refused { job: job.clone(), refusal })
            }
            _ => Err(EngineError::NoSuchJob(job.clone())),
        }
    }

    /// Chunks up to this one were written to a client. When it returns, no query sees them any more.
    pub async fn delivered(&self, job: &JobId, upto: u64) -> Result<(), EngineError> {
        self.shared.writer.commit(Command::Delivered { job: job.clone(), upto }).await.map(drop)
    }

    /// A worker is gone, or has to give up jobs: back to the queue, or failed where that was the last try.
    pub async fn lose(&self, worker: &WorkerId, which: Which, loss: Loss) -> Result<Vec<Job>, EngineError> {
        let command = Command::Lose { worker: worker.clone(), which, loss };
        match self.shared.writer.commit(command).await? {
            Reply::Jobs(jobs) => Ok(jobs),
            _ => Ok(Vec::new()),
        }
    }

    /// A worker never received these jobs: back to the queue as if nothing had been.
    pub async fn give_back(&self, worker: &WorkerId, which: Which) -> Result<Vec<Job>, EngineError> {
        match self.shared.writer.commit(Command::GiveBack { worker: worker.clone(), which }).await? {
            Reply::Jobs(jobs) => Ok(jobs),
            _ => Ok(Vec::new()),
        }
    }

    /// The keeper of keys and tokens.
    pub fn vault(&self) -> &Arc<Vault> {
        &self.shared.vault
    }

    /// Whether the disk is full, so that new jobs are refused.
    pub fn is_disk_full(&self) -> bool {
        self.shared.gate.is_shut()
    }

    /// How much room the disk has, where some of it is kept for results.
    pub fn room(&self) -> Option<Room> {
        self.shared.blobs.reserve().room()
    }

    /// A payload of a new job: small ones as they are, large ones as a synced file.
    pub(crate) async fn keep(&self, bytes: Bytes) -> Result<Payload, EngineError> {
        self.keep_by(bytes, Blobs::put).await
    }

    /// The same for what a worker sent: on a full disk it goes into the reserve.
    pub(crate) async fn keep_result(&self, bytes: Bytes) -> Result<Payload, EngineError> {
        self.keep_by(bytes, Blobs::put_into_reserve).await
    }

    async fn keep_by(
        &self,
        bytes: Bytes,
        put: fn(&Blobs, &str, &[u8]) -> Result<Payload, StoreError>,
    ) -> Result<Payload, EngineError> {
        if bytes.len() <= runyard_store::SPILL_ABOVE {
            return Ok(Payload::Inline(bytes));
        }
        let blobs = self.shared.blobs.clone();
        let name = self.shared.env.token(24);
        let kept = tokio::task::spawn_blocking(move || put(&blobs, &name, &bytes)).await;
        match kept.map_err(|_| EngineError::Stopped)? {
            Err(StoreError::DiskFull) => Err(EngineError::DiskFull),
            kept => Ok(kept?),
        }
    }

    /// Drops the file of a payload whose command was not committed. Only a full disk says so for sure; what
    /// other failures leave is swept at the next start, and the store keeps house over what it was given.
    pub(crate) fn discard_after(&self, error: &EngineError, payload: Option<&Payload>) {
        if let (EngineError::DiskFull, Some(payload)) = (error, payload)
            && let Err(error) = self.shared.blobs.remove(payload)
        {
            tracing::warn!(%error, "a payload that is not needed cannot be removed; the next start does");
        }
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "called once, to give the writer's thread its view of the engine"
)]
fn start_writer(
    seat: Seat,
    store: Box<dyn Store>,
    env: &Arc<dyn Env>,
    gate: Gate,
    memory: &Arc<Mutex<Memory>>,
    waiters: &Arc<Waiters>,
    catalog: &Arc<Catalog>,
    feed: &broadcast::Sender<Change>,
    timers: &Arc<Timers>,
    failed: &Arc<Notify>,
) -> Writer {
    let (memory_, feed_, failed) = (memory.clone(), feed.clone(), failed.clone());
    let (memory, waiters, catalog) = (memory.clone(), waiters.clone(), catalog.clone());
    let (feed, timers, clock) = (feed.clone(), timers.clone(), env.clone());
    let apply = move |now: Timestamp, command: &Command, reply: &Reply| {
        let mut memory = lock(&memory);
        let mut job_changed = |job: &Job| {
            memory.job_changed(job, now, &feed);
            timers.arm(job.due_at());
            if job.batch.is_some() && job.is_done() {
                // Its batch may have ended with it.
                timers.arm(now.plus(job.retention_ms));
            }
            waiters.changed(job, command);
        };
        match reply {
            Reply::Submitted { job, existing: false } | Reply::Job(job) => job_changed(job),
            Reply::Taken(taken) => {
                for Taken { job, .. } in taken {
                    job_changed(job);
                }
                memory.shares.note(taken);
                memory.note_list(taken);
            }
            Reply::Jobs(jobs) => jobs.iter().for_each(job_changed),
            Reply::Batch { batch, jobs, existing } => {
                timers.arm(batch.due_at());
                if !existing && !batch.is_draft() {
                    jobs.iter().for_each(job_changed);
                }
            }
            Reply::Tried { due_at, .. } => {
                memory.deliveries_touched = true;
                timers.arm(*due_at);
            }
            Reply::Forgotten(job) => {
                memory.index.remove(job);
                waiters.wake(job);
            }
            Reply::Submitted { existing: true, .. }
            | Reply::Refused(_)
            | Reply::BatchRefused(_)
            | Reply::Nothing => {}
        }
        match command {
            Command::PutEndpoint(endpoint) => {
                catalog.put((**endpoint).clone());
                memory.shares.set(endpoint);
                memory.wake_all_polls(&endpoint.id);
                let _ = feed.send(Change::Endpoint(endpoint.id.clone()));
            }
            Command::DropEndpoint(id) => {
                catalog.remove(id);
                memory.shares.forget(id);
                for job in memory.index.drop_endpoint(id) {
                    waiters.wake(&job);
                }
                memory.wake_all_polls(id);
                let _ = feed.send(Change::Endpoint(id.clone()));
            }
            _ => {}
        }
    };
    let flush = move || {
        let mut memory = lock(&memory_);
        for endpoint in std::mem::take(&mut memory.touched) {
            memory.match_polls(&endpoint, clock.now());
            let _ = feed_.send(Change::Jobs(endpoint));
        }
        if std::mem::take(&mut memory.deliveries_touched) {
            let _ = feed_.send(Change::Deliveries);
        }
    };
    let fatal = move || failed.notify_one();
    Writer::start(seat, store, env.clone(), gate, Box::new(apply), Box::new(flush), Box::new(fatal))
}

impl Memory {
    /// Takes in a job as it is now: who waits, who runs, who has to stop.
    fn job_changed(&mut self, job: &Job, now: Timestamp, feed: &broadcast::Sender<Change>) {
        self.arrivals.settle(&job.endpoint, &job.id);
        let holder = self.index.holder(&job.id);
        let shift = self.index.apply(job);
        if let Some(worker) = &shift.busy {
            self.live.shift(worker, true, now);
        }
        if let Some(worker) = &shift.idle {
            self.live.shift(worker, false, now);
        }
        if let Some((worker, started)) = holder {
            if job.is_answered_by(&worker)
                && let Some(entry) = self.live.workers.get_mut(&worker)
            {
                entry.view.answered = true;
            }
            // One that it has not come to cannot be stopped, and need not be.
            let runs = started || self.list_changed(&worker, job);
            if runs && job.is_ended_without(&worker) && self.must_stop(&worker, &job.id) {
                let _ = feed.send(Change::Stopping { worker, job: job.id.clone() });
            }
        }
        self.touched.insert(job.endpoint.clone());
        self.deliveries_touched |= job.is_done() && job.webhook.is_some();
    }
}
