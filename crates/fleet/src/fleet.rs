//! The handle and the loop. The loop sleeps until something changed or a deadline has come.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runyard_domain::worker::WorkerState;
use runyard_domain::{EndpointId, Gpu, Release, Settings, Timestamp, WorkerId, WorkerRecord};
use runyard_engine::{Change, Engine};
use runyard_runtime::{Event, Runtime, StartPhase};
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;

use crate::FleetError;
use crate::spec::Machine;
use crate::state::{Breaker, Managed, State};

/// The longest sleep: a wall clock that was set forward is noticed by then.
const LONGEST_SLEEP_MS: i64 = 60_000;

/// How a fleet is made.
pub struct Options {
    /// Jobs, records, the feed.
    pub engine: Engine,
    /// What runs workers.
    pub runtime: Arc<dyn Runtime>,
    /// GPUs of this machine, real or fake.
    pub gpus: Vec<Gpu>,
    /// Processors of this machine.
    pub cpus: u32,
    /// Memory of this machine in GiB.
    pub memory_gb: u64,
    /// Where the network volumes lie, one folder each.
    pub volumes: PathBuf,
    /// How long a draining worker may take that has nothing to do.
    pub idle_drain_ms: i64,
}

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) machine: Machine,
    pub(crate) idle_drain_ms: i64,
    pub(crate) state: Mutex<State>,
    /// Held from the choice of GPUs until their new holder is known: a test starts beside the loop.
    pub(crate) placing: tokio::sync::Mutex<()>,
    pub(crate) releases: Mutex<HashMap<(EndpointId, u32), Arc<Release>>>,
    pub(crate) wake: Notify,
    /// Rings after each exit and each change of a worker's state.
    pub(crate) workers_changed: Notify,
}

/// The fleet. Cheap to clone.
#[derive(Clone)]
pub struct Fleet {
    pub(crate) inner: Arc<Inner>,
}

impl Fleet {
    /// A fleet that has not looked at anything yet: call [`attach`](Self::attach) before workers can reach
    /// the server, then [`run`](Self::run).
    pub fn new(options: Options) -> Self {
        let Options { engine, runtime, gpus, cpus, memory_gb, volumes, idle_drain_ms } = options;
        Self {
            inner: Arc::new(Inner {
                engine,
                runtime,
                machine: Machine { gpus, cpus, memory_gb, volumes },
                idle_drain_ms,
                state: Mutex::default(),
                placing: tokio::sync::Mutex::default(),
                releases: Mutex::default(),
                wake: Notify::new(),
                workers_changed: Notify::new(),
            }),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.engine.now()
    }

    /// The clock of what waits for workers: it stands still while the machine sleeps.
    pub(crate) fn awake(&self) -> Timestamp {
        self.inner.engine.env().awake()
    }

    /// GPUs of this machine.
    pub fn gpus(&self) -> &[Gpu] {
        &self.inner.machine.gpus
    }

    /// The type of a worker's GPUs, which are all of one; `None` where it has none.
    pub fn gpu_of(&self, worker: &WorkerRecord) -> Option<&Gpu> {
        worker.gpus.first().and_then(|index| self.gpus().get(*index as usize))
    }

    /// Processors of this machine.
    pub fn cpus(&self) -> u32 {
        self.inner.machine.cpus
    }

    /// The engine that this fleet serves.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// What keeps workers away from the data directory, as one line for people.
    pub async fn boundary(&self) -> Result<String, FleetError> {
        Ok(self.inner.runtime.boundary().await?)
    }

    /// What runs the workers.
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.inner.runtime
    }

    /// What the runtime tells: exits and new output.
    pub fn watch_runtime(&self) -> tokio::sync::broadcast::Receiver<Event> {
        self.inner.runtime.watch()
    }

    /// Looks at an endpoint anew.
    pub fn nudge(&self, endpoint: &EndpointId) {
        self.state().dirty.insert(endpoint.clone());
        self.inner.wake.notify_one();
    }

    /// Workers that are not gone, as the fleet keeps them.
    pub fn workers(&self) -> Vec<WorkerRecord> {
        let mut all: Vec<_> = self.state().workers.values().map(|w| w.record.clone()).collect();
        all.sort_by_key(|record| (record.created_at, record.id.clone()));
        all
    }

    /// The release, from memory or from the store.
    pub(crate) fn release(&self, endpoint: &EndpointId, number: u32) -> Option<Arc<Release>> {
        let key = (endpoint.clone(), number);
        let cached = self.inner.releases.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if cached.is_some() {
            return cached;
        }
        let all = self.inner.engine.reader().releases(endpoint).ok()?;
        let found = Arc::new(all.into_iter().find(|r| r.number == number)?);
        if found.launch.is_some() {
            let mut releases = self.inner.releases.lock().unwrap_or_else(PoisonError::into_inner);
            releases.insert(key, found.clone());
        }
        Some(found)
    }

    /// Keeps workers until the server ends.
    pub async fn run(&self) {
        let mut changes = self.inner.engine.watch();
        let mut events = self.inner.runtime.watch();
        {
            let mut state = self.state();
            state.dirty.extend(self.inner.engine.endpoints().iter().map(|e| e.id.clone()));
            state.runtime_dirty = true;
        }
        loop {
            self.step().await;
            let sleep = self.until_deadline();
            tokio::select! {
                biased;
                change = changes.recv() => self.on_change(change),
                event = events.recv() => self.on_event(event.as_ref()),
                () = self.inner.wake.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
            while let Ok(change) = changes.try_recv() {
                self.on_change(Ok(change));
            }
            while let Ok(event) = events.try_recv() {
                self.on_event(Ok(&event));
            }
        }
    }

    /// One round: what ended, what is over its time, what an endpoint needs.
    async fn step(&self) {
        let now = self.now();
        let look_at_runtime = {
            let mut state = self.state();
            let again = state.look_at_runtime.take_if(|at| *at <= now).is_some();
            std::mem::take(&mut state.runtime_dirty) || again
        };
        if look_at_runtime {
            self.look_at_runtime().await;
        }
        self.keep_deadlines().await;
        let now = self.now();
        let dirty: Vec<EndpointId> = {
            let mut state = self.state();
            let mut dirty = std::mem::take(&mut state.dirty);
            for (endpoint, yard) in &mut state.yards {
                if yard.look_at.is_some_and(|at| at <= now) {
                    yard.look_at = None;
                    dirty.insert(endpoint.clone());
                }
            }
            if !dirty.is_empty() {
                // Whoever waits for a GPU looks again at each change: it may be another's worker that became idle.
                dirty.extend(state.waiting_for_gpus());
            }
            dirty.into_iter().collect()
        };
        for endpoint in dirty {
            self.hasten_drains(&endpoint).await;
            self.reconcile(&endpoint).await;
        }
    }

    fn until_deadline(&self) -> Duration {
        let (now, awake) = (self.now(), self.awake());
        let state = self.state();
        let look = state.next_look().map(|at| at.since(now));
        let end = state.next_end(|w| self.start_deadline(w)).map(|at| at.since(awake));
        let ms = look.into_iter().chain(end).fold(LONGEST_SLEEP_MS, i64::min);
        Duration::from_millis(ms.max(0) as u64)
    }

    /// When a worker that has not asked for a job yet has failed to start, while the machine is awake.
    pub(crate) fn start_deadline(&self, worker: &Managed) -> Option<Timestamp> {
        // An image takes as long to come as it takes; that it comes at all is watched where it is pulled.
        let fetching = worker.phase.is_some_and(StartPhase::is_fetching);
        if worker.record.state != WorkerState::Starting || worker.start_timed_out || fetching {
            return None;
        }
        let limit_ms = worker.start_timeout_s.map(|limit_s| i64::from(limit_s) * 1000);
        Some(worker.began.plus(limit_ms.unwrap_or_else(|| self.start_timeout_ms(&worker.record.endpoint))))
    }

    /// Also where the endpoint is gone: nothing else would end a worker that never asks.
    fn start_timeout_ms(&self, endpoint: &EndpointId) -> i64 {
        let endpoint = self.inner.engine.endpoint_by_id(endpoint);
        i64::from(endpoint.map_or_else(Settings::default, |e| e.settings.clone()).start_timeout_s) * 1000
    }

    /// When a worker began that another server ordered, by the clock that stands still while the machine sleeps.
    /// Where its time to start would be over by now, the machine may have slept or its clock may have been set
    /// meanwhile: it begins anew.
    pub(crate) fn began_earlier(&self, record: &WorkerRecord) -> Timestamp {
        let ago_ms = self.now().since(record.created_at);
        let is_within = (0..self.start_timeout_ms(&record.endpoint)).contains(&ago_ms);
        self.awake().plus(if is_within { -ago_ms } else { 0 })
    }

    fn on_change(&self, change: Result<Change, RecvError>) {
        let mut state = self.state();
        match change {
            Ok(Change::Jobs(endpoint) | Change::Endpoint(endpoint)) => {
                state.dirty.insert(endpoint);
            }
            Ok(Change::Ready(worker)) => {
                drop(state);
                self.on_ready(&worker);
            }
            Ok(Change::Stopping { worker, job }) => {
                drop(state);
                self.check_stop(&worker, &job);
            }
            Ok(Change::Forgetful(worker)) => {
                drop(state);
                self.spawn_drain(worker, "it forgot a job that it had taken");
            }
            Ok(Change::Spoiled(worker)) => {
                drop(state);
                self.spawn_drain(
                    worker,
                    "its list of jobs took far longer than measured, and others took over",
                );
            }
            Ok(Change::Unfit { worker, message }) => {
                tracing::warn!(worker.id = %worker, message, "a worker says that it is not fit to work");
                let Some(managed) = state.workers.get_mut(&worker) else { return };
                managed.unfit = Some(message);
                // The SDK says so before its loop, and ends: a failed start. Others would go on taking jobs.
                if managed.record.state == WorkerState::Ready {
                    drop(state);
                    self.spawn_drain(worker, "it says that it is not fit to work");
                }
            }
            Ok(Change::Deliveries) => {}
            Err(_) => {
                state.dirty.extend(self.inner.engine.endpoints().iter().map(|e| e.id.clone()));
                drop(state);
                self.catch_up();
            }
        }
    }

    /// Changes were missed: what they would have said is looked up.
    fn catch_up(&self) {
        let workers: Vec<(WorkerId, bool)> = {
            let state = self.state();
            let starting = |w: &Managed| w.record.state == WorkerState::Starting;
            state.workers.values().map(|w| (w.record.id.clone(), starting(w))).collect()
        };
        for (worker, starting) in workers {
            let asked = self.inner.engine.live_worker(&worker).is_some_and(|live| live.ready_at.is_some());
            if starting && asked {
                self.on_ready(&worker);
            }
            for job in self.inner.engine.unstopped(&worker) {
                self.check_stop(&worker, &job);
            }
        }
    }

    fn on_event(&self, event: Result<&Event, &RecvError>) {
        match event {
            Ok(Event::Output(_)) => {}
            Ok(Event::Exited(_) | Event::Progress(_) | Event::Resync) | Err(_) => {
                self.state().runtime_dirty = true;
            }
        }
    }

    /// A worker asked for its first job: its start is measured, the breaker closes.
    fn on_ready(&self, worker: &WorkerId) {
        let sdk = self.inner.engine.live_worker(worker).and_then(|live| live.sdk);
        let now = self.now();
        {
            let mut state = self.state();
            let Some(managed) = state.workers.get_mut(worker) else { return };
            managed.record.ready_at.get_or_insert(now);
            managed.record.sdk = sdk;
            if managed.record.state == WorkerState::Starting {
                managed.record.state = WorkerState::Ready;
            }
            let (record, test) = (managed.record.clone(), managed.test);
            let yard = state.yard(&record.endpoint);
            yard.starts.note(&record);
            let endpoint = self.inner.engine.endpoint_by_id(&record.endpoint);
            // A test that comes up says nothing of the release that serves.
            match endpoint.filter(|_| !test) {
                Some(e) if e.serving == Some(record.release) => yard.breaker = Breaker::default(),
                Some(e) if e.rollout.as_ref().is_some_and(|rollout| rollout.to == record.release) => {
                    yard.canary = Breaker::default();
                }
                _ => {}
            }
            state.dirty.insert(record.endpoint.clone());
            self.save(record);
        }
        self.inner.workers_changed.notify_waiters();
    }

    /// Has a worker's record written: it is for people and for the next start. To be called while the state is
    /// locked from which it was taken, so that no older record ever comes after the one of the worker's end.
    pub(crate) fn save(&self, record: WorkerRecord) {
        self.inner.engine.note_worker(record);
    }
}
