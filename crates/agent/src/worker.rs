//! One worker as the agent knows it, and the table of all of them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runyard_domain::{EndpointId, Exit, JobId, Timestamp, WorkerId};
use runyard_logs::{Running, Writer};
use runyard_runtime::{Observed, Stop};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::sync::{Notify, Semaphore, oneshot};

use crate::halted;
use crate::inside::Inside;
use crate::launch::Plan;
use crate::oom::Kills;
use crate::post;

/// Locks; a panic elsewhere does not make what is behind the lock useless.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One incarnation.
#[derive(Debug)]
pub struct Worker {
    /// The incarnation.
    pub id: WorkerId,
    /// A label.
    pub endpoint: EndpointId,
    /// A label.
    pub release: u32,
    /// What opens its routes.
    pub token: String,
    /// Its main process.
    pub pid: u32,
    /// When that existed.
    pub started_at: Timestamp,
    /// The kernel's count of kills for want of memory at that time.
    pub kills_before: Kills,
    /// Where it is a container, what stands for its process.
    pub container: Option<Inside>,
    /// Where it is a process, what that was made of.
    pub plan: Option<Plan>,
    /// Its log.
    pub log: Mutex<Writer>,
    life: Mutex<Life>,
    /// Told when a post of it is settled.
    pub settled: Notify,
    /// Room for the bodies that it may send at once, in KiB.
    pub room: Arc<Semaphore>,
    connections: AtomicUsize,
}

/// Connections of one worker: some SDKs open one for each job they run.
const MOST_CONNECTIONS: usize = 4_000;

/// One of a worker's connections, until it is dropped.
#[derive(Debug)]
pub struct Seat(Arc<Worker>);

impl Seat {
    /// Whether it is this worker's.
    pub fn is_of(&self, worker: &Arc<Worker>) -> bool {
        Arc::ptr_eq(&self.0, worker)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Life {
    ended: Option<(Timestamp, Exit)>,
    /// Its main process is gone, though not all of it is told yet.
    dead: bool,
    killed_by_us: bool,
    /// The jobs that it holds, each with the number of its attempt, where that was told.
    holds: BTreeMap<JobId, Option<u32>>,
    /// Those that it is about to get, and those that it lately had: it prints of them, too.
    named: VecDeque<Running>,
    chunks: HashMap<JobId, u64>,
    posts: usize,
}

/// How many jobs beside those that it holds a worker may print of.
const NAMED: usize = 64;

impl Life {
    fn name(&mut self, job: Running) {
        self.named.retain(|named| named.job != job.job);
        if self.named.len() == NAMED {
            self.named.pop_front();
        }
        self.named.push_back(job);
    }
}

/// What is fixed at a worker's start.
#[derive(Debug)]
pub struct Birth {
    /// The incarnation.
    pub id: WorkerId,
    /// A label.
    pub endpoint: EndpointId,
    /// A label.
    pub release: u32,
    /// What opens its routes.
    pub token: String,
    /// Its main process.
    pub pid: u32,
    /// When that existed.
    pub started_at: Timestamp,
    /// The kernel's count of kills for want of memory at that time.
    pub kills_before: Kills,
}

impl Worker {
    /// A worker whose process exists.
    pub fn new(birth: Birth, log: Writer) -> Self {
        let Birth { id, endpoint, release, token, pid, started_at, kills_before } = birth;
        Self {
            id,
            endpoint,
            release,
            token,
            pid,
            started_at,
            kills_before,
            container: None,
            plan: None,
            log: Mutex::new(log),
            life: Mutex::default(),
            settled: Notify::new(),
            room: Arc::new(Semaphore::new(post::MAX_BODY / 1024 + 1)),
            connections: AtomicUsize::new(0),
        }
    }

    /// The same worker, made of this.
    pub fn with_plan(self, plan: Plan) -> Self {
        Self { plan: Some(plan), ..self }
    }

    /// The same worker as a container.
    #[cfg(feature = "docker")]
    pub fn inside(self, container: Inside) -> Self {
        Self { container: Some(container), ..self }
    }

    /// Counts a connection; `None` where it has too many.
    pub fn sit(self: &Arc<Self>) -> Option<Seat> {
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        let seat = Seat(Arc::clone(self));
        (before < MOST_CONNECTIONS).then_some(seat)
    }

    /// The jobs that what it prints may be of: those that it holds, then those of which it only says something.
    pub fn prints_of(&self) -> Vec<Running> {
        let life = locked(&self.life);
        let held = life.holds.iter();
        let held = held.map(|(job, attempt)| Running { job: job.clone(), attempt: *attempt, by_name: false });
        held.chain(life.named.iter().filter(|named| !life.holds.contains_key(&named.job)).cloned()).collect()
    }

    /// Jobs are on their way to it.
    pub fn expect(&self, jobs: &[Running]) {
        let mut life = locked(&self.life);
        for job in jobs {
            life.name(job.clone());
        }
    }

    /// Jobs were handed to it.
    pub fn hold(&self, jobs: Vec<Running>) {
        locked(&self.life).holds.extend(jobs.into_iter().map(|held| (held.job, held.attempt)));
    }

    /// Whether a job was handed to it, and its result is not out of its hands.
    pub fn holds(&self, job: &JobId) -> bool {
        locked(&self.life).holds.contains_key(job)
    }

    /// A job's final result is out of its hands.
    pub fn release_job(&self, job: &JobId) {
        let mut life = locked(&self.life);
        if let Some(attempt) = life.holds.remove(job) {
            life.name(Running { job: job.clone(), attempt, by_name: true });
        }
        life.chunks.remove(job);
    }

    /// The number of the next chunk of a job's stream, from 1.
    pub fn next_chunk(&self, job: &JobId) -> u64 {
        let mut life = locked(&self.life);
        let number = life.chunks.entry(job.clone()).or_insert(0);
        *number += 1;
        *number
    }

    /// A post of it is being settled until the guard is dropped.
    pub fn post_begins(self: &Arc<Self>) -> PostGuard {
        locked(&self.life).posts += 1;
        PostGuard(Arc::clone(self))
    }

    /// Whether posts of it are being settled.
    pub fn has_posts(&self) -> bool {
        locked(&self.life).posts > 0
    }

    /// Whether we killed it.
    pub fn was_killed_by_us(&self) -> bool {
        locked(&self.life).killed_by_us
    }

    /// Its main process is gone: a signal to its number could reach another.
    pub fn set_dead(&self) {
        locked(&self.life).dead = true;
    }

    /// Asks its main process to end; none there is no error.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends its main process and that one's group; the supervisor sees to the rest.
    pub fn kill(&self) {
        if !self.is_dead() {
            locked(&self.life).killed_by_us = true;
            self.signal(Signal::KILL);
            let group = Pid::from_raw(self.pid.cast_signed());
            if let Some(group) = group.filter(|_| self.container.is_none()) {
                // Before the launcher has made its session there is no such group.
                let _ = kill_process_group(group, Signal::KILL);
            }
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(container) = &self.container {
            return container.order(if signal == Signal::KILL { Stop::Kill } else { Stop::Term });
        }
        // Until it is reaped, which sets `dead`, its number means nobody else.
        if !self.is_dead()
            && let Some(pid) = Pid::from_raw(self.pid.cast_signed())
        {
            let _ = kill_process(pid, signal);
        }
    }

    /// Whether its main process is stopped, or its container paused.
    fn is_halted(&self) -> bool {
        match &self.container {
            Some(container) => halted::is_frozen(container.pid()),
            None => halted::is_stopped(self.pid),
        }
    }

    /// Whether its main process is gone.
    pub fn is_dead(&self) -> bool {
        locked(&self.life).dead
    }

    /// All is told: how it ended is known.
    pub fn set_ended(&self, at: Timestamp, exit: Exit) {
        let mut life = locked(&self.life);
        life.dead = true;
        life.ended = Some((at, exit));
    }

    /// Whether it is known how it ended.
    pub fn has_ended(&self) -> bool {
        locked(&self.life).ended.is_some()
    }

    /// The worker for the server's eyes.
    pub fn observed(&self, spooled: Vec<JobId>) -> Observed {
        let life = locked(&self.life);
        let (ended_at, exit) = life.ended.clone().unzip();
        Observed {
            id: self.id.clone(),
            endpoint: self.endpoint.clone(),
            release: self.release,
            pid: self.container.as_ref().map_or(self.pid, Inside::pid),
            phase: self.container.as_ref().and_then(Inside::phase),
            started_at: self.started_at,
            ended_at,
            exit,
            holds: life.holds.keys().cloned().collect(),
            spooled,
            start: self.container.as_ref().map(Inside::seen).unwrap_or_default(),
            halted: !life.dead && self.is_halted(),
        }
    }
}

/// Held while a post is being settled.
#[derive(Debug)]
pub struct PostGuard(Arc<Worker>);

impl Drop for PostGuard {
    fn drop(&mut self) {
        locked(&self.0.life).posts -= 1;
        self.0.settled.notify_waiters();
    }
}

/// All workers, by what they are looked for.
#[derive(Debug, Default)]
pub struct Table {
    ids: HashMap<WorkerId, Arc<Worker>>,
    tokens: HashMap<String, Arc<Worker>>,
    pids: HashMap<u32, (Arc<Worker>, oneshot::Sender<Death>)>,
    commands: HashMap<u32, oneshot::Sender<Death>>,
}

/// How a process died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// Its exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl Table {
    /// Whether the incarnation is known.
    pub fn knows(&self, id: &WorkerId) -> bool {
        self.ids.contains_key(id)
    }

    /// Adds a worker; `death` hears of its main process's end.
    pub fn add(&mut self, worker: Arc<Worker>, death: oneshot::Sender<Death>) {
        self.pids.insert(worker.pid, (Arc::clone(&worker), death));
        self.tokens.insert(worker.token.clone(), Arc::clone(&worker));
        self.ids.insert(worker.id.clone(), worker);
    }

    /// Adds a command that runs beside a worker; `death` hears of its end.
    pub fn add_command(&mut self, pid: u32, death: oneshot::Sender<Death>) {
        self.commands.insert(pid, death);
    }

    /// Adds a worker that is a container: its end is seen otherwise.
    #[cfg(feature = "docker")]
    pub fn add_container(&mut self, worker: Arc<Worker>) {
        self.tokens.insert(worker.token.clone(), Arc::clone(&worker));
        self.ids.insert(worker.id.clone(), worker);
    }

    /// The worker of an id.
    pub fn get(&self, id: &WorkerId) -> Option<Arc<Worker>> {
        self.ids.get(id).cloned()
    }

    /// The worker whose token this is, as long as it lives.
    pub fn by_token(&self, token: &str) -> Option<Arc<Worker>> {
        self.tokens.get(token).cloned()
    }

    /// A process is gone; tells whoever goes with its worker, if it is one's main process.
    pub fn bury(&mut self, pid: u32, death: Death) {
        if let Some((worker, supervisor)) = self.pids.remove(&pid) {
            worker.set_dead();
            // The supervisor may be gone while the agent ends.
            let _ = supervisor.send(death);
        }
        if let Some(waits) = self.commands.remove(&pid) {
            // Nobody waits where its client is gone.
            let _ = waits.send(death);
        }
    }

    /// Closes a worker's routes.
    pub fn close(&mut self, worker: &Worker) {
        self.tokens.remove(&worker.token);
    }

    /// Drops a worker.
    pub fn remove(&mut self, worker: &Worker) {
        self.close(worker);
        self.ids.remove(&worker.id);
    }

    /// All workers.
    pub fn all(&self) -> Vec<Arc<Worker>> {
        self.ids.values().cloned().collect()
    }
}
