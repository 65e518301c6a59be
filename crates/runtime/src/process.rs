//! Workers as local processes: the [`Runtime`] that asks the agent, a second process of this binary that
//! outlives the server. This side starts the agent where none runs, starts it again when it dies, and passes
//! its events on.

use std::fs::OpenOptions;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use http_body_util::BodyExt as _;
use runyard_domain::WorkerId;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::control::{Control, Failure};
use crate::session::Frames;
use crate::stats::Stats;
use crate::wire::{Ending, Info, Notice, Started};
use crate::{Event, Observed, Paths, Pending, Runtime, RuntimeError, Stop, Whose, WorkerSpec};

/// How long a new agent may take to answer.
const START: Duration = Duration::from_secs(15);
/// How long an agent may take to end its workers and itself.
const END: Duration = Duration::from_secs(20);
/// How long one request may take. All but a shutdown are short.
const CALL: Duration = Duration::from_secs(30);
/// Events that a slow receiver may be behind before it has to list anew.
const EVENTS: usize = 1024;
/// No body.
const NOTHING: Option<&()> = None;

/// Runs workers through the agent of one data directory.
#[derive(Debug)]
pub struct ProcessRuntime {
    shared: Arc<Shared>,
    watcher: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    paths: Paths,
    exe: PathBuf,
    control: Control,
    events: broadcast::Sender<Event>,
    /// Held while an agent is looked for and started: there shall be one.
    starting: tokio::sync::Mutex<()>,
    closing: AtomicBool,
    /// The agent is of another version than this program, so far as is known.
    foreign: AtomicBool,
    /// Held while such an agent is replaced.
    renewing: tokio::sync::Mutex<()>,
}

impl ProcessRuntime {
    /// Connects to the agent of the data directory, starting `exe agent --data DIR` where none runs.
    pub async fn connect(paths: Paths, exe: PathBuf) -> Result<Self, RuntimeError> {
        let control = Control::new(&paths);
        let (events, _) = broadcast::channel(EVENTS);
        let shared = Arc::new(Shared {
            paths,
            exe,
            control,
            events,
            starting: tokio::sync::Mutex::new(()),
            closing: AtomicBool::new(false),
            foreign: AtomicBool::new(false),
            renewing: tokio::sync::Mutex::new(()),
        });
        shared.ensure().await?;
        shared.recognize().await?;
        shared.renew().await;
        let watcher = tokio::spawn(watch(Arc::clone(&shared)));
        Ok(Self { shared, watcher })
    }

    /// Who the agent is.
    pub async fn info(&self) -> Result<Info, RuntimeError> {
        self.shared.call(Method::GET, "/info", NOTHING, "ask the agent who it is").await
    }
}

impl Drop for ProcessRuntime {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Runtime for ProcessRuntime {
    fn start(&self, spec: WorkerSpec) -> Pending<'_, Result<u32, RuntimeError>> {
        Box::pin(async move {
            let operation = format!("start worker {}", spec.id);
            let started: Started =
                self.shared.call(Method::POST, "/workers", Some(&spec), &operation).await?;
            Ok(started.pid)
        })
    }

    fn stop<'a>(&'a self, worker: &'a WorkerId, how: Stop) -> Pending<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            let path = format!("/workers/{worker}/stop");
            let body = Some(&Ending::from(how));
            self.shared.call(Method::POST, &path, body, &format!("stop worker {worker}")).await
        })
    }

    fn list(&self) -> Pending<'_, Result<Vec<Observed>, RuntimeError>> {
        Box::pin(self.shared.call(Method::GET, "/workers", NOTHING, "list workers"))
    }

    fn forget<'a>(&'a self, worker: &'a WorkerId) -> Pending<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            let path = format!("/workers/{worker}");
            self.shared.call(Method::DELETE, &path, NOTHING, &format!("forget worker {worker}")).await
        })
    }

    fn watch(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    fn worker_url(&self) -> Pending<'_, Result<String, RuntimeError>> {
        // Asked before each start.
        Box::pin(async move {
            self.shared.renew().await;
            Ok(self.info().await?.worker_url)
        })
    }

    fn boundary(&self) -> Pending<'_, Result<String, RuntimeError>> {
        Box::pin(async move { Ok(self.info().await?.boundary) })
    }

    fn stats(&self) -> Pending<'_, Result<Vec<Stats>, RuntimeError>> {
        Box::pin(self.shared.call(Method::GET, "/stats", NOTHING, "measure the workers"))
    }

    fn exec<'a>(&'a self, worker: &'a WorkerId, input: Frames) -> Pending<'a, Result<Frames, RuntimeError>> {
        Box::pin(async move {
            let operation = format!("run a command beside worker {worker}");
            let path = format!("/workers/{worker}/exec");
            match timeout(CALL, self.shared.control.stream(Method::POST, &path, input)).await {
                Ok(answer) => answer
                    .map(|body| body.map_err(std::io::Error::other).boxed_unsync())
                    .map_err(|failure| failure.into_error(&operation)),
                Err(_) => Err(self.shared.late(&operation, CALL)),
            }
        })
    }

    fn agent(&self) -> Pending<'_, Result<Option<Info>, RuntimeError>> {
        Box::pin(async move { Ok(Some(self.info().await?)) })
    }

    fn shut_down(&self) -> Pending<'_, Result<(), RuntimeError>> {
        Box::pin(async move {
            self.shared.closing.store(true, Ordering::SeqCst);
            self.shared.end_agent().await
        })
    }
}

impl Shared {
    /// Sends a request; where there is no agent, starts one and asks it.
    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl serde::Serialize>,
        operation: &str,
    ) -> Result<T, RuntimeError> {
        let first = timeout(CALL, self.control.call(method.clone(), path, body)).await;
        match first {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(Failure::NoAgent(_))) if !self.closing.load(Ordering::SeqCst) => {}
            Ok(Err(failure)) => return Err(failure.into_error(operation)),
            Err(_) => return Err(self.late(operation, CALL)),
        }
        self.ensure().await?;
        match timeout(CALL, self.control.call(method, path, body)).await {
            Ok(answer) => answer.map_err(|failure| failure.into_error(operation)),
            Err(_) => Err(self.late(operation, CALL)),
        }
    }

    /// Makes sure that an agent answers.
    async fn ensure(&self) -> Result<(), RuntimeError> {
        let _one = self.starting.lock().await;
        if self.answers().await? {
            return Ok(());
        }
        let mut child = self.spawn()?;
        let begun = Instant::now();
        while !self.answers().await? {
            // One that ends at once may have lost against another, which then answers, or which is ending
            // and still has the lock.
            if let Ok(Some(status)) = child.try_wait() {
                if begun.elapsed() > Duration::from_secs(2) {
                    return Err(self.error("start the agent", &format!("it ended with {status}")));
                }
                sleep(Duration::from_millis(50)).await;
                child = self.spawn()?;
            }
            if begun.elapsed() > START {
                return Err(self.late("start the agent", START));
            }
            sleep(Duration::from_millis(10)).await;
        }
        // Somebody has to take its exit status, as long as this process lives.
        tokio::spawn(async move { child.wait().await });
        Ok(())
    }

    async fn answers(&self) -> Result<bool, RuntimeError> {
        match timeout(CALL, self.control.call::<Info>(Method::GET, "/info", NOTHING)).await {
            Ok(Ok(_)) => Ok(true),
            // One that refuses has not written its key yet: it is starting.
            Ok(Err(Failure::NoAgent(_) | Failure::Refused(_))) => Ok(false),
            Err(_) => Err(self.late("ask the agent who it is", CALL)),
        }
    }

    fn spawn(&self) -> Result<tokio::process::Child, RuntimeError> {
        let started = || -> std::io::Result<tokio::process::Child> {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.paths.run())?;
            let log = OpenOptions::new().append(true).create(true).mode(0o600).open(self.log())?;
            // The agent leaves our session by itself; safe Rust cannot do it between fork and exec.
            tokio::process::Command::new(&self.exe)
                .arg("agent")
                .arg("--data")
                .arg(&self.paths.data)
                .current_dir("/")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .kill_on_drop(false)
                .spawn()
        };
        started().map_err(|error| self.error("start the agent", &error.to_string()))
    }

    /// Notes whether the agent is of another version.
    async fn recognize(&self) -> Result<(), RuntimeError> {
        let about: Info = self.call(Method::GET, "/info", NOTHING, "ask the agent who it is").await?;
        let is_foreign = about.version != env!("CARGO_PKG_VERSION");
        if is_foreign && !self.foreign.load(Ordering::SeqCst) {
            tracing::info!(
                version = about.version,
                "The agent is of another version; it goes on until no worker of it is left"
            );
        }
        self.foreign.store(is_foreign, Ordering::SeqCst);
        Ok(())
    }

    /// Replaces an agent of another version, if nothing of it lives on or is still to be told.
    async fn renew(&self) {
        if !self.foreign.load(Ordering::SeqCst) {
            return;
        }
        let _one = self.renewing.lock().await;
        if let Err(error) = self.try_renew().await {
            tracing::warn!(%error, "The agent of another version could not be replaced; it goes on");
        }
    }

    async fn try_renew(&self) -> Result<(), RuntimeError> {
        self.recognize().await?;
        let workers: Vec<Observed> = self.call(Method::GET, "/workers", NOTHING, "list workers").await?;
        if !self.foreign.load(Ordering::SeqCst) || !workers.is_empty() {
            return Ok(());
        }
        self.end_agent().await?;
        self.ensure().await?;
        self.recognize().await?;
        tracing::info!("The agent was replaced by one of this version");
        Ok(())
    }

    /// Has the agent end its workers and itself.
    async fn end_agent(&self) -> Result<(), RuntimeError> {
        match timeout(END, self.control.call::<()>(Method::POST, "/shutdown", NOTHING)).await {
            Ok(Ok(()) | Err(Failure::NoAgent(_))) => {}
            Ok(Err(refused)) => return Err(refused.into_error("shut the agent down")),
            Err(_) => return Err(self.late("shut the agent down", END)),
        }
        let deadline = Instant::now() + END;
        while self.is_locked() {
            if Instant::now() > deadline {
                return Err(self.late("shut the agent down", END));
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Whether an agent still has its lock: it goes with the process, after all else.
    fn is_locked(&self) -> bool {
        let Ok(file) = std::fs::File::open(self.paths.agent_lock()) else { return false };
        let free = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared);
        free == Err(rustix::io::Errno::WOULDBLOCK)
    }

    fn log(&self) -> PathBuf {
        self.paths.data.join("agent.log")
    }

    fn late(&self, operation: &str, limit: Duration) -> RuntimeError {
        self.error(operation, &format!("no answer within {} s", limit.as_secs()))
    }

    fn error(&self, operation: &str, message: &str) -> RuntimeError {
        RuntimeError {
            operation: operation.to_owned(),
            message: format!("{message}; see {}", self.log().display()),
            whose: Whose::Engine,
            retryable: true,
        }
    }
}

/// Passes the agent's events on and brings the agent back when it is gone.
async fn watch(shared: Arc<Shared>) {
    let mut pause = Duration::from_millis(50);
    loop {
        if follow(&shared).await {
            pause = Duration::from_millis(50);
        }
        if shared.closing.load(Ordering::SeqCst) {
            return;
        }
        let _ = shared.events.send(Event::Resync);
        if let Err(error) = shared.ensure().await {
            tracing::error!(%error, "The agent is gone and could not be started again; trying on");
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }
}

/// Follows one event stream to its end; answers whether there was one.
async fn follow(shared: &Shared) -> bool {
    let Ok(mut body) = shared.control.open(Method::GET, "/events", Vec::new()).await else {
        return false;
    };
    let mut buffer: Vec<u8> = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        buffer.extend_from_slice(&data);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let event = match serde_json::from_slice::<Notice>(&line) {
                // What happened before the stream was open went unseen.
                Ok(Notice::Hello) => Some(Event::Resync),
                Ok(notice) => notice.event(),
                Err(_) => None,
            };
            if let Some(event) = event {
                let _ = shared.events.send(event);
            }
        }
    }
    true
}
