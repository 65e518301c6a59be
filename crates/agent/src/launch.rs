//! The launcher: what a worker's (or a build's) process does between its birth and its first instruction. It runs
//! as `runyard agent-exec` with a [`Plan`] on its standard input (in a file, for a program that reads its own), gives up
//! its rights one after another, and becomes the worker's program. A separate program rather than code between fork and exec, which only
//! unsafe Rust can have.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Gid, Pid, Resource, Rlimit, Signal, Uid};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};

use crate::sandbox::{self, View};

/// Names the file with the plan, where it is not on the standard input.
const PLAN_FILE: &str = "RUNYARD_PLAN";

/// The shell's exit code for a program that cannot be run.
const NOT_RUN: u8 = 127;

/// Rights of root that a worker keeps where it has to run as root: those over files and own processes, none
/// over the machine.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::NET_BIND_SERVICE);

/// Everything about the process to be. Its environment holds secrets: it is not printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The agent: without it the worker shall not live.
    pub parent: i32,
    /// Program and arguments.
    pub command: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// Where it starts.
    pub dir: PathBuf,
    /// What it reads as its standard input. Where nothing is said it is nothing, or the launcher's own where the plan
    /// comes in a file.
    pub stdin: Option<PathBuf>,
    /// The terminal that it has for input, output and errors, and that its session is led from.
    #[serde(default)]
    pub terminal: Option<PathBuf>,
    /// The user and group to become.
    pub uid: Option<u32>,
    /// That user may read what is closed to it.
    pub reads: bool,
    /// What Landlock shall enforce.
    pub view: Option<View>,
    /// Bytes of data it may have.
    pub memory_bytes: Option<u64>,
    /// Open files.
    pub open_files: u64,
    /// Bytes of a core dump.
    pub core_bytes: u64,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("command", &self.command).field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Plan {
    /// The command that carries it out: `launcher agent-exec`, which starts with nothing else of ours.
    pub fn launcher(&self, launcher: &Path) -> io::Result<Command> {
        // A file in memory: a pipe would block us when the plan is longer than it holds.
        let mut text = File::from(rustix::fs::memfd_create("plan", rustix::fs::MemfdFlags::CLOEXEC)?);
        text.write_all(&serde_json::to_vec(self)?)?;
        text.rewind()?;
        let mut command = Command::new(launcher);
        command.arg("agent-exec").env_clear().current_dir("/").stdin(text);
        Ok(command)
    }

    /// The same for a program that reads its standard input: the plan goes through `file`, which is not there yet, and
    /// is gone when it was read.
    pub fn launcher_by_file(&self, launcher: &Path, file: &Path) -> io::Result<Command> {
        let mut plan = File::options().write(true).create_new(true).mode(0o600).open(file)?;
        plan.write_all(&serde_json::to_vec(self)?)?;
        let mut command = Command::new(launcher);
        command.arg("agent-exec").env_clear().env(PLAN_FILE, file).current_dir("/");
        Ok(command)
    }
}

/// The worker's program was not reached.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The plan could not be read.
    #[error("cannot read the plan: {0}")]
    ReadPlan(io::Error),
    /// One of the steps before the program failed.
    #[error("cannot {step}: {reason}")]
    Prepare {
        /// The step.
        step: &'static str,
        /// Why.
        reason: String,
    },
    /// The agent died meanwhile.
    #[error("the agent is gone")]
    Orphan,
    /// The program could not be run.
    #[error("cannot run {program}: {source}; is the path right, and its interpreter there?")]
    Exec {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
}

/// Becomes the worker that the plan describes; returns only on failure. To be called
/// before any thread is started.
pub fn launch() -> LaunchError {
    match prepare() {
        Ok((program, mut command)) => LaunchError::Exec { program, source: command.exec() },
        Err(error) => error,
    }
}

/// [`launch`], with the failure told on standard error, which is the worker's log.
pub fn launch_main() -> ExitCode {
    let error = launch();
    eprintln!("runyard: {error}");
    ExitCode::from(NOT_RUN)
}

fn prepare() -> Result<(String, Command), LaunchError> {
    let (plan, ours) = read_plan().map_err(LaunchError::ReadPlan)?;
    let stdin = match (&plan.terminal, &plan.stdin) {
        (Some(_), _) => Stdio::inherit(),
        (None, Some(path)) => open_input(path).map_err(failed("open its standard input"))?,
        (None, None) => ours,
    };
    rustix::process::setsid().map_err(failed("start a session"))?;
    if let Some(path) = &plan.terminal {
        take_terminal(path, plan.uid).map_err(failed("open its terminal"))?;
    }
    limit(&plan)?;
    let rules = plan.view.as_ref().map(sandbox::rules).transpose().map_err(failed("write Landlock rules"))?;
    if rustix::process::geteuid().is_root() && plan.uid.is_none() {
        drop_machine_rights()?;
    }
    rustix::thread::set_no_new_privs(true).map_err(failed("renounce new privileges"))?;
    if let Some(rules) = rules {
        rules.restrict_self().map_err(failed("enforce Landlock rules"))?;
    }
    if let Some(uid) = plan.uid {
        become_user(uid, plan.reads)?;
    }
    // After the change of user, which would clear it. The parent may have died before: look once more.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(failed("bind the worker's life to the agent's"))?;
    if rustix::process::getppid() != Pid::from_raw(plan.parent) {
        return Err(LaunchError::Orphan);
    }
    let program = plan.command.first().cloned().unwrap_or_default();
    let mut command = Command::new(&program);
    command.args(plan.command.iter().skip(1)).env_clear().envs(&plan.env).stdin(stdin);
    std::env::set_current_dir(&plan.dir).map_err(failed("enter its folder"))?;
    Ok((program, command))
}

/// Makes a terminal that of this session, and input, output and errors of this process.
fn take_terminal(path: &Path, uid: Option<u32>) -> io::Result<()> {
    // The first terminal that the leader of a session opens becomes the session's.
    let terminal = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    if let Some(uid) = uid {
        rustix::fs::fchown(&terminal, Some(Uid::from_raw(uid)), None)?;
    }
    rustix::stdio::dup2_stdin(&terminal)?;
    rustix::stdio::dup2_stdout(&terminal)?;
    rustix::stdio::dup2_stderr(&terminal)?;
    Ok(())
}

/// A file to read from. A pipe whose writer has gone already is open at once, and at its end.
fn open_input(path: &Path) -> io::Result<Stdio> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags | OFlags::NONBLOCK, Mode::empty())?;
    rustix::fs::fcntl_setfl(&file, OFlags::RDONLY)?;
    Ok(file.into())
}

/// The plan, and what the program gets as its standard input where the plan names nothing.
fn read_plan() -> io::Result<(Plan, Stdio)> {
    let Some(file) = std::env::var_os(PLAN_FILE) else {
        let mut text = Vec::new();
        io::stdin().lock().read_to_end(&mut text)?;
        return Ok((serde_json::from_slice(&text)?, Stdio::null()));
    };
    let text = std::fs::read(&file)?;
    std::fs::remove_file(&file)?;
    Ok((serde_json::from_slice(&text)?, Stdio::inherit()))
}

fn failed<E: fmt::Display>(step: &'static str) -> impl Fn(E) -> LaunchError {
    move |error| LaunchError::Prepare { step, reason: error.to_string() }
}

fn limit(plan: &Plan) -> Result<(), LaunchError> {
    // The data limit counts what is allocated; the address-space limit would count what GPU drivers only
    // reserve.
    let wanted = [
        (Resource::Nofile, Some(plan.open_files)),
        (Resource::Core, Some(plan.core_bytes)),
        (Resource::Data, plan.memory_bytes),
    ];
    for (resource, value) in wanted {
        let Some(value) = value else { continue };
        let hard = rustix::process::getrlimit(resource).maximum;
        let value = Some(hard.map_or(value, |hard| hard.min(value)));
        rustix::process::setrlimit(resource, Rlimit { current: value, maximum: value })
            .map_err(failed("set resource limits"))?;
    }
    Ok(())
}

/// Takes root's rights over the machine out of what an exec can give back.
fn drop_machine_rights() -> Result<(), LaunchError> {
    // Numbers above the last one that the kernel knows are refused: there it ends. Where we may not drop
    // any, a container took them from us before.
    for number in 0..64 {
        let right = CapabilitySet::from_bits_retain(1 << number);
        if KEPT.contains(right) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(right) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => break,
            Err(error) => return Err(failed("drop root's rights")(error)),
        }
    }
    Ok(())
}

fn become_user(uid: u32, reads: bool) -> Result<(), LaunchError> {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    if reads {
        // Else the kernel takes all rights with the user, and `access` does not count the one that is left.
        rustix::thread::set_capabilities_secure_bits(CapabilitiesSecureBits::NO_SETUID_FIXUP)
            .map_err(failed("keep the right to read"))?;
    }
    rustix::thread::set_thread_groups(&[]).map_err(failed("leave root's groups"))?;
    rustix::thread::set_thread_res_gid(group, group, group).map_err(failed("change the group"))?;
    rustix::thread::set_thread_res_uid(user, user, user).map_err(failed("change the user"))?;
    if reads {
        let right = CapabilitySet::DAC_READ_SEARCH;
        let only = CapabilitySets { effective: right, permitted: right, inheritable: right };
        rustix::thread::set_capabilities(None, only).map_err(failed("give up root's rights"))?;
        rustix::thread::configure_capability_in_ambient_set(right, true)
            .map_err(failed("pass the right to read on"))?;
    }
    Ok(())
}
