//! A house with one endpoint, a store that can be made to fail, and a clock that only the test moves.

use std::hash::{DefaultHasher, Hash as _};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use runyard_domain::job::Answer;
use runyard_domain::worker::WorkerState;
use runyard_domain::{
    Endpoint, EndpointId, Env, FailReason, Job, JobId, Phase, Settings, Timestamp, WorkerId, WorkerRecord,
};
use runyard_engine::{Ask, Engine, EngineError, Latency, NewJob, Options, Take};
use runyard_store::{Blobs, Command, MemoryStore, Reader, Reply, Store, StoreError};
use runyard_vault::{Caller, Sealer, Vault, WorkerCaller, hash};
use tokio::task::JoinHandle;

/// A clock that stands, or goes with tokio's in a simulation, and a sequence of numbers instead of chance.
#[derive(Debug)]
pub struct Clock {
    now: AtomicI64,
    since: Option<tokio::time::Instant>,
    random: Mutex<u64>,
}

impl Env for Clock {
    fn now(&self) -> Timestamp {
        let gone = self.since.map_or(0, |since| since.elapsed().as_millis() as i64);
        Timestamp(self.now.load(Ordering::SeqCst) + gone)
    }

    fn fill(&self, bytes: &mut [u8]) {
        let mut random = self.random.lock().unwrap();
        bytes.fill_with(|| {
            *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*random >> 33) as u8
        });
    }
}

/// What goes wrong in the store.
#[derive(Debug, Default)]
pub struct Faults {
    /// Batches with a submission do not fit on the disk.
    pub no_room_for_jobs: AtomicBool,
    /// Nothing fits on the disk.
    pub disk_full: AtomicBool,
    /// The disk is broken.
    pub broken: AtomicBool,
    /// The store panics.
    pub panics: AtomicBool,
    /// How many commands came.
    commands: AtomicUsize,
    /// How often jobs were asked for.
    pub takes: AtomicUsize,
    /// What a simulation did so far, as one number.
    pub history: Mutex<DefaultHasher>,
    is_simulation: AtomicBool,
    /// Commits wait.
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Faults {
    /// Lets commits wait, or go on.
    pub fn hold_commits(&self, hold: bool) {
        *self.closed.lock().unwrap() = hold;
        self.opened.notify_all();
    }
}

/// The model, which may be opened again, with its faults.
pub struct TestStore {
    model: Arc<Mutex<MemoryStore>>,
    faults: Arc<Faults>,
}

impl Store for TestStore {
    fn commit(&mut self, now: Timestamp, commands: &[Command]) -> Result<Vec<Reply>, StoreError> {
        let closed = self.faults.closed.lock().unwrap();
        drop(self.faults.opened.wait_while(closed, |closed| *closed).unwrap());
        assert!(!self.faults.panics.load(Ordering::SeqCst), "the store panics, as the test wants it");
        if self.faults.broken.load(Ordering::SeqCst) {
            let source = std::io::Error::other("the disk is broken");
            return Err(StoreError::File { operation: "sync", path: "db".into(), source });
        }
        self.faults.commands.fetch_add(commands.len(), Ordering::SeqCst);
        let takes = commands.iter().filter(|command| matches!(command, Command::Take { .. })).count();
        self.faults.takes.fetch_add(takes, Ordering::SeqCst);
        let submits = commands.iter().any(|command| matches!(command, Command::Submit(_)));
        if self.faults.disk_full.load(Ordering::SeqCst)
            || (submits && self.faults.no_room_for_jobs.load(Ordering::SeqCst))
        {
            return Err(StoreError::DiskFull);
        }
        let replies = self.model.lock().unwrap().commit(now, commands)?;
        if self.faults.is_simulation.load(Ordering::SeqCst) {
            format!("{now:?} {commands:?} {replies:?}").hash(&mut *self.faults.history.lock().unwrap());
        }
        Ok(replies)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.model.lock().unwrap().reader()
    }
}

pub struct Stage {
    pub engine: Engine,
    pub clock: Arc<Clock>,
    pub vault: Arc<Vault>,
    pub caller: Caller,
    pub faults: Arc<Faults>,
    pub files: tempfile::TempDir,
    model: Arc<Mutex<MemoryStore>>,
    /// Until it is dropped, tokio does not move its paused clock by itself.
    _still: Option<std::sync::mpsc::Sender<()>>,
}

impl Stage {
    /// A house with endpoint `ep`, whose release 1 serves.
    pub async fn new() -> Self {
        Self::seeded(1).await
    }

    pub async fn seeded(seed: u64) -> Self {
        let (still, moves) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || moves.recv());
        Self::open(seed, None, Some(still)).await
    }

    /// A house in which time goes on when all rest, and the same seed gives the same history. Each batch takes as
    /// long as `latency` says.
    pub async fn simulated(seed: u64, latency: Latency) -> Self {
        Self::open(seed, Some(latency), None).await
    }

    async fn open(seed: u64, latency: Option<Latency>, still: Option<std::sync::mpsc::Sender<()>>) -> Self {
        let since = latency.is_some().then(tokio::time::Instant::now);
        let clock = Arc::new(Clock { now: AtomicI64::new(1_000_000), since, random: Mutex::new(seed) });
        let vault = Arc::new(Vault::new(clock.clone(), Sealer::new([7; 32]), vec![]));
        let files = tempfile::tempdir().unwrap();
        // A simulation has no payloads in files, and a store that looks for them at each commit is slow.
        let model = match latency {
            Some(_) => MemoryStore::new(),
            None => MemoryStore::with_blobs(Blobs::open(files.path()).unwrap()),
        };
        let model = Arc::new(Mutex::new(model));
        let faults = Arc::new(Faults::default());
        faults.is_simulation.store(latency.is_some(), Ordering::SeqCst);
        let engine = open(&model, &faults, &clock, &vault, files.path(), latency);
        let caller = vault.local_caller();
        let stage = Self { engine, clock, vault, caller, faults, files, model, _still: still };
        stage.endpoint(Settings::default(), 1).await;
        stage
    }

    /// The server ends and starts again on the same data.
    pub fn restart(&mut self) {
        self.engine = open(&self.model, &self.faults, &self.clock, &self.vault, self.files.path(), None);
    }

    /// Replaces the endpoint.
    pub async fn endpoint(&self, settings: Settings, serving: u32) {
        let mut endpoint = Endpoint::new(ep(), "hello".into(), self.clock.now(), settings);
        endpoint.serving = Some(serving);
        self.engine.put_endpoint(endpoint).await.unwrap();
    }

    /// A worker that is known to the engine.
    pub fn worker(&self, id: &str, release: u32) -> WorkerCaller {
        let who = self.token(id, release);
        self.engine.register_worker(who.worker(), &ep(), release, None);
        who
    }

    /// A worker's identity.
    pub fn token(&self, id: &str, release: u32) -> WorkerCaller {
        let token = format!("token-of-{id}");
        self.vault.admit_worker(&WorkerRecord {
            id: WorkerId::new(id),
            endpoint: ep(),
            release,
            token_hash: hash(&token),
            state: WorkerState::Starting,
            cause: "queue".into(),
            gpus: vec![],
            created_at: self.clock.now(),
            started_at: None,
            ready_at: None,
            start: runyard_domain::start::Seen::default(),
            ended_at: None,
            pid: None,
            exit: None,
            stop_cause: None,
            sdk: None,
        });
        self.vault.worker_caller(&token).unwrap()
    }

    pub fn new_job(&self) -> NewJob {
        NewJob::new(self.engine.endpoint("ep").unwrap(), "{}")
    }

    pub async fn submit(&self) -> JobId {
        self.submit_as(self.new_job()).await
    }

    pub async fn submit_as(&self, new: NewJob) -> JobId {
        self.engine.submit(&self.caller, new).await.unwrap().job.id
    }

    /// A poll that is held for 20 s.
    pub fn poll(&self, who: &WorkerCaller) -> JoinHandle<Result<Take, EngineError>> {
        self.poll_as(who, ask(1))
    }

    pub fn poll_as(&self, who: &WorkerCaller, ask: Ask) -> JoinHandle<Result<Take, EngineError>> {
        let (engine, who) = (self.engine.clone(), who.clone());
        tokio::spawn(async move { engine.take(&who, ask).await })
    }

    /// Polls, and has the jobs.
    pub async fn take(&self, who: &WorkerCaller, max: usize) -> Vec<JobId> {
        let ask = Ask { hold: Duration::ZERO, ..ask(max) };
        ids(self.engine.take(who, ask).await.unwrap())
    }

    /// A job in the hands of this worker.
    pub async fn running(&self, who: &WorkerCaller) -> JobId {
        let job = self.submit().await;
        assert_eq!(self.take(who, 1).await, [job.clone()]);
        job
    }

    pub async fn finish(&self, who: &WorkerCaller, job: &JobId) -> Option<Job> {
        self.engine.finish(who, job, Answer::Success, Some("1".into())).await.unwrap()
    }

    pub async fn fail(&self, who: &WorkerCaller, job: &JobId) -> Option<Job> {
        let reason = FailReason::HandlerError { message: "no".into() };
        let answer = Answer::Failure { error: "no".into(), reason };
        self.engine.finish(who, job, answer, None).await.unwrap()
    }

    pub fn job(&self, id: &JobId) -> Job {
        self.engine.job(id).unwrap().unwrap()
    }

    pub fn is_waiting(&self, id: &JobId) -> bool {
        matches!(self.job(id).phase, Phase::Waiting { .. })
    }

    /// How many payload files there are.
    pub fn files(&self) -> usize {
        std::fs::read_dir(self.files.path()).unwrap().count()
    }

    /// Everything that can happen now has happened: all tasks rest and the writer has nothing left.
    pub async fn settle(&self) {
        let mut quiet = 0;
        while quiet < 2 {
            let before = self.faults.commands.load(Ordering::SeqCst);
            yields().await;
            let _ = self.engine.delivered(&JobId::new("nobody"), 0).await;
            yields().await;
            let others = self.faults.commands.load(Ordering::SeqCst) - before > 1;
            quiet = if others { 0 } else { quiet + 1 };
        }
    }

    /// The clock goes on, and whatever was due happens.
    pub async fn advance(&self, ms: i64) {
        self.settle().await;
        let step = (ms / 40).max(50);
        let mut left = ms;
        while left > 0 {
            let now = left.min(step);
            self.clock.now.fetch_add(now, Ordering::SeqCst);
            tokio::time::advance(Duration::from_millis(now as u64)).await;
            self.settle().await;
            left -= now;
        }
    }

    /// Only the wall clock moves: somebody set it.
    pub fn jump(&self, ms: i64) {
        self.clock.now.fetch_add(ms, Ordering::SeqCst);
    }
}

/// Lets every task that is awake run, without the writer's help.
pub async fn yields() {
    for _ in 0..30 {
        tokio::task::yield_now().await;
    }
}

fn open(
    model: &Arc<Mutex<MemoryStore>>,
    faults: &Arc<Faults>,
    clock: &Arc<Clock>,
    vault: &Arc<Vault>,
    files: &std::path::Path,
    latency: Option<Latency>,
) -> Engine {
    let store = TestStore { model: model.clone(), faults: faults.clone() };
    let blobs = Blobs::open(files).unwrap();
    let options = Options { store: Box::new(store), blobs, env: clock.clone(), vault: vault.clone() };
    match latency {
        Some(latency) => Engine::start_simulated(options, latency),
        None => Engine::start(options),
    }
    .unwrap()
}

pub fn ep() -> EndpointId {
    EndpointId::new("ep")
}

/// A question for up to `max` jobs that waits 20 s.
pub fn ask(max: usize) -> Ask {
    Ask { max, hold: Duration::from_secs(20), in_progress: true, prefetches: false, sdk: None }
}

/// The jobs of an answer, which the worker now has.
pub fn ids(take: Take) -> Vec<JobId> {
    match take {
        Take::Jobs(mut handover) => {
            handover.delivered();
            handover.jobs.iter().map(|handed| handed.job.id.clone()).collect()
        }
        Take::Nothing => vec![],
        Take::Drained => panic!("drained"),
    }
}

/// What a held poll was answered; it has to have been by now.
pub async fn answered(poll: JoinHandle<Result<Take, EngineError>>) -> Take {
    assert!(poll.is_finished(), "the poll is still held");
    poll.await.unwrap().unwrap()
}
