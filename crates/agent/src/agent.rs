//! The agent as a whole: what it is made of, how it begins and how it ends.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runyard_domain::{Env, Timestamp};
use runyard_logs::Sealer;
use runyard_runtime::{Observed, Paths};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::boundary::Boundary;
use crate::delivery::{self, GiveBack};
use crate::events::Events;
use crate::leftovers::{self, Which};
use crate::room::Room;
use crate::spool::Spool;
use crate::upstream::{Server, Upstream};
use crate::worker::{Table, locked};
use crate::{control, exec, listener, lock, reap, replay, sandbox};

/// How long workers may take to be gone once they are killed.
const END: Duration = Duration::from_secs(10);

/// What an agent needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data directory.
    pub paths: Paths,
    /// Clock and randomness.
    pub env: Arc<dyn Env>,
    /// The program that becomes a worker when called with `agent-exec`: this one.
    pub launcher: PathBuf,
    /// How long workers live on without a server.
    pub orphan_timeout: Duration,
}

impl Options {
    /// An agent of this very program, whose workers outlive the server by five minutes.
    pub fn new(paths: Paths, env: Arc<dyn Env>) -> Self {
        // The link, not what it leads to: it stays right when the file is replaced by an upgrade.
        let launcher = PathBuf::from("/proc/self/exe");
        Self { paths, env, launcher, orphan_timeout: Duration::from_mins(5) }
    }
}

/// The agent could not begin.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Workers die with the thread that made them, so there has to be one thread only.
    #[error("the agent has to run on a current-thread runtime of the main thread")]
    Runtime,
    /// There is one already.
    #[error("another agent runs for {0}")]
    AlreadyRunning(PathBuf),
    /// One of its first steps failed.
    #[error("cannot {step}")]
    Begin {
        /// The step.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// What all parts of the agent share.
#[derive(Debug)]
pub struct Agent {
    /// What it was told.
    pub options: Options,
    /// The data directory's name in marks.
    pub data_name: String,
    /// What workers shall not see.
    pub hidden: Vec<PathBuf>,
    /// What holds workers.
    pub boundary: Boundary,
    /// The workers.
    pub table: Mutex<Table>,
    /// The road to the server.
    pub upstream: Upstream,
    /// Results that wait for it.
    pub spool: Spool,
    /// Jobs that go back to it.
    pub returns: UnboundedSender<(Server, GiveBack)>,
    /// Room for what workers send.
    pub room: Room,
    /// Packs what workers printed.
    pub sealer: Sealer,
    /// Who wants to hear what happens.
    pub events: Events,
    /// The engines that have containers of ours.
    #[cfg(feature = "docker")]
    pub engines: crate::container::Engines,
    /// Room for commands beside workers.
    pub commands: Arc<Semaphore>,
    /// Told when a worker's end is known.
    pub ended: Notify,
    /// What opens the control socket.
    pub key: String,
    /// Where workers reach the listener.
    pub worker_url: String,
    ending: watch::Sender<Phase>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Ending,
    Gone,
}

impl Agent {
    /// The time.
    pub fn now(&self) -> Timestamp {
        self.options.env.now()
    }

    /// Begins the end.
    pub fn end(&self) {
        self.ending.send_if_modified(|phase| {
            let running = *phase == Phase::Running;
            if running {
                *phase = Phase::Ending;
            }
            running
        });
    }

    /// Whether the end has begun.
    pub fn is_ending(&self) -> bool {
        *self.ending.borrow() != Phase::Running
    }

    /// Waits until the workers are gone.
    pub async fn wait_until_gone(&self) {
        self.wait_for(Phase::Gone).await;
    }

    async fn wait_for(&self, wanted: Phase) {
        // The sender is ours, so it cannot be gone.
        let _ = self.ending.subscribe().wait_for(|phase| *phase >= wanted).await;
    }

    /// Every worker, and those of an earlier agent whose results wait.
    pub fn list(&self) -> Vec<Observed> {
        let workers = locked(&self.table).all();
        let mut list: Vec<Observed> =
            workers.iter().map(|worker| worker.observed(self.spool.jobs_of(&worker.id))).collect();
        list.extend(self.spool.ghosts(self.now(), |id| locked(&self.table).knows(id)));
        list.sort_by(|a, b| a.id.cmp(&b.id));
        list
    }
}

/// Runs the agent of a data directory until it is told to end, or no server has come for too long. To be
/// awaited by the main thread on a current-thread runtime.
pub async fn run(options: Options) -> Result<(), AgentError> {
    if Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread {
        return Err(AgentError::Runtime);
    }
    let paths = options.paths.clone();
    make_folders(&paths).map_err(begin("make the folders of the data directory"))?;
    let Some(_lock) = lock::take(&paths.agent_lock()).map_err(begin("take the agent's lock"))? else {
        return Err(AgentError::AlreadyRunning(paths.data.clone()));
    };
    // Fails where we lead a session already, which is as good.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| begin("become the subreaper")(error.into()))?;

    let data = fs::canonicalize(&paths.data).map_err(begin("find the data directory"))?;
    let data_name = runyard_runtime::name_of(&data);
    sweep(&paths, data_name.clone()).await;
    let children = reap::listen().map_err(begin("listen for children"))?;
    let key = options.env.token(40);
    write_key(&paths.agent_key(), &key).map_err(begin("write the agent's key"))?;
    let tcp = TcpListener::bind("127.0.0.1:0").await.map_err(begin("listen for workers"))?;
    let port = tcp.local_addr().map_err(begin("listen for workers"))?.port();
    let spool = Spool::open(&paths.spool()).map_err(begin("open the spool"))?;
    let sealer = Sealer::start().map_err(begin("start the thread that packs logs"))?;
    // No worker runs yet: what is there was left by those of an agent that was killed.
    sealer.left_behind(&paths.logs());
    let (returns, returned) = mpsc::unbounded_channel();
    let agent = Arc::new(Agent {
        hidden: sandbox::hidden(&paths),
        boundary: Boundary::look(&paths),
        table: Mutex::default(),
        upstream: Upstream::new(paths.server_socket(), key.clone()),
        spool,
        returns,
        room: Room::default(),
        sealer,
        events: Events::default(),
        #[cfg(feature = "docker")]
        engines: crate::container::Engines::new(&paths, &data),
        commands: Arc::new(Semaphore::new(exec::MOST)),
        ended: Notify::new(),
        key,
        worker_url: format!("http://127.0.0.1:{port}"),
        ending: watch::Sender::new(Phase::Running),
        data_name,
        options,
    });
    let socket = bind(&paths.agent_socket()).map_err(begin("listen on the control socket"))?;
    tracing::info!(url = agent.worker_url, boundary = agent.boundary.line(), "The agent runs");

    tokio::spawn(reap::reap(Arc::clone(&agent), children));
    tokio::spawn(delivery::bring_back(Arc::clone(&agent), returned));
    tokio::spawn(replay::replay(Arc::clone(&agent)));
    tokio::spawn(listener::serve(Arc::clone(&agent), tcp));
    tokio::spawn(control::serve(Arc::clone(&agent), socket));
    #[cfg(feature = "docker")]
    tokio::spawn(crate::container::sweep(Arc::clone(&agent)));
    let mut term = signal(SignalKind::terminate()).map_err(begin("listen for signals"))?;
    let mut int = signal(SignalKind::interrupt()).map_err(begin("listen for signals"))?;
    let why = tokio::select! {
        _ = term.recv() => "it was terminated",
        _ = int.recv() => "it was interrupted",
        () = agent.wait_for(Phase::Ending) => "it was told to",
        () = orphaned(&agent) => "no server came back",
    };
    tracing::info!("The agent ends: {why}");
    agent.end();
    end_workers(&agent).await;
    #[cfg(feature = "docker")]
    agent.engines.close().await;
    let _ = fs::remove_file(paths.agent_socket());
    agent.ending.send_replace(Phase::Gone);
    agent.events.close();
    // The last answers are on their way.
    sleep(Duration::from_millis(50)).await;
    Ok(())
}

fn begin(step: &'static str) -> impl Fn(io::Error) -> AgentError {
    move |source| AgentError::Begin { step, source }
}

fn make_folders(paths: &Paths) -> io::Result<()> {
    for folder in [paths.run(), &paths.logs(), &paths.spool()] {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    // Where sockets lie in a shared folder, somebody else may have made theirs first.
    fs::set_permissions(paths.run(), Permissions::from_mode(0o700))?;
    // Workers of another user have to pass through, and see nothing.
    DirBuilder::new().recursive(true).mode(0o711).create(paths.work())?;
    fs::set_permissions(paths.work(), Permissions::from_mode(0o711))
}

/// Ends what a killed agent left running, and clears away its workers' folders.
async fn sweep(paths: &Paths, data_name: String) {
    let work = paths.work();
    let swept = tokio::task::spawn_blocking(move || {
        let ended = leftovers::end(&Which::Everyone { data_name });
        for entry in fs::read_dir(work).into_iter().flatten().flatten() {
            let _ = fs::remove_dir_all(entry.path());
        }
        ended
    });
    match swept.await {
        Ok(0) | Err(_) => {}
        Ok(count) => tracing::warn!(count, "Processes that an earlier agent left behind were ended"),
    }
}

fn write_key(path: &Path, key: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key.as_bytes())
}

/// Listens on a path; the lock says that nobody else does.
fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Resolves when no server was seen for the set time.
async fn orphaned(agent: &Agent) {
    loop {
        sleep_until(agent.upstream.last_seen() + agent.options.orphan_timeout).await;
        if agent.events.has_listeners() || agent.upstream.listens().await {
            agent.upstream.alive();
        }
        if Instant::now() >= agent.upstream.last_seen() + agent.options.orphan_timeout {
            return;
        }
    }
}

async fn end_workers(agent: &Agent) {
    let all_gone = async {
        loop {
            let ended = agent.ended.notified();
            let workers = locked(&agent.table).all();
            let mut left = workers.iter().filter(|worker| !worker.has_ended()).peekable();
            if left.peek().is_none() {
                return;
            }
            left.for_each(|worker| worker.kill());
            ended.await;
        }
    };
    if timeout(END, all_gone).await.is_err() {
        tracing::error!("Some workers could not be ended in time; the next agent sweeps them");
    }
}
