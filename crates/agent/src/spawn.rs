//! Starts a worker: working directory, log, launcher process, pipes. All of it happens in one go on the one
//! thread of the agent, so that the process is in the table before its end can be seen.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use runyard_domain::id::is_well_formed;
use runyard_logs::{Level, LogError, Origin, Source, Writer};
use runyard_runtime::{RuntimeError, Whose, WorkerSpec};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;

use crate::agent::Agent;
use crate::boundary::Fence;
use crate::launch::Plan;
use crate::sandbox::{self, View};
use crate::supervise::{Pipes, supervise};
use crate::worker::{Birth, Worker, locked};
use crate::{leftovers, oom};

/// Where programs are looked for.
const PATH: &str = "/usr/local/cuda/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a worker starts, in its working directory: its own, and showing the code. On RunPod a handler may write
/// beside its code, so it may here, without changing what others run.
const START: &str = "cwd";

/// Variables that thread pools read.
const THREADS: [&str; 5] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
];

/// Starts a worker; answers its process id.
pub fn start(agent: &Arc<Agent>, spec: WorkerSpec) -> Result<u32, RuntimeError> {
    if spec.image.is_some() {
        check(agent, &spec)?;
        return start_container(agent, spec);
    }
    let spec = &spec;
    check(agent, spec)?;
    let ours = |doing: &str, error: &dyn std::fmt::Display| {
        refusal(spec, format!("cannot {doing}: {error}"), Whose::Engine, true)
    };
    let fence = agent.boundary.worker(spec);
    let mut log = open_log(agent, spec).map_err(|error| ours("open its log", &error))?;
    let work = agent.options.paths.work().join(spec.id.as_str());
    make_work_dir(&work, spec, fence.uid).map_err(|error| ours("make its working directory", &error))?;
    let plan = plan(agent, spec, &fence, &work);
    let kills_before = oom::kills();
    let (pid, pipes) = spawn(agent, &plan).map_err(|error| ours("make its process", &error))?;
    let now = agent.now();
    let note = format!("started process {pid} {}", fence.line());
    if let Err(error) = log.note(now, Source::System, Level::Info, None, &note) {
        tracing::warn!(worker.id = %spec.id, %error, "A worker's log cannot be written");
    }
    let birth = Birth {
        id: spec.id.clone(),
        endpoint: spec.endpoint.clone(),
        release: spec.release,
        token: spec.token.clone(),
        pid,
        started_at: now,
        kills_before,
    };
    let worker = Arc::new(Worker::new(birth, log).with_plan(plan));
    let (death, dead) = oneshot::channel();
    locked(&agent.table).add(Arc::clone(&worker), death);
    tokio::spawn(supervise(Arc::clone(agent), worker, pipes, dead));
    tracing::info!(worker.id = %spec.id, endpoint.id = %spec.endpoint, pid, "A worker was started");
    Ok(pid)
}

fn open_log(agent: &Agent, spec: &WorkerSpec) -> Result<Writer, LogError> {
    let origin =
        Origin { endpoint: spec.endpoint.clone(), worker: Some(spec.id.clone()), release: spec.release };
    let writer = Writer::open(&agent.options.paths.logs(), origin)?;
    Ok(writer.masking(&spec.secrets).sealed_by(&agent.sealer))
}

/// Begins to start a worker as a container; that it exists is told later.
#[cfg(feature = "docker")]
fn start_container(agent: &Arc<Agent>, spec: WorkerSpec) -> Result<u32, RuntimeError> {
    let log = open_log(agent, &spec);
    let log = log.map_err(|e| refusal(&spec, format!("cannot open its log: {e}"), Whose::Engine, true))?;
    let birth = Birth {
        id: spec.id.clone(),
        endpoint: spec.endpoint.clone(),
        release: spec.release,
        token: spec.token.clone(),
        pid: 0,
        started_at: agent.now(),
        kills_before: oom::kills(),
    };
    crate::container::start(agent, Worker::new(birth, log), spec);
    Ok(0)
}

/// This build has no containers.
#[cfg(not(feature = "docker"))]
#[expect(clippy::needless_pass_by_value, reason = "with containers it is kept")]
fn start_container(_agent: &Arc<Agent>, spec: WorkerSpec) -> Result<u32, RuntimeError> {
    let message = "this runyard was built without containers (feature `docker`)".to_owned();
    Err(refusal(&spec, message, Whose::Ours, false))
}

fn refusal(spec: &WorkerSpec, message: String, whose: Whose, retryable: bool) -> RuntimeError {
    RuntimeError { operation: format!("start worker {}", spec.id), message, whose, retryable }
}

fn check(agent: &Agent, spec: &WorkerSpec) -> Result<(), RuntimeError> {
    let ours = |message: &str| Err(refusal(spec, message.to_owned(), Whose::Ours, false));
    if !is_well_formed(spec.id.as_str()) || !is_well_formed(spec.endpoint.as_str()) {
        return ours("its id or its endpoint's is not a valid id");
    }
    if spec.token.is_empty() || !is_well_formed(&spec.token) {
        return ours("its token is not a valid one");
    }
    if locked(&agent.table).knows(&spec.id) {
        return ours("it was started before");
    }
    if agent.is_ending() {
        return Err(refusal(spec, "the agent is ending".to_owned(), Whose::Engine, true));
    }
    match spec.command.first() {
        _ if spec.image.is_some() => Ok(()),
        Some(program) if program.starts_with('/') => Ok(()),
        Some(_) => ours("the program is not an absolute path"),
        None => ours("there is no program"),
    }
}

fn make_work_dir(work: &Path, spec: &WorkerSpec, uid: Option<u32>) -> io::Result<()> {
    match fs::remove_dir_all(work) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let folders = [work.to_owned(), work.join("tmp"), work.join(START)];
    for folder in &folders {
        DirBuilder::new().mode(0o700).create(folder)?;
    }
    if !spec.in_place {
        show_code(Path::new(&spec.code_dir), &work.join(START))?;
    }
    if uid.is_some() {
        // From the inside out: nothing is done in a folder that is its own already.
        for folder in folders.iter().rev() {
            std::os::unix::fs::chown(folder, uid, uid)?;
        }
    }
    Ok(())
}

/// Links what is in the code folder into the folder in which the worker starts.
fn show_code(code: &Path, start: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(code) {
        Ok(entries) => entries,
        // The worker says so itself, in its log.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        std::os::unix::fs::symlink(entry.path(), start.join(entry.file_name()))?;
    }
    Ok(())
}

fn plan(agent: &Agent, spec: &WorkerSpec, fence: &Fence, work: &Path) -> Plan {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let code = PathBuf::from(&spec.code_dir);
    let view = fence.landlock.then(|| View {
        hidden: agent.hidden.iter().cloned().chain(sandbox::key_file(&agent.options.paths)).collect(),
        readable: spec.read_dirs.iter().map(Path::new).chain([code.as_path()]).map(real).collect(),
        writable: [work]
            .into_iter()
            .chain(spec.in_place.then_some(code.as_path()))
            .chain(spec.volumes.iter().map(|volume| Path::new(&volume.folder)))
            .map(real)
            .collect(),
        shares: true,
    });
    Plan {
        parent: std::process::id().cast_signed(),
        command: spec.command.clone(),
        env: environment(agent, spec, work),
        dir: if spec.in_place { code } else { work.join(START) },
        stdin: None,
        terminal: None,
        uid: fence.uid,
        reads: fence.reads,
        view,
        memory_bytes: spec.limits.memory_bytes,
        open_files: spec.limits.open_files,
        core_bytes: spec.limits.core_bytes,
    }
}

fn environment(agent: &Agent, spec: &WorkerSpec, work: &Path) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = [
        ("PATH", PATH.to_owned()),
        ("HOME", work.display().to_string()),
        ("TMPDIR", work.join("tmp").display().to_string()),
        ("LANG", "C.UTF-8".to_owned()),
        // Its user has no name, which some programs insist on.
        ("USER", "runyard".to_owned()),
        ("LOGNAME", "runyard".to_owned()),
        ("PYTHONUNBUFFERED", "1".to_owned()),
    ]
    .into_iter()
    .chain(THREADS.map(|name| (name, spec.limits.threads.max(1).to_string())))
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    env.extend(spec.env.clone());
    // Last: nobody may take the mark away.
    env.insert(leftovers::MARK.to_owned(), leftovers::mark(&spec.id, &agent.data_name));
    env
}

/// Makes the launcher's process with its pipes.
fn spawn(agent: &Agent, plan: &Plan) -> io::Result<(u32, Pipes)> {
    let mut child =
        plan.launcher(&agent.options.launcher)?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let out = child.stdout.take().map(OwnedFd::from);
    let err = child.stderr.take().map(OwnedFd::from);
    let (Some(out), Some(err)) = (out, err) else { return Err(io::Error::other("the pipes are missing")) };
    // Its end is taken by `reap`, not through `child`.
    Ok((child.id(), Pipes { out: Receiver::from_owned_fd(out)?, err: Receiver::from_owned_fd(err)? }))
}
