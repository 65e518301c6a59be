//! A data directory with an agent, and the test as its server.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use runyard_domain::{EndpointId, Exit, WorkerId};
use runyard_logs::{Query, Reader, Record};
use runyard_runtime::process::ProcessRuntime;
use runyard_runtime::{Limits, Observed, Paths, Runtime as _, WorkerSpec};
use tempfile::TempDir;

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(40);

/// Waits for something that has to come.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let value = tokio::time::timeout(DEADLINE, future).await.ok();
    value.unwrap_or_else(|| panic!("{what} did not come"))
}

/// Waits until something holds that sends no event.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(what, waiting).await;
}

pub fn exe() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_runyard-agent-test"))
}

pub struct Harness {
    pub runtime: ProcessRuntime,
    pub paths: Paths,
    pub code: PathBuf,
    _dir: TempDir,
}

impl Harness {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        Self::in_dir(dir).await
    }

    pub async fn in_dir(dir: TempDir) -> Self {
        let data = dir.path().canonicalize().unwrap().join("data");
        std::fs::create_dir(&data).unwrap();
        let code = data.join("bundles").join("code");
        std::fs::create_dir_all(&code).unwrap();
        let paths = Paths::new(data);
        let runtime = within("an agent", ProcessRuntime::connect(paths.clone(), exe())).await.unwrap();
        Self { runtime, paths, code, _dir: dir }
    }

    pub fn spec(&self, id: &str, command: &[&str]) -> WorkerSpec {
        WorkerSpec {
            id: WorkerId::new(id),
            endpoint: EndpointId::new("ep"),
            release: 1,
            token: format!("token-{id}"),
            command: command.iter().map(ToString::to_string).collect(),
            code_dir: self.code.display().to_string(),
            in_place: false,
            read_dirs: Vec::new(),
            volumes: Vec::new(),
            env: BTreeMap::new(),
            secrets: vec![],
            limits: Limits::default(),
            image: None,
        }
    }

    /// Starts a shell script.
    pub async fn sh(&self, id: &str, script: &str) -> u32 {
        self.start(self.spec(id, &["/bin/sh", "-c", script])).await
    }

    pub async fn start(&self, spec: WorkerSpec) -> u32 {
        within("a start", self.runtime.start(spec)).await.unwrap()
    }

    pub async fn observed(&self, id: &str) -> Option<Observed> {
        let list = within("a list", self.runtime.list()).await.unwrap();
        list.into_iter().find(|worker| worker.id.as_str() == id)
    }

    /// Waits until a worker looks as wanted.
    pub async fn see(&self, id: &str, what: &str, wanted: impl Fn(&Observed) -> bool) -> Observed {
        let waiting = async {
            loop {
                if let Some(worker) = self.observed(id).await.filter(&wanted) {
                    return worker;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(what, waiting).await
    }

    /// Waits for a worker's end by its event.
    pub async fn exit(&self, id: &str) -> Exit {
        let mut events = self.runtime.watch();
        let waiting = async {
            loop {
                if let Some(exit) = self.observed(id).await.and_then(|worker| worker.exit) {
                    return exit;
                }
                let _ = events.recv().await;
            }
        };
        within("the worker's end", waiting).await
    }

    pub fn records(&self) -> Vec<Record> {
        let query = Query { limit: usize::MAX, ..Query::new(EndpointId::new("ep")) };
        Reader::open(self.paths.logs()).query(&query).unwrap()
    }

    pub fn printed(&self, id: &str) -> Vec<String> {
        let of = |record: &Record| record.worker == Some(WorkerId::new(id));
        self.records().into_iter().filter(of).map(|record| record.message).collect()
    }

    /// Waits for a line that starts so; answers its rest.
    pub async fn line(&self, id: &str, start: &str) -> String {
        let find = || self.printed(id).iter().find_map(|line| Some(line.strip_prefix(start)?.to_owned()));
        until(start, || find().is_some()).await;
        find().unwrap()
    }

    /// Sends a request as the worker would.
    pub async fn send(&self, method: &str, path: &str, body: &str) -> (StatusCode, String) {
        let response = self.open(method, path, body).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    pub async fn open(&self, method: &str, path: &str, body: &str) -> http::Response<hyper::body::Incoming> {
        let url = within("the listener's address", self.runtime.worker_url()).await.unwrap();
        let address = url.strip_prefix("http://").unwrap();
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", address)
            .header("authorization", "the-sdks-key")
            .header("x-runyard-spoof", "1")
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        within("an answer to the worker", sender.send_request(request)).await.unwrap()
    }

    pub async fn agent_pid(&self) -> u32 {
        within("the agent's info", self.runtime.info()).await.unwrap().pid
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        // Only a test that failed or killed agents leaves one; the lock file names the last.
        let pid = std::fs::read_to_string(self.paths.agent_lock()).ok();
        if let Some(pid) = pid.and_then(|pid| pid.trim().parse::<i32>().ok()) {
            kill(pid.unsigned_abs(), rustix::process::Signal::TERM);
        }
    }
}

pub fn kill(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Whether the process is there and no zombie.
pub fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat[stat.rfind(')').unwrap()..].starts_with(") Z"))
}
