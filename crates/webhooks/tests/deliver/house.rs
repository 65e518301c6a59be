//! A store with jobs in it, an engine on the store, and webhooks on the engine. Each can be taken away and set
//! up again on the same folder.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use runyard_domain::delivery::{DeliveryState, Heard};
use runyard_domain::job::Answer;
use runyard_domain::{
    Delivery, EndpointId, Env, FailReason, Job, JobId, Payload, Phase, Policy, Timestamp, WorkerId,
};
use runyard_engine::{Change, Engine};
use runyard_store::{Blobs, Command, SqliteStore, Store, Submission};
use runyard_vault::{Sealer, Vault};
use runyard_webhooks::{Handle, Options, Reach, Webhooks};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::receiver::SOON;

/// A clock that a test sets, and numbers that count.
#[derive(Debug)]
pub struct StillEnv {
    now: AtomicI64,
    count: AtomicU64,
}

impl Env for StillEnv {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }

    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
        let count = self.count.fetch_add(1, Ordering::SeqCst).to_le_bytes();
        let length = bytes.len().min(count.len());
        bytes[..length].copy_from_slice(&count[..length]);
    }
}

pub struct House {
    pub dir: TempDir,
    pub env: Arc<StillEnv>,
}

/// When a house's time begins.
pub const START: i64 = 1_700_000_000_000;

/// A house in which webhooks go out.
pub struct Open {
    pub house: House,
    pub engine: Engine,
    pub handle: Handle,
    running: JoinHandle<()>,
}

impl House {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, env: Arc::new(StillEnv { now: AtomicI64::new(START), count: AtomicU64::new(0) }) }
    }

    pub fn advance(&self, ms: i64) {
        self.env.now.fetch_add(ms, Ordering::SeqCst);
    }

    fn store(&self) -> (SqliteStore, Blobs) {
        let blobs = Blobs::open(self.dir.path().join("blobs")).unwrap();
        let store = SqliteStore::open(&self.dir.path().join("db"), blobs.clone()).unwrap();
        (store, blobs)
    }

    /// Commits to the store while nobody else has it: what a server did before it was killed.
    pub fn commit(&self, commands: &[Command]) {
        self.store().0.commit(self.env.now(), commands).unwrap();
    }

    /// A job with a webhook that has ended, with its output or its error.
    pub fn ended(&self, id: &str, url: &str, input: &str, end: Result<&str, &str>) {
        let (mut store, blobs) = self.store();
        let keep = |kind: &str, text: &str| {
            if text.len() <= runyard_store::SPILL_ABOVE {
                Payload::inline(text.to_owned())
            } else {
                blobs.put(&format!("{id}-{kind}"), text.as_bytes()).unwrap()
            }
        };
        let submission = Submission { input: keep("in", input), ..submission(id, url, self.env.now()) };
        let (job, worker) = (JobId::new(id), WorkerId::new("w"));
        let (answer, output) = match end {
            Ok(output) => (Answer::Success, Some(keep("out", output))),
            Err(error) => {
                let reason = FailReason::HandlerError { message: error.into() };
                (Answer::Failure { error: error.into(), reason }, None)
            }
        };
        let commands = [
            Command::Submit(Box::new(submission)),
            Command::Take {
                endpoint: EndpointId::new("e"),
                worker: worker.clone(),
                release: 1,
                pinned_only: false,
                max: 1,
                ahead: 0,
            },
            Command::Finish { job, worker, answer, output, posted: None },
        ];
        store.commit(self.env.now(), &commands).unwrap();
    }

    /// Starts an engine and lets webhooks to this machine go out.
    pub fn open(self) -> Open {
        self.open_as(|options| Options { reach: Reach::PublicAndLoopback, ..options })
    }

    pub fn open_as(self, change: impl FnOnce(Options) -> Options) -> Open {
        let (store, blobs) = self.store();
        let engine = Engine::start(runyard_engine::Options {
            store: Box::new(store),
            blobs,
            env: self.env.clone(),
            vault: Arc::new(Vault::new(self.env.clone(), Sealer::new([7; 32]), vec![])),
        })
        .unwrap();
        let webhooks = Webhooks::new(change(Options::new(engine.clone())));
        let handle = webhooks.handle();
        Open { house: self, engine, handle, running: tokio::spawn(webhooks.run()) }
    }
}

impl Open {
    /// Moves the clock.
    pub fn advance(&self, ms: i64) {
        self.house.advance(ms);
        self.handle.nudge();
    }

    pub fn deliveries(&self, job: &str) -> Vec<Delivery> {
        self.engine.reader().deliveries(&JobId::new(job)).unwrap()
    }

    /// The first delivery of a job once `done` holds of it.
    pub async fn until(&self, job: &str, done: impl Fn(&Delivery) -> bool) -> Delivery {
        let mut changes = self.engine.watch();
        let look = async {
            loop {
                if let Some(delivery) = self.deliveries(job).into_iter().next().filter(&done) {
                    return delivery;
                }
                while !matches!(changes.recv().await, Ok(Change::Deliveries)) {}
            }
        };
        let found = tokio::time::timeout(SOON, look).await;
        found.unwrap_or_else(|_| panic!("it never came to that: {:?}", self.deliveries(job)))
    }

    pub async fn tried(&self, job: &str, times: u32) -> Delivery {
        self.until(job, |delivery| delivery.tried >= times).await
    }

    pub async fn delivered(&self, job: &str) -> Delivery {
        self.until(job, |delivery| matches!(delivery.state, DeliveryState::Delivered { .. })).await
    }

    /// The words about the first try.
    pub async fn words(&self, job: &str) -> String {
        match self.tried(job, 1).await.tries.remove(0).heard {
            Heard::Error(words) => words,
            Heard::Status(status) => panic!("answered with {status}"),
        }
    }

    /// Ends everything at once, as a kill would.
    pub async fn kill(self) -> House {
        self.running.abort();
        let _ = self.running.await;
        drop(self.engine);
        // The writer's thread lets go of the store a moment later.
        let free = || {
            let blobs = Blobs::open(self.house.dir.path().join("blobs")).unwrap();
            SqliteStore::open(&self.house.dir.path().join("db"), blobs).is_ok()
        };
        while !free() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.house
    }
}

pub fn submission(id: &str, url: &str, now: Timestamp) -> Submission {
    let job = Job {
        id: JobId::new(id),
        endpoint: EndpointId::new("e"),
        seq: 0,
        sync: false,
        submitted_at: now,
        submitted_by: "local".into(),
        policy: Policy { execution_timeout_ms: 0, ttl_ms: 60_000, low_priority: false },
        expires_at: now.plus(60_000),
        requeues: 1,
        retention_ms: 1_000,
        pinned: None,
        batch: None,
        webhook: Some(url.into()),
        has_s3: false,
        attempt: 0,
        losses: 0,
        lost_by: vec![],
        attempts: vec![],
        phase: Phase::Waiting { since: now },
    };
    Submission { job, input: Payload::Inline(Bytes::from_static(b"1")), s3: None, idempotency_key: None }
}
