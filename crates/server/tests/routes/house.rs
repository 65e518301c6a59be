//! Job API, worker protocol and management API over one memory store, with two endpoints, a job, a worker of each,
//! and keys of every kind.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response};
use runyard_console::Console;
use runyard_domain::worker::WorkerState;
use runyard_domain::{
    Access, Endpoint, EndpointId, Job, KeyRecord, Settings, Timestamp, WaitReason, WorkerId, WorkerRecord,
};
use runyard_engine::{Engine, NewJob, SystemEnv};
use runyard_fleet::Fleet;
use runyard_gateway::{Gateway, Reasons, Timing, WorkerCounts};
use runyard_listener::raise_open_files;
use runyard_manage::{DiskAccount, DiskKeeper, Info, Manage};
use runyard_runtime::fake::FakeRuntime;
use runyard_runtime::{Paths, Pending};
use runyard_server::operator::{self, Operator};
use runyard_server::{Config, Flags};
use runyard_store::{Blobs, Filter, MemoryStore};
use runyard_vault::{KeyRequest, Sealer, Vault, hash};
use tower::ServiceExt as _;

/// The endpoint that keys are tried on, and the one that others are for.
pub const OWN: &str = "own";
pub const OTHER: &str = "other";

struct NoReasons;

impl Reasons for NoReasons {
    fn waiting(&self, _: &Job) -> WaitReason {
        WaitReason::AboutToBeTaken
    }
    fn workers(&self, _: &EndpointId) -> WorkerCounts {
        WorkerCounts::default()
    }
}

pub struct House {
    pub engine: Engine,
    pub routes: Router,
    /// A job of the endpoint [`OWN`].
    pub job: String,
    /// The public part of the first key.
    pub key_id: String,
    _files: tempfile::TempDir,
}

impl House {
    pub async fn new() -> Self {
        let files = tempfile::tempdir().expect("a folder");
        let env = Arc::new(SystemEnv);
        let vault = Arc::new(Vault::new(env.clone(), Sealer::new([7; 32]), vec![]));
        let blobs = Blobs::open(files.path().join("blobs")).expect("a folder");
        let store = Box::new(MemoryStore::with_blobs(blobs.clone()));
        let engine = Engine::start(runyard_engine::Options { store, blobs, env, vault }).expect("an engine");
        for id in [OWN, OTHER] {
            let endpoint =
                Endpoint::new(EndpointId::new(id), id.to_owned(), engine.now(), Settings::default());
            engine.put_endpoint(endpoint).await.expect("kept");
        }
        let owner = engine.vault().local_caller();
        let endpoint = engine.endpoint(OWN).expect("just made");
        let job = engine.submit(&owner, NewJob::new(endpoint, "1")).await.expect("accepted").job.id;
        engine.put_worker(worker("own-worker", OWN, "unused")).await.expect("kept");
        let routes = routes(&engine, &files);
        let job = job.to_string();
        let mut house = Self { engine, routes, job, key_id: String::new(), _files: files };
        house.key_id = house.key(Access::Admin, &[], |_| {}).await.0.id.to_string();
        house
    }

    /// A key, after `change` of its record.
    pub async fn key(
        &self,
        access: Access,
        endpoints: &[&str],
        change: impl FnOnce(&mut KeyRecord),
    ) -> (KeyRecord, String) {
        let endpoints = endpoints.iter().map(|e| EndpointId::new(*e)).collect();
        let request = KeyRequest { name: "test".into(), access, endpoints, expires_at: None };
        let (mut record, key) = self.engine.vault().make_key(request);
        change(&mut record);
        self.engine.put_key(record.clone()).await.expect("kept");
        (record, key)
    }

    /// A worker's token.
    pub fn worker(&self, id: &str, endpoint: &str) -> String {
        let token = format!("token-of-{id}");
        let record = worker(id, endpoint, &token);
        self.engine.vault().admit_worker(&record);
        self.engine.register_worker(&record.id, &record.endpoint, 1, None);
        token
    }

    pub async fn send(&self, request: Request<Body>) -> (Response<()>, String) {
        let (parts, body) = self.routes.clone().oneshot(request).await.expect("infallible").into_parts();
        // Answers that go on for ever are cut: what matters is that they began.
        let body = tokio::time::timeout(Duration::from_secs(5), to_bytes(body, 1 << 20)).await;
        let body = body.map_or(Ok(Vec::new().into()), |read| read).expect("a whole answer");
        (Response::from_parts(parts, ()), String::from_utf8_lossy(&body).into_owned())
    }

    /// Everything that a call could have changed.
    pub fn state(&self) -> String {
        let reader = self.engine.reader();
        let jobs = reader.jobs(&Filter::default()).expect("jobs");
        let keys = reader.keys().expect("keys");
        let connections = reader.connections().expect("connections");
        let registries = reader.registries().expect("registries");
        let secrets = reader.secrets().expect("secrets");
        let releases = [OWN, OTHER].map(|id| reader.releases(&EndpointId::new(id)).expect("releases"));
        format!(
            "{:?} {jobs:?} {keys:?} {secrets:?} {releases:?} {connections:?} {registries:?}",
            self.engine.endpoints()
        )
    }
}

/// A worker's record.
fn worker(id: &str, endpoint: &str, token: &str) -> WorkerRecord {
    WorkerRecord {
        id: WorkerId::new(id),
        endpoint: EndpointId::new(endpoint),
        release: 1,
        token_hash: hash(token),
        state: WorkerState::Ready,
        cause: "queue".into(),
        gpus: vec![],
        created_at: Timestamp(0),
        started_at: None,
        ready_at: None,
        start: runyard_domain::start::Seen::default(),
        ended_at: None,
        pid: None,
        exit: None,
        stop_cause: None,
        sdk: None,
    }
}

struct EmptyDisk;

impl DiskKeeper for EmptyDisk {
    fn usage(&self) -> Pending<'_, Result<Vec<DiskAccount>, String>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn prune(&self) -> Pending<'_, Result<Vec<DiskAccount>, String>> {
        self.usage()
    }
}

fn routes(engine: &Engine, files: &tempfile::TempDir) -> Router {
    let short = Duration::from_millis(1);
    let timing = Timing {
        take_hold: short,
        busy_take_hold: short,
        drained_pause: short,
        error_pause: short,
        auth_pause: short,
        sync_wait: short,
        stream_hold: short,
        ..Timing::default()
    };
    let options = runyard_gateway::Options { timing, ..runyard_gateway::Options::default() };
    let gateway = Gateway::new(engine.clone(), Arc::new(NoReasons), options);
    let fleet = Fleet::new(runyard_fleet::Options {
        engine: engine.clone(),
        runtime: Arc::new(FakeRuntime::new()),
        gpus: Vec::new(),
        cpus: 1,
        memory_gb: 1,
        volumes: std::path::PathBuf::new(),
        idle_drain_ms: 1_000,
    });
    let folder = |name: &str| {
        let path = files.path().join(name);
        std::fs::create_dir_all(&path).expect("made");
        path
    };
    let operator = Operator::new(operator::Options {
        engine: engine.clone(),
        runtime: Arc::new(FakeRuntime::new()),
        paths: Paths::new(files.path()),
        blobs: Blobs::open(files.path().join("blobs")).expect("a folder"),
        config: Config::load(&files.path().join("server.toml"), &Flags::default()).expect("no file"),
        tls: None,
        address: None,
        files: raise_open_files(),
        latest: operator::Latest::default(),
    });
    let manage = Manage::new(runyard_manage::Options {
        engine: engine.clone(),
        fleet,
        bundles: folder("bundles"),
        envs: folder("envs"),
        tools: folder("tools"),
        confine: None,
        logs: folder("logs"),
        git: folder("git"),
        git_reach: runyard_webhooks::Reach::Public,
        containers: runyard_manage::Containers::default(),
        info: Info {
            data: String::new(),
            listen: String::new(),
            url: String::new(),
            boundary: String::new(),
            config: Vec::new(),
            started_at: 0,
            open: false,
            offline: false,
        },
        disk: Arc::new(EmptyDisk),
        catalogue: Vec::new(),
        rest: runyard_manage::RestOptions::default(),
        sign_in: runyard_manage::SignInOptions::default(),
    });
    let jobs = runyard_gateway::job_routes(gateway.clone());
    let calls = manage.routes();
    let console = Console::new(runyard_console::Options {
        engine: engine.clone(),
        runtime: Arc::new(FakeRuntime::new()),
        api: jobs
            .clone()
            .merge(calls.clone())
            .merge(manage.doors())
            .merge(manage.sessions())
            .merge(manage.rest_routes())
            .merge(operator.routes()),
        url: "http://runyard.test".to_owned(),
        open: false,
    });
    jobs.merge(runyard_gateway::worker_routes(gateway))
        .merge(calls)
        .merge(console.routes())
        .merge(manage.sessions())
        .merge(manage.rest_routes())
        .merge(manage.doors())
        .merge(operator.routes())
        .fallback(runyard_manage::nothing_there)
}

/// A request with a body that every call can read.
pub fn request(method: &str, path: &str, authorization: Option<&[u8]>) -> Request<Body> {
    let method: Method = method.parse().expect("a method");
    let mut request = Request::builder().method(method).uri(path).header("x-request-id", "r");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let body = r#"{"input":1,"name":"new","access":"read","bundle":"0"}"#;
    request.body(Body::from(body)).expect("a request")
}
