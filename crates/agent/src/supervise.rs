//! Goes with one worker from its first byte to its last: carries its output into the log, learns of the end
//! of its main process, ends what that left behind, drains the pipes, and only then tells the end.

use std::sync::Arc;
use std::time::Duration;

use runyard_domain::Exit;
use runyard_logs::{Level, LogError, Source};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::agent::Agent;
use crate::leftovers::{self, Which};
use crate::oom;
use crate::post;
use crate::worker::{Death, Worker, locked};

/// How long the pipes are read after the end: somebody out of our reach may hold them open.
pub const DRAIN: Duration = Duration::from_secs(2);
/// How long the end waits for results that the worker posted and that are on their way.
const SETTLE: Duration = Duration::from_secs(5);
/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// A worker's output.
#[derive(Debug)]
pub struct Pipes {
    /// Standard output.
    pub out: Receiver,
    /// Standard error.
    pub err: Receiver,
}

/// Stays with the worker until its end is told.
pub async fn supervise(
    agent: Arc<Agent>,
    worker: Arc<Worker>,
    pipes: Pipes,
    mut dead: oneshot::Receiver<Death>,
) {
    let mut output = Output::new(Arc::clone(&agent), Arc::clone(&worker), pipes);
    let death = loop {
        tokio::select! {
            biased;
            death = &mut dead => break death.unwrap_or(Death { code: None, signal: None }),
            () = output.step() => {}
        }
    };
    // The number of a group cannot come to mean another one within this moment.
    if let Some(group) = Pid::from_raw(worker.pid.cast_signed()) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let which = Which::Worker { mark: leftovers::mark(&worker.id, &agent.data_name), pid: worker.pid };
    let ending = tokio::task::spawn_blocking(move || leftovers::end(&which));
    let left = output.drain_while(ending).await;
    let by_itself = death.signal == Some(9) && !worker.was_killed_by_us();
    let exit = Exit {
        code: death.code,
        signal: death.signal,
        out_of_memory: by_itself && oom::killed(worker.pid, worker.kills_before),
        last_lines: Vec::new(),
        fault: None,
    };
    finish(&agent, &worker, exit, left).await;
}

/// Tells a worker's end, once what it posted is settled. `left` processes were ended after it.
pub async fn finish(agent: &Agent, worker: &Worker, mut exit: Exit, left: usize) {
    wait_for_posts(worker).await;
    locked(&agent.table).close(worker);
    let now = agent.now();
    let jobs = worker.prints_of();
    let mut log = locked(&worker.log);
    let closed = log.close(now, &jobs);
    exit.last_lines = log.last_lines();
    let (mut level, mut note) = (Level::Info, exit.sentence());
    if worker.was_killed_by_us() {
        note.push_str(", as asked");
    } else if exit.code != Some(0) {
        level = Level::Error;
    }
    if left > 0 {
        note = format!("{note}; processes that it left behind and that were ended: {left}");
    }
    let noted = log.note(now, Source::System, level, None, &note);
    let finished = log.finish();
    drop(log);
    if let Err(error) = closed.map(|_| ()).and(noted).and(finished) {
        complain(worker, &error);
    }
    tracing::info!(worker.id = %worker.id, endpoint.id = %worker.endpoint, "A worker {note}");
    worker.set_ended(now, exit);
    agent.events.output(&worker.id);
    agent.events.exited(&worker.id);
    agent.ended.notify_waiters();
}

async fn wait_for_posts(worker: &Worker) {
    let waiting = async {
        loop {
            let settled = worker.settled.notified();
            if !worker.has_posts() {
                return;
            }
            settled.await;
        }
    };
    // The server accepts a late result from an ended worker all the same.
    let _ = timeout(SETTLE, waiting).await;
}

fn complain(worker: &Worker, error: &LogError) {
    tracing::warn!(worker.id = %worker.id, %error, "A worker's log cannot be written");
}

/// Carries output from the pipes into the log.
struct Output {
    pen: Pen,
    out: Option<Receiver>,
    err: Option<Receiver>,
    out_buffer: Vec<u8>,
    err_buffer: Vec<u8>,
}

impl Output {
    fn new(agent: Arc<Agent>, worker: Arc<Worker>, pipes: Pipes) -> Self {
        Self {
            pen: Pen::new(agent, worker),
            out: Some(pipes.out),
            err: Some(pipes.err),
            out_buffer: Vec::with_capacity(CHUNK),
            err_buffer: Vec::with_capacity(CHUNK),
        }
    }

    /// Waits for output, or for a line without an end to have waited long enough, and writes it. Never
    /// resolves when both pipes are closed and nothing waits.
    async fn step(&mut self) {
        let pause = self.pen.pause();
        tokio::select! {
            biased;
            open = read(self.out.as_mut(), &mut self.out_buffer), if self.out.is_some() => {
                if !open { self.out = None; }
                self.write(Source::Stdout);
            }
            open = read(self.err.as_mut(), &mut self.err_buffer), if self.err.is_some() => {
                if !open { self.err = None; }
                self.write(Source::Stderr);
            }
            () = sleep(pause.unwrap_or_default()), if pause.is_some() => self.pen.tick(),
            else => std::future::pending().await,
        }
    }

    /// Goes on reading until `ending` is done and the pipes are empty, within [`DRAIN`].
    async fn drain_while(&mut self, ending: tokio::task::JoinHandle<usize>) -> usize {
        let mut ending = ending;
        let left = loop {
            tokio::select! {
                biased;
                left = &mut ending => break left.unwrap_or(0),
                () = self.step() => {}
            }
        };
        let deadline = Instant::now() + DRAIN;
        while self.out.is_some() || self.err.is_some() {
            if tokio::time::timeout_at(deadline, self.step()).await.is_err() {
                break;
            }
        }
        left
    }

    fn write(&mut self, source: Source) {
        let buffer = if source == Source::Stdout { &mut self.out_buffer } else { &mut self.err_buffer };
        self.pen.write(source, buffer);
        buffer.clear();
    }
}

/// Writes what a worker prints into its log.
pub struct Pen {
    agent: Arc<Agent>,
    worker: Arc<Worker>,
    failing: bool,
}

impl Pen {
    /// A pen for this worker's log.
    pub fn new(agent: Arc<Agent>, worker: Arc<Worker>) -> Self {
        Self { agent, worker, failing: false }
    }

    /// How long until a line without an end has waited long enough.
    pub fn pause(&self) -> Option<Duration> {
        let due = locked(&self.worker.log).due();
        due.map(|due| Duration::from_millis(due.since(self.agent.now()).unsigned_abs() + 1))
    }

    /// Writes a piece of output.
    pub fn write(&mut self, source: Source, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let (written, unsent) = {
            let mut log = locked(&self.worker.log);
            let written = log.write(self.agent.now(), source, bytes, &self.worker.prints_of());
            (written, log.unsent())
        };
        for (job, why) in unsent {
            post::refuse(&self.agent, &self.worker, job, &why);
        }
        match written {
            Ok(0) => {}
            Ok(_) => {
                self.failing = false;
                self.agent.events.output(&self.worker.id);
            }
            Err(error) => self.complain_once(&error),
        }
    }

    /// Writes the lines without an end that have waited long enough.
    pub fn tick(&mut self) {
        let ticked = locked(&self.worker.log).tick(self.agent.now(), &self.worker.prints_of());
        match ticked {
            Ok(true) => self.agent.events.output(&self.worker.id),
            Ok(false) => {}
            Err(error) => self.complain_once(&error),
        }
    }

    fn complain_once(&mut self, error: &LogError) {
        if !self.failing {
            complain(&self.worker, error);
        }
        self.failing = true;
    }
}

/// Reads what is there; answers whether the pipe is still open.
async fn read(pipe: Option<&mut Receiver>, buffer: &mut Vec<u8>) -> bool {
    let Some(pipe) = pipe else { return false };
    matches!(pipe.read_buf(buffer).await, Ok(1..))
}
