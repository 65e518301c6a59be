//! What the cases stand on: a store with a clock that is set by hand, and short ways to say commands.

use std::collections::BTreeSet;
use std::sync::Arc;

use runyard_domain::batch::{Batch, BatchState};
use runyard_domain::delivery::{Heard, Try};
use runyard_domain::job::{Answer, Loss};
use runyard_domain::{
    BatchId, DeliveryId, Endpoint, EndpointId, FailReason, Job, JobId, KeyId, KeyRecord, Payload, Phase,
    Policy, Release, ReleaseState, SecretRecord, Settings, Timestamp, WorkerId, WorkerRecord, key,
    worker::WorkerState,
};
use runyard_store::{
    Blobs, Command, Filter, MemoryStore, Reader, Refused, Reply, SqliteStore, Store, Submission, Taken, Which,
};
use tempfile::TempDir;

pub struct Bench {
    pub store: Box<dyn Store>,
    pub reader: Arc<dyn Reader>,
    pub blobs: Blobs,
    pub now: i64,
    pub dir: TempDir,
}

impl Bench {
    pub fn memory() -> Self {
        Self::new(|_, blobs| Box::new(MemoryStore::with_blobs(blobs)))
    }

    pub fn sqlite() -> Self {
        Self::new(|dir, blobs| Box::new(SqliteStore::open(&dir.path().join("db"), blobs).unwrap()))
    }

    fn new(make: impl Fn(&TempDir, Blobs) -> Box<dyn Store>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path().join("blobs")).unwrap();
        let store = make(&dir, blobs.clone());
        Self { reader: store.reader(), store, blobs, now: 1_000, dir }
    }

    /// Closes the SQLite store and opens it again.
    pub fn reopen(self) -> Self {
        let Self { store, reader, blobs, now, dir } = self;
        drop((store, reader));
        let store: Box<dyn Store> =
            Box::new(SqliteStore::open(&dir.path().join("db"), blobs.clone()).unwrap());
        Self { reader: store.reader(), store, blobs, now, dir }
    }

    pub fn all(&mut self, commands: &[Command]) -> Vec<Reply> {
        let replies = self.store.commit(Timestamp(self.now), commands).unwrap();
        assert_eq!(replies.len(), commands.len());
        replies
    }

    pub fn one(&mut self, command: Command) -> Reply {
        self.all(&[command]).remove(0)
    }

    /// Submits a plain job of endpoint `e`.
    pub fn submit(&mut self, id: &str) -> Job {
        let submission = submission(id, self.now);
        self.submit_as(submission)
    }

    pub fn submit_as(&mut self, submission: Submission) -> Job {
        match self.one(Command::Submit(Box::new(submission))) {
            Reply::Submitted { job, existing: false } => *job,
            other => panic!("{other:?}"),
        }
    }

    /// Worker `w` of release 1 takes up to `max` jobs of endpoint `e`: their ids.
    pub fn take(&mut self, w: &str, max: usize) -> Vec<String> {
        self.taken(take(w, max)).into_iter().map(|t| t.job.id.to_string()).collect()
    }

    pub fn taken(&mut self, command: Command) -> Vec<Taken> {
        match self.one(command) {
            Reply::Taken(taken) => taken,
            other => panic!("{other:?}"),
        }
    }

    /// A command that must succeed on one job.
    pub fn job(&mut self, command: Command) -> Job {
        match self.one(command) {
            Reply::Job(job) => *job,
            other => panic!("{other:?}"),
        }
    }

    /// A command on several jobs: the ids that changed.
    pub fn jobs(&mut self, command: Command) -> Vec<String> {
        match self.one(command) {
            Reply::Jobs(jobs) => jobs.into_iter().map(|job| job.id.to_string()).collect(),
            other => panic!("{other:?}"),
        }
    }

    pub fn refused(&mut self, command: Command) -> Refused {
        match self.one(command) {
            Reply::Refused(refused) => refused,
            other => panic!("{other:?}"),
        }
    }

    pub fn get(&self, id: &str) -> Job {
        self.reader.job(&j(id)).unwrap().unwrap()
    }

    pub fn listed(&self, filter: &Filter) -> Vec<String> {
        self.reader.jobs(filter).unwrap().into_iter().map(|job| job.id.to_string()).collect()
    }

    /// The stream of a job that was not delivered yet, as text, and whether more remains.
    pub fn stream(&self, id: &str, max_bytes: u64) -> (Vec<(u64, String)>, bool) {
        let (chunks, more) = self.reader.undelivered(&j(id), max_bytes).unwrap();
        (chunks.into_iter().map(|c| (c.index, self.text(&c.value))).collect(), more)
    }

    pub fn text(&self, payload: &Payload) -> String {
        String::from_utf8(self.blobs.read(payload).unwrap().to_vec()).unwrap()
    }

    /// Puts a payload into a file.
    pub fn file(&self, name: &str) -> Payload {
        self.blobs.put(name, format!("\"in {name}\"").as_bytes()).unwrap()
    }

    /// The names of all payload files.
    pub fn files(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.dir.path().join("blobs")).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }
}

pub fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

pub fn j(id: &str) -> JobId {
    JobId::new(id)
}

pub fn w(id: &str) -> WorkerId {
    WorkerId::new(id)
}

pub fn e(id: &str) -> EndpointId {
    EndpointId::new(id)
}

pub fn text(value: &str) -> Payload {
    Payload::inline(value.to_owned())
}

/// A job of endpoint `e`: 5 s execution timeout, 60 s TTL, one requeue, kept for 10 s.
pub fn submission(id: &str, now: i64) -> Submission {
    let job = Job {
        id: j(id),
        endpoint: e("e"),
        seq: 0,
        sync: false,
        submitted_at: Timestamp(now),
        submitted_by: "local".into(),
        policy: Policy { execution_timeout_ms: 5_000, ttl_ms: 60_000, low_priority: false },
        expires_at: Timestamp(now + 60_000),
        requeues: 1,
        retention_ms: 10_000,
        pinned: None,
        batch: None,
        webhook: None,
        has_s3: false,
        attempt: 0,
        losses: 0,
        lost_by: vec![],
        attempts: vec![],
        phase: Phase::Waiting { since: Timestamp(now) },
    };
    Submission { job, input: text(&format!("\"input of {id}\"")), s3: None, idempotency_key: None }
}

/// A draft of an endpoint, kept for 10 s once it has ended.
pub fn batch(id: &str, endpoint: &str, now: i64) -> Batch {
    Batch {
        id: BatchId::new(id),
        endpoint: e(endpoint),
        name: None,
        created_at: Timestamp(now),
        created_by: "local".into(),
        retention_ms: 10_000,
        state: BatchState::Draft { touched_at: Timestamp(now) },
    }
}

/// A request of a batch.
pub fn request(id: &str, batch: &Batch, now: i64, input: Payload) -> Submission {
    let mut made = of(batch.endpoint.as_str(), submission(id, now));
    made.job.batch = Some(batch.id.clone());
    made.job.phase = Phase::Draft { since: Timestamp(now) };
    Submission { input, ..made }
}

pub fn low(mut submission: Submission) -> Submission {
    submission.job.policy.low_priority = true;
    submission
}

pub fn pinned(release: u32, mut submission: Submission) -> Submission {
    submission.job.pinned = Some(release);
    submission
}

pub fn of(endpoint: &str, mut submission: Submission) -> Submission {
    submission.job.endpoint = e(endpoint);
    submission
}

pub fn webhook(url: &str, mut submission: Submission) -> Submission {
    submission.job.webhook = Some(url.into());
    submission
}

pub fn keyed(key: &str, mut submission: Submission) -> Submission {
    submission.idempotency_key = Some(key.into());
    submission
}

pub fn submit(submission: Submission) -> Command {
    Command::Submit(Box::new(submission))
}

pub fn take(worker: &str, max: usize) -> Command {
    Command::Take { endpoint: e("e"), worker: w(worker), release: 1, pinned_only: false, max, ahead: 0 }
}

pub fn finish(id: &str, worker: &str, output: Option<Payload>) -> Command {
    Command::Finish { job: j(id), worker: w(worker), answer: Answer::Success, output, posted: None }
}

pub fn fail(id: &str, worker: &str) -> Command {
    let reason = FailReason::HandlerError { message: "no".into() };
    let answer = Answer::Failure { error: "no".into(), reason };
    Command::Finish { job: j(id), worker: w(worker), answer, output: None, posted: None }
}

pub fn progress(id: &str, worker: &str, value: Payload) -> Command {
    Command::Progress { job: j(id), worker: w(worker), value }
}

pub fn chunk(id: &str, worker: &str, number: Option<u64>, value: &str) -> Command {
    Command::Chunk { job: j(id), worker: w(worker), number, value: text(value) }
}

pub fn delivered(id: &str, upto: u64) -> Command {
    Command::Delivered { job: j(id), upto }
}

pub fn lose(worker: &str, which: Which, spends: bool) -> Command {
    let loss = Loss { reason: FailReason::WorkerLost { exit: None, attempts: 0 }, spends };
    Command::Lose { worker: w(worker), which, loss }
}

pub fn give_back(worker: &str, which: Which) -> Command {
    Command::GiveBack { worker: w(worker), which }
}

pub fn cancel(id: &str) -> Command {
    Command::Cancel { job: j(id), by: "me".into() }
}

/// A try to deliver that was answered with `status`.
pub fn tried(delivery: &DeliveryId, at: i64, status: u16, again: Option<Timestamp>) -> Command {
    let tried = Try { at: Timestamp(at), ms: 3, heard: Heard::Status(status) };
    Command::Tried { delivery: delivery.clone(), tried, again }
}

pub fn retry(id: &str) -> Command {
    Command::Retry { job: j(id) }
}

pub fn expire(id: &str) -> Command {
    Command::Expire { job: j(id) }
}

pub fn endpoint(id: &str, name: &str) -> Endpoint {
    Endpoint::new(e(id), name.into(), Timestamp(5), Settings::default())
}

pub fn release(endpoint: &str, number: u32) -> Release {
    Release {
        endpoint: e(endpoint),
        number,
        created_at: Timestamp(i64::from(number)),
        created_by: "local".into(),
        state: ReleaseState::Ready,
        handler: "handler.py".into(),
        bundle: "00".into(),
        environment: "11".into(),
        python: "3.11.7".into(),
        python_wish: runyard_domain::PythonWish::default(),
        launch: None,
        env: [("A".to_owned(), "1".to_owned())].into(),
        secure_env: std::collections::BTreeMap::new(),
        env_read: vec!["B".into()],
        gpus: 1.into(),
        given: None,
        note: None,
        commit: None,
        took_ms: None,
    }
}

pub fn worker(id: &str, endpoint: &str, created_at: i64, state: WorkerState) -> WorkerRecord {
    WorkerRecord {
        id: w(id),
        endpoint: e(endpoint),
        release: 1,
        token_hash: "22".into(),
        state,
        cause: "queue".into(),
        gpus: vec![0],
        created_at: Timestamp(created_at),
        started_at: None,
        ready_at: None,
        start: runyard_domain::start::Seen::default(),
        ended_at: None,
        pid: Some(7),
        exit: None,
        stop_cause: None,
        sdk: None,
    }
}

pub fn key_record(id: &str, created_at: i64) -> KeyRecord {
    KeyRecord {
        id: KeyId::new(id),
        name: id.into(),
        hash: "33".into(),
        access: key::Access::Run,
        endpoints: vec![e("e")],
        created_at: Timestamp(created_at),
        expires_at: None,
        revoked_at: None,
        rates: runyard_domain::Rates::default(),
        grants: std::collections::BTreeMap::new(),
        disabled_at: None,
        used_at: None,
        page: None,
        member: None,
        session: None,
    }
}

pub fn secret_record(name: &str, version: u32) -> SecretRecord {
    SecretRecord {
        name: name.into(),
        description: None,
        version,
        created_at: Timestamp(1),
        updated_at: Timestamp(i64::from(version)),
        used_at: None,
        sealed: "c2VhbGVk".into(),
    }
}
