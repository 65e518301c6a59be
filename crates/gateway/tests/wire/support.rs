//! A house with one endpoint, a still clock and as many workers as a test asks for.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use runyard_domain::worker::WorkerState;
use runyard_domain::{
    Access, Endpoint, EndpointId, Env, Job, JobId, KeyRecord, Settings, Timestamp, WaitReason, WorkerId,
    WorkerRecord,
};
use runyard_engine::Engine;
use runyard_gateway::{Gateway, Options, Reasons, Timing, WorkerCounts};
use runyard_store::{Blobs, Filter, MemoryStore};
use runyard_vault::{KeyRequest, Sealer, Vault, hash};
use serde_json::Value;
use tower::ServiceExt as _;

/// A clock that a test sets and ids that count.
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
        let mut count = self.count.fetch_add(1, Ordering::SeqCst);
        // In digits that `Env::token` never skips, the fastest first: every id differs where it is cut.
        for byte in bytes.iter_mut().take(8) {
            *byte = (count % 200) as u8;
            count /= 200;
        }
    }
}

/// The fleet's answers, as a test sets them.
pub struct FakeFleet {
    pub waiting: Mutex<WaitReason>,
    pub counts: Mutex<WorkerCounts>,
}

impl Reasons for FakeFleet {
    fn waiting(&self, _: &Job) -> WaitReason {
        self.waiting.lock().unwrap().clone()
    }

    fn workers(&self, _: &EndpointId) -> WorkerCounts {
        self.counts.lock().unwrap().clone()
    }
}

pub struct House {
    pub engine: Engine,
    pub env: Arc<StillEnv>,
    pub fleet: Arc<FakeFleet>,
    pub refreshed: Arc<Mutex<Vec<String>>>,
    /// A key that may do everything.
    pub key: String,
    pub router: Router,
    _blobs: tempfile::TempDir,
}

/// A worker of endpoint `ep1`.
pub struct TestWorker {
    pub id: WorkerId,
    pub token: String,
    pub base: String,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Short enough to wait for, long enough not to end by chance.
pub fn quick() -> Timing {
    Timing {
        take_hold: Duration::from_millis(150),
        busy_take_hold: Duration::from_millis(20),
        drained_pause: Duration::from_millis(30),
        error_pause: Duration::from_millis(30),
        auth_pause: Duration::from_millis(60),
        sync_wait: Duration::from_millis(150),
        stream_hold: Duration::from_millis(150),
        cancelled_stream: Duration::from_secs(5),
        budget_wait: Duration::from_millis(100),
        body_silence: Duration::from_millis(300),
        body_rate: 0,
    }
}

/// Holds that never end within a test: what waits has to be woken.
pub fn patient() -> Timing {
    let long = Duration::from_mins(1);
    Timing { take_hold: long, sync_wait: long, stream_hold: long, ..quick() }
}

impl House {
    pub async fn quick() -> Self {
        Self::new(Options { timing: quick(), ..Options::default() }).await
    }

    pub async fn patient() -> Self {
        Self::new(Options { timing: patient(), ..Options::default() }).await
    }

    pub async fn new(mut options: Options) -> Self {
        let blobs = tempfile::tempdir().unwrap();
        let env = Arc::new(StillEnv { now: AtomicI64::new(1_000_000), count: AtomicU64::new(0) });
        let vault = Arc::new(Vault::new(env.clone(), Sealer::new([7; 32]), vec![]));
        let files = Blobs::open(blobs.path()).unwrap();
        let engine = Engine::start(runyard_engine::Options {
            store: Box::new(MemoryStore::with_blobs(files.clone())),
            blobs: files,
            env: env.clone(),
            vault,
        })
        .unwrap();
        let fleet = Arc::new(FakeFleet {
            waiting: Mutex::new(WaitReason::AboutToBeTaken),
            counts: Mutex::new(WorkerCounts::default()),
        });
        let refreshed = Arc::new(Mutex::new(Vec::new()));
        let told = refreshed.clone();
        options.on_refresh = Arc::new(move |worker| told.lock().unwrap().push(worker.to_string()));
        let gateway = Gateway::new(engine.clone(), fleet.clone(), options);
        let router =
            runyard_gateway::job_routes(gateway.clone()).merge(runyard_gateway::worker_routes(gateway));
        let mut house = Self { engine, env, fleet, refreshed, key: String::new(), router, _blobs: blobs };
        house.key = house.key(Access::Admin, &[], None).1;
        house.endpoint("ep1", "hello", Settings::default()).await;
        house
    }

    pub async fn endpoint(&self, id: &str, name: &str, settings: Settings) {
        let mut endpoint = Endpoint::new(EndpointId::new(id), name.into(), self.env.now(), settings);
        endpoint.serving = Some(1);
        self.engine.put_endpoint(endpoint).await.unwrap();
    }

    pub fn key(&self, access: Access, endpoints: &[&str], expires_at: Option<i64>) -> (KeyRecord, String) {
        let (record, key) = self.engine.vault().make_key(KeyRequest {
            name: "test".into(),
            access,
            endpoints: endpoints.iter().map(|e| EndpointId::new(*e)).collect(),
            expires_at: expires_at.map(Timestamp),
        });
        self.engine.vault().learn(record.clone());
        (record, key)
    }

    pub fn advance(&self, ms: i64) {
        self.env.now.fetch_add(ms, Ordering::SeqCst);
    }

    pub fn worker(&self, id: &str) -> TestWorker {
        self.worker_of(id, "ep1")
    }

    pub fn worker_of(&self, id: &str, endpoint: &str) -> TestWorker {
        let token = format!("token-of-{id}");
        let record = WorkerRecord {
            id: WorkerId::new(id),
            endpoint: EndpointId::new(endpoint),
            release: 1,
            token_hash: hash(&token),
            state: WorkerState::Ready,
            cause: "queue".into(),
            gpus: vec![],
            created_at: self.env.now(),
            started_at: None,
            ready_at: None,
            start: runyard_domain::start::Seen::default(),
            ended_at: None,
            pid: None,
            exit: None,
            stop_cause: None,
            sdk: None,
        };
        self.engine.vault().admit_worker(&record);
        self.engine.register_worker(&record.id, &record.endpoint, 1, None);
        TestWorker { id: record.id, base: format!("/w/{token}/v2/{endpoint}"), token }
    }

    /// Sends a request and takes the whole answer.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// A call with the key that may do everything.
    pub async fn call(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        let bearer = format!("Bearer {}", self.key);
        let request = Request::builder().method(method).uri(path).header("authorization", bearer);
        let request = request.header("x-request-id", "req-0");
        self.send(request.body(body.into()).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, Body::empty()).await
    }

    pub async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.call(Method::POST, path, body).await
    }

    /// Submits and says the job's id.
    pub async fn run(&self, input: &str) -> String {
        let answer = self.post("/v2/ep1/run", format!("{{\"input\":{input}}}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub async fn status(&self, job: &str) -> Value {
        let answer = self.get(&format!("/v2/ep1/status/{job}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// A worker's call, as the Python SDK sends it.
    pub async fn work(&self, method: Method, path: String, body: impl Into<Body>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", "whatever the SDK has")
            .header("user-agent", "RunPod-Python-SDK/1.12.0 (Linux; x86_64) Language/Python 3.11.7")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-request-id", "the-last-job");
        self.send(request.body(body.into()).unwrap()).await
    }

    pub async fn take(&self, worker: &TestWorker) -> Answer {
        let path = format!("{}/job-take/{}?gpu=&job_in_progress=0", worker.base, worker.id);
        self.work(Method::GET, path, Body::empty()).await
    }

    pub async fn done(&self, worker: &TestWorker, job: &str, body: impl Into<Body>) -> Answer {
        let path = format!("{}/job-done/{}/{job}?gpu=&isStream=false", worker.base, worker.id);
        self.work(Method::POST, path, body).await
    }

    pub async fn chunk(&self, worker: &TestWorker, job: &str, value: &str) -> Answer {
        let path = format!("{}/job-stream/{}/{job}?gpu=&isStream=false", worker.base, worker.id);
        self.work(Method::POST, path, format!("{{\"output\":{value}}}")).await
    }

    /// A job in the hands of a worker.
    pub async fn running(&self, worker: &TestWorker, input: &str) -> String {
        let job = self.run(input).await;
        let taken = self.take(worker).await;
        assert_eq!(taken.json()["id"], job.as_str());
        job
    }

    /// Every job there is.
    pub fn all_jobs(&self) -> Vec<Job> {
        self.engine.reader().jobs(&Filter::default()).unwrap()
    }

    /// The job as the engine knows it.
    pub fn job(&self, id: &str) -> Job {
        self.engine.job(&JobId::new(id)).unwrap().unwrap()
    }

    /// Serves on a port of its own.
    pub async fn listen(&self) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        address
    }
}

/// Waits until something holds; looks again after every change that the engine publishes, and now and then.
pub async fn until(house: &House, what: &str, holds: impl Fn() -> bool) {
    let mut changes = house.engine.watch();
    let look = async {
        while !holds() {
            let _ = tokio::time::timeout(Duration::from_millis(20), changes.recv()).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), look).await.is_ok(), "never: {what}");
}

/// A body whose pieces a test sends.
pub fn receive(
    mut from: tokio::sync::mpsc::Receiver<Bytes>,
) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, std::io::Error>> {
    futures_util::stream::poll_fn(move |cx| from.poll_recv(cx).map(|piece| piece.map(|p| Ok(Frame::data(p)))))
}
