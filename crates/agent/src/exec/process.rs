//! A command beside a worker that is a process: another process of the same user, with the same view of the disk, the
//! same limits and the same variables, made by the same launcher.

use std::io::{self, PipeReader};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::stream::{self, Stream};
use runyard_runtime::session::{Ended, Frame, Size, Start};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Running;
use super::terminal::Terminal;
use crate::agent::Agent;
use crate::launch::Plan;
use crate::leftovers::{self, Which};
use crate::supervise::DRAIN;
use crate::worker::{Death, Worker, locked};

/// How much is read at once.
const CHUNK: usize = 16 * 1024;

/// What a terminal is called to whom nobody named it: those who use this one draw as it does.
const TERM: &str = "xterm-256color";

/// How long a process whose output has ended may go on.
const END: Duration = Duration::from_secs(5);

/// What is left of it.
pub struct Hold {
    pid: u32,
    dead: oneshot::Receiver<Death>,
    /// The launcher opens it by its number here.
    _stdin: Option<PipeReader>,
    terminal: Option<Terminal>,
}

/// Begins a command.
pub fn begin(agent: &Arc<Agent>, worker: &Worker, start: &Start) -> Result<Running, String> {
    let plan = worker.plan.as_ref().ok_or("what it was started with is not known")?;
    let failed = |error: io::Error| format!("its process cannot be made: {error}");
    let mut plan = plan.clone();
    plan.command.clone_from(&start.command);
    match start.terminal {
        Some(size) => with_terminal(agent, plan, size).map_err(failed),
        None => with_pipes(agent, plan).map_err(failed),
    }
}

fn with_pipes(agent: &Arc<Agent>, mut plan: Plan) -> io::Result<Running> {
    let (stdin, input) = io::pipe()?;
    plan.stdin = Some(format!("/proc/{}/fd/{}", std::process::id(), stdin.as_raw_fd()).into());
    let mut launcher = plan.launcher(&agent.options.launcher)?;
    let mut child = launcher.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut hold = Hold { _stdin: Some(stdin), ..hold(agent, child.id()) };
    let pipes = (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from));
    let ready = match pipes {
        (Some(out), Some(err)) => listen(out, err, OwnedFd::from(input)),
        _ => Err(io::Error::other("the pipes are missing")),
    };
    match ready {
        Ok((output, input)) => {
            Ok(Running { output: Box::pin(output), input: Box::pin(input), hold: super::Hold::Process(hold) })
        }
        Err(error) => {
            hold.kill();
            Err(error)
        }
    }
}

fn with_terminal(agent: &Arc<Agent>, mut plan: Plan, size: Size) -> io::Result<Running> {
    let terminal = Terminal::open(size)?;
    let (output, input) = terminal.ends()?;
    plan.terminal = Some(terminal.path.clone());
    plan.env.entry("TERM".to_owned()).or_insert_with(|| TERM.to_owned());
    let mut launcher = plan.launcher(&agent.options.launcher)?;
    let child = launcher.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let hold = Hold { terminal: Some(terminal), ..hold(agent, child.id()) };
    Ok(Running { output: Box::pin(output), input: Box::pin(input), hold: super::Hold::Process(hold) })
}

/// Takes note of a command's process: in one go, so that it is in the table before its end can be seen.
fn hold(agent: &Agent, pid: u32) -> Hold {
    let (death, dead) = oneshot::channel();
    locked(&agent.table).add_command(pid, death);
    Hold { pid, dead: clear_up(pid, dead), _stdin: None, terminal: None }
}

/// Ends what a command leaves behind, so that its output ends with it: its group, and with a terminal the groups of its
/// jobs, which are of the same session.
fn clear_up(pid: u32, dead: oneshot::Receiver<Death>) -> oneshot::Receiver<Death> {
    let (cleared, after) = oneshot::channel();
    tokio::spawn(async move {
        let Ok(death) = dead.await else { return };
        // The number of a group cannot come to mean another one within this moment.
        if let Some(group) = Pid::from_raw(pid.cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let rest = tokio::task::spawn_blocking(move || leftovers::end(&Which::Session { pid }));
        let _ = rest.await;
        let _ = cleared.send(death);
    });
    after
}

fn listen(
    out: OwnedFd,
    err: OwnedFd,
    input: OwnedFd,
) -> io::Result<(impl Stream<Item = Frame> + Send + 'static, Sender)> {
    let (out, err) = (Receiver::from_owned_fd(out)?, Receiver::from_owned_fd(err)?);
    let input = Sender::from_owned_fd(input)?;
    let frames = stream::unfold((Some(out), Some(err)), |(mut out, mut err)| async move {
        loop {
            let frame = tokio::select! {
                bytes = read(out.as_mut()), if out.is_some() => {
                    if bytes.is_none() { out = None; }
                    bytes.map(|bytes| Frame::Out(bytes.freeze()))
                }
                bytes = read(err.as_mut()), if err.is_some() => {
                    if bytes.is_none() { err = None; }
                    bytes.map(|bytes| Frame::Err(bytes.freeze()))
                }
                else => return None,
            };
            if let Some(frame) = frame {
                return Some((frame, (out, err)));
            }
        }
    });
    Ok((frames, input))
}

/// What is there; `None` where the pipe is closed.
pub(super) async fn read(pipe: Option<&mut Receiver>) -> Option<BytesMut> {
    let mut buffer = BytesMut::with_capacity(CHUNK);
    let read = pipe?.read_buf(&mut buffer).await;
    matches!(read, Ok(1..)).then_some(buffer)
}

impl Hold {
    /// Its terminal, where it has one, gets another size.
    pub fn resize(&self, size: Size) {
        if let Some(terminal) = &self.terminal {
            terminal.resize(size);
        }
    }

    pub async fn ended(&mut self) -> Ended {
        // A process may close its output and go on.
        match timeout(END.max(DRAIN), &mut self.dead).await {
            Ok(Ok(death)) => {
                let signal = death.signal.map(|signal| 128 + signal);
                Ended { code: death.code.or(signal), why: None }
            }
            Ok(Err(_)) => Ended { code: None, why: Some("its end was not seen".to_owned()) },
            Err(_) => {
                self.kill();
                Ended { code: None, why: Some("it went on without output, and was ended".to_owned()) }
            }
        }
    }

    /// It leads a session and a group of its own, which goes with it.
    pub fn kill(&mut self) {
        let is_dead = self.dead.is_terminated() || self.dead.try_recv().is_ok();
        if let Some(group) = Pid::from_raw(self.pid.cast_signed()).filter(|_| !is_dead) {
            // Before the launcher has made its session there is no such group.
            let _ = kill_process_group(group, Signal::KILL);
            let _ = rustix::process::kill_process(group, Signal::KILL);
        }
    }
}
