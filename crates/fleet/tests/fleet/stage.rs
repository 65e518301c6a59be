//! A server without its doors: engine, fleet and a scripted runtime, and a clock that only the test moves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runyard_domain::job::Answer;
use runyard_domain::release::Launch;
use runyard_domain::{
    Endpoint, EndpointId, Env, Exit, Gpu, Gpus, Job, JobId, Phase, Release, ReleaseState, Settings,
    Timestamp, WorkerId,
};
use runyard_engine::{Ask, Engine, NewJob, Take};
use runyard_fleet::{Fleet, Options};
use runyard_runtime::fake::FakeRuntime;
use runyard_runtime::{Runtime as _, WorkerSpec};
use runyard_store::{Blobs, Command, MemoryStore, Reader, Reply, Store, StoreError};
use runyard_vault::{Caller, Sealer, Vault, WorkerCaller};
use tokio::task::JoinHandle;

/// A clock that stands, one that does not count the machine's sleep, and a sequence of numbers instead of chance.
#[derive(Debug)]
pub struct Clock {
    now: AtomicI64,
    slept: AtomicI64,
    random: Mutex<u64>,
}

impl Env for Clock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }

    fn awake(&self) -> Timestamp {
        Timestamp(self.now().0 - self.slept.load(Ordering::SeqCst))
    }

    fn fill(&self, bytes: &mut [u8]) {
        let mut random = self.random.lock().unwrap();
        bytes.fill_with(|| {
            *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*random >> 33) as u8
        });
    }
}

/// The model, which may be opened again and may have no room.
struct TestStore {
    model: Arc<Mutex<MemoryStore>>,
    full: Arc<AtomicBool>,
}

impl Store for TestStore {
    fn commit(&mut self, now: Timestamp, commands: &[Command]) -> Result<Vec<Reply>, StoreError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(StoreError::DiskFull);
        }
        self.model.lock().unwrap().commit(now, commands)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.model.lock().unwrap().reader()
    }
}

pub struct Stage {
    pub engine: Engine,
    pub fleet: Fleet,
    pub runtime: Arc<FakeRuntime>,
    pub caller: Caller,
    pub disk_full: Arc<AtomicBool>,
    clock: Arc<Clock>,
    gpus: Vec<Gpu>,
    model: Arc<Mutex<MemoryStore>>,
    files: tempfile::TempDir,
    looping: JoinHandle<()>,
    /// Until it is dropped, tokio does not move its paused clock by itself.
    _still: std::sync::mpsc::Sender<()>,
}

pub fn ep() -> EndpointId {
    EndpointId::new("ep")
}

/// Where workers that nobody uses stay for as long as a test runs.
pub fn patient() -> Settings {
    Settings { idle_timeout_s: 3_600, ..Settings::default() }
}

pub fn exited(code: i32, says: &str) -> Exit {
    Exit {
        code: Some(code),
        signal: None,
        out_of_memory: false,
        last_lines: vec![says.to_owned()],
        fault: None,
    }
}

impl Stage {
    /// Endpoint `ep` with release 1 serving.
    pub async fn new(settings: Settings) -> Self {
        Self::with_gpus(settings, 0).await
    }

    /// The same on a machine with GPUs; a release needs as many as the settings say.
    pub async fn with_gpus(settings: Settings, gpus: u32) -> Self {
        Self::with_machine(settings, vec![Gpu::named("GPU"); gpus as usize]).await
    }

    /// The same on a machine with these GPUs.
    pub async fn with_machine(settings: Settings, gpus: Vec<Gpu>) -> Self {
        let (still, moves) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || moves.recv());
        let clock = Arc::new(Clock {
            now: AtomicI64::new(1_000_000),
            slept: AtomicI64::new(0),
            random: Mutex::new(7),
        });
        let model = Arc::new(Mutex::new(MemoryStore::new()));
        let files = tempfile::tempdir().unwrap();
        let disk_full = Arc::new(AtomicBool::new(false));
        let runtime = Arc::new(FakeRuntime::new());
        runtime.set_now(clock.now());
        let (engine, fleet) = open(&clock, &model, &files, &disk_full, &runtime, gpus.clone());
        let caller = engine.vault().local_caller();
        let looping = tokio::spawn(std::future::ready(()));
        let mut stage = Self {
            engine,
            fleet,
            runtime,
            caller,
            disk_full,
            clock,
            gpus,
            model,
            files,
            looping,
            _still: still,
        };
        stage.endpoint("ep", settings).await;
        stage.run();
        stage.settle().await;
        stage
    }

    fn run(&mut self) {
        let fleet = self.fleet.clone();
        self.looping = tokio::spawn(async move { fleet.run().await });
    }

    /// The server is killed and starts again; workers live on.
    pub async fn restart(&mut self) {
        self.settle().await;
        self.stop_server();
        self.start_server().await;
    }

    pub fn stop_server(&mut self) {
        self.looping.abort();
    }

    pub async fn start_server(&mut self) {
        (self.engine, self.fleet) =
            open(&self.clock, &self.model, &self.files, &self.disk_full, &self.runtime, self.gpus.clone());
        self.fleet.attach().await.unwrap();
        self.run();
        self.settle().await;
    }

    pub async fn endpoint(&self, id: &str, settings: Settings) {
        let id = EndpointId::new(id);
        let mut endpoint = Endpoint::new(id.clone(), id.to_string(), self.engine.now(), settings);
        endpoint.serving = Some(1);
        self.release(&id, 1, endpoint.settings.gpus.clone(), ReleaseState::Ready).await;
        self.engine.put_endpoint(endpoint).await.unwrap();
    }

    pub async fn settings(&self, settings: Settings) {
        let endpoint = self.engine.endpoint_by_id(&ep()).unwrap();
        self.engine.put_endpoint(Endpoint { settings, ..(*endpoint).clone() }).await.unwrap();
        self.settle().await;
    }

    pub async fn release(
        &self,
        endpoint: &EndpointId,
        number: u32,
        gpus: impl Into<Gpus>,
        state: ReleaseState,
    ) {
        let launch = Launch {
            command: vec!["/usr/bin/python3".into(), "handler.py".into()],
            code_dir: "/code".into(),
            in_place: false,
            read_dirs: vec![],
            stands_for: None,
            image: None,
        };
        let release = Release {
            endpoint: endpoint.clone(),
            number,
            created_at: self.engine.now(),
            created_by: "local".into(),
            state,
            handler: "handler.py".into(),
            bundle: String::new(),
            environment: String::new(),
            python: "3.11.7".into(),
            python_wish: runyard_domain::PythonWish::default(),
            launch: Some(launch),
            env: BTreeMap::from([("SET".into(), "1".into())]),
            secure_env: BTreeMap::new(),
            env_read: vec!["SET".into(), "MODE_TO_RUN".into(), "RUNPOD_POD_ID".into()],
            gpus: gpus.into(),
            given: None,
            note: None,
            commit: None,
            took_ms: None,
        };
        self.fleet.release_changed(endpoint, number);
        self.engine.put_release(release).await.unwrap();
    }

    pub fn new_job(&self, endpoint: &str) -> NewJob {
        NewJob::new(self.engine.endpoint(endpoint).unwrap(), "{}")
    }

    pub async fn submit(&self) -> JobId {
        self.submit_as(self.new_job("ep")).await
    }

    pub async fn submit_as(&self, new: NewJob) -> JobId {
        let job = self.engine.submit(&self.caller, new).await.unwrap().job.id;
        self.settle().await;
        job
    }

    pub fn job(&self, id: &JobId) -> Job {
        self.engine.job(id).unwrap().unwrap()
    }

    pub fn is_waiting(&self, id: &JobId) -> bool {
        matches!(self.job(id).phase, Phase::Waiting { .. })
    }

    /// Every worker that was ever started, in order.
    pub fn started(&self) -> Vec<WorkerSpec> {
        self.runtime.started()
    }

    pub fn starts(&self) -> usize {
        self.started().len()
    }

    /// The last worker that was started.
    pub fn last(&self) -> WorkerId {
        self.started().last().unwrap().id.clone()
    }

    pub fn running(&self) -> usize {
        self.runtime.running().len()
    }

    pub fn who(&self, worker: &WorkerId) -> WorkerCaller {
        let spec = self.started().into_iter().find(|spec| spec.id == *worker).unwrap();
        self.engine.vault().worker_caller(&spec.token).unwrap()
    }

    /// The worker asks for one job and has what there is.
    pub async fn take(&self, worker: &WorkerId) -> Vec<JobId> {
        self.take_up_to(worker, 1).await
    }

    pub async fn take_up_to(&self, worker: &WorkerId, max: usize) -> Vec<JobId> {
        let ask = Ask { max, hold: Duration::ZERO, in_progress: true, prefetches: false, sdk: None };
        let jobs = match self.engine.take(&self.who(worker), ask).await.unwrap() {
            Take::Jobs(mut handover) => {
                handover.delivered();
                handover.jobs.iter().map(|handed| handed.job.id.clone()).collect()
            }
            Take::Nothing | Take::Drained => vec![],
        };
        self.settle().await;
        jobs
    }

    pub async fn finish(&self, worker: &WorkerId, job: &JobId) {
        let done = self.engine.finish(&self.who(worker), job, Answer::Success, Some("1".into())).await;
        assert!(done.unwrap().is_some(), "the answer counts");
        self.settle().await;
    }

    /// A worker that came up and has nothing to do.
    pub async fn idle_worker(&self) -> WorkerId {
        let (job, worker) = self.busy_worker().await;
        self.finish(&worker, &job).await;
        worker
    }

    /// A new worker that came up and runs a job.
    pub async fn busy_worker(&self) -> (JobId, WorkerId) {
        let job = self.submit().await;
        let worker = self.last();
        assert_eq!(self.take(&worker).await, [job.clone()]);
        (job, worker)
    }

    pub async fn exit(&self, worker: &WorkerId, exit: Exit) {
        self.runtime.exit(worker, exit);
        self.settle().await;
    }

    /// The store's record of a worker.
    pub fn record(&self, worker: &WorkerId) -> runyard_domain::WorkerRecord {
        self.engine.reader().worker(worker).unwrap().unwrap()
    }

    /// Everything that can happen now has happened: all tasks rest and the writer has nothing left.
    pub async fn settle(&self) {
        for _ in 0..8 {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            let _ = self.engine.delivered(&JobId::new("nobody"), 0).await;
        }
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    /// The clock goes on, and whatever was due happens.
    pub async fn advance(&self, ms: i64) {
        self.settle().await;
        let step = (ms / 60).max(50);
        let mut left = ms;
        while left > 0 {
            self.leap(left.min(step)).await;
            left -= step;
        }
    }

    /// The machine is suspended and wakes up.
    pub async fn sleep(&self, ms: i64) {
        self.clock.now.fetch_add(ms, Ordering::SeqCst);
        self.clock.slept.fetch_add(ms, Ordering::SeqCst);
        self.runtime.set_now(self.clock.now());
        self.fleet.nudge(&ep());
        self.settle().await;
    }

    /// The clock goes on in one step.
    pub async fn leap(&self, ms: i64) {
        self.clock.now.fetch_add(ms, Ordering::SeqCst);
        self.runtime.set_now(self.clock.now());
        tokio::time::advance(Duration::from_millis(ms as u64)).await;
        self.settle().await;
    }

    pub async fn observed(&self, worker: &WorkerId) -> bool {
        self.runtime.list().await.unwrap().iter().any(|o| o.id == *worker)
    }
}

fn open(
    clock: &Arc<Clock>,
    model: &Arc<Mutex<MemoryStore>>,
    files: &tempfile::TempDir,
    full: &Arc<AtomicBool>,
    runtime: &Arc<FakeRuntime>,
    gpus: Vec<Gpu>,
) -> (Engine, Fleet) {
    let vault = Arc::new(Vault::new(clock.clone(), Sealer::new([7; 32]), vec![]));
    let engine = Engine::start(runyard_engine::Options {
        store: Box::new(TestStore { model: model.clone(), full: full.clone() }),
        blobs: Blobs::open(files.path()).unwrap(),
        env: clock.clone(),
        vault,
    })
    .unwrap();
    let fleet = Fleet::new(Options {
        engine: engine.clone(),
        runtime: runtime.clone(),
        gpus,
        cpus: 4,
        memory_gb: 16,
        volumes: std::path::PathBuf::new(),
        idle_drain_ms: 10_000,
    });
    (engine, fleet)
}
