//! The agent as the fleet and the workers meet it, without processes and sockets: it owns the workers, knows which
//! jobs each holds, gives back what did not reach one, keeps results while the server is away and brings them in
//! later. It outlives servers, and can be killed itself: its workers die with it, its spool stays.
//!
//! What it does follows `crates/agent`: `delivery` (hand-over and giving back), `post` (forward, else spool), `replay`
//! (in order, one worker's after another's), `supervise` (posts first, then the end is told) and `Agent::list`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use runyard_domain::start::Seen;
use runyard_domain::{Env as _, Exit, JobId, Timestamp, WorkerId};
use runyard_engine::EngineError;
use runyard_runtime::{Event, Observed, Pending, Runtime, RuntimeError, Stop, Whose, WorkerSpec};
use tokio::sync::{Notify, broadcast, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::chance::{Chance, Signal, SimEnv};
use crate::requests::Post;
use crate::server::{Life, Reach};
use crate::witness::Witness;
use crate::worker::{self, Me, Nature};

/// How long a runtime's call waits for an agent that is being started.
const START: Duration = Duration::from_secs(15);
/// How long the end of a worker waits for what it posted.
const SETTLE: Duration = Duration::from_secs(5);

/// One worker's process.
pub struct Local {
    pub spec: WorkerSpec,
    pub pid: u32,
    pub started_at: Timestamp,
    pub alive: bool,
    pub ended: Option<(Timestamp, Exit)>,
    pub holds: BTreeSet<JobId>,
    pub posts: u32,
    pub settled: Arc<Notify>,
    /// It was asked to end.
    pub term: Arc<Signal<bool>>,
    kill: Arc<Notify>,
    supervisor: Option<AbortHandle>,
}

#[derive(Default)]
pub struct State {
    /// Rises with each agent process; what an earlier one had begun ends with it.
    pub generation: u64,
    pub workers: BTreeMap<WorkerId, Local>,
    pub spool: BTreeMap<WorkerId, VecDeque<Post>>,
    next_pid: u32,
    tasks: Vec<AbortHandle>,
}

/// The agent, through all its processes.
pub struct Agent {
    pub env: Arc<SimEnv>,
    pub witness: Arc<Witness>,
    /// How workers are that start from now on.
    pub nature: Mutex<Nature>,
    pub spool_filled: Notify,
    chance: Mutex<Chance>,
    state: Mutex<State>,
    events: broadcast::Sender<Event>,
    up: Signal<bool>,
    /// The server that can be reached.
    pub upstream: Signal<Option<Reach>>,
}

impl Agent {
    pub fn begin(env: Arc<SimEnv>, witness: Arc<Witness>, chance: Chance) -> Arc<Self> {
        let agent = Arc::new(Self {
            env,
            witness,
            nature: Mutex::new(Nature::peaceful()),
            spool_filled: Notify::new(),
            chance: Mutex::new(chance),
            state: Mutex::default(),
            events: broadcast::channel(64).0,
            up: Signal::new(true),
            upstream: Signal::new(None),
        });
        agent.spawn(Arc::clone(&agent).replay());
        agent
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn chance<T>(&self, ask: impl FnOnce(&mut Chance) -> T) -> T {
        ask(&mut self.chance.lock().unwrap())
    }

    /// A task that ends with the agent's process.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let handle = tokio::spawn(task).abort_handle();
        let mut state = self.state();
        state.tasks.retain(|task| !task.is_finished());
        state.tasks.push(handle.clone());
        handle
    }

    /// What a message takes from one process to another.
    pub async fn hop(&self) {
        let pause =
            self.chance(|chance| if chance.one_in(20) { chance.pause(1, 80) } else { chance.pause(0, 3) });
        sleep(pause).await;
    }

    /// The agent is killed, and its workers with it; whoever needs it starts the next one.
    pub fn kill(self: &Arc<Self>) {
        self.witness.note(|| "the agent is killed".to_owned());
        self.up.set(false);
        let (tasks, workers) = {
            let mut state = self.state();
            state.generation += 1;
            (std::mem::take(&mut state.tasks), std::mem::take(&mut state.workers))
        };
        tasks.iter().for_each(AbortHandle::abort);
        for (id, local) in workers {
            local.supervisor.iter().for_each(AbortHandle::abort);
            self.witness.process_gone(&id);
        }
        let _ = self.events.send(Event::Resync);
        let (agent, pause) = (Arc::clone(self), self.chance(|chance| chance.pause(20, 4_000)));
        tokio::spawn(async move {
            sleep(pause).await;
            agent.up.set(true);
            agent.spawn(Arc::clone(&agent).replay());
            let _ = agent.events.send(Event::Resync);
        });
    }

    /// Workers whose processes live.
    pub fn alive(&self) -> Vec<WorkerId> {
        self.state().workers.iter().filter(|(_, w)| w.alive).map(|(id, _)| id.clone()).collect()
    }

    /// Whether nothing is left: no worker, no result.
    pub fn is_empty(&self) -> bool {
        let state = self.state();
        state.workers.is_empty() && state.spool.is_empty()
    }

    async fn reach(&self, operation: &str) -> Result<(), RuntimeError> {
        self.hop().await;
        timeout(START, self.up.until())
            .await
            .map_err(|_| failure(operation, "there is no agent", Whose::Engine))
    }

    fn launch(self: &Arc<Self>, spec: WorkerSpec) -> u32 {
        let nature = self.nature.lock().unwrap().of(&spec, &mut self.chance.lock().unwrap());
        let chance = self.chance(Chance::fork);
        let (id, kill) = (spec.id.clone(), Arc::new(Notify::new()));
        let term = Arc::new(Signal::new(false));
        let me = Me { id: id.clone(), token: spec.token.clone(), term: Arc::clone(&term) };
        self.witness.process_begins(&spec);
        let local = Local {
            pid: {
                let mut state = self.state();
                state.next_pid += 1;
                1_000 + state.next_pid
            },
            spec,
            started_at: self.env.now(),
            alive: true,
            ended: None,
            holds: BTreeSet::new(),
            posts: 0,
            settled: Arc::default(),
            term,
            kill: Arc::clone(&kill),
            supervisor: None,
        };
        let pid = local.pid;
        self.state().workers.insert(id.clone(), local);
        let life = worker::live(Arc::clone(self), me, nature, chance);
        let supervisor = tokio::spawn(Arc::clone(self).supervise(id.clone(), life, kill)).abort_handle();
        if let Some(local) = self.state().workers.get_mut(&id) {
            local.supervisor = Some(supervisor);
        }
        pid
    }

    /// Stays with a worker until its end is told.
    async fn supervise(
        self: Arc<Self>,
        id: WorkerId,
        life: impl Future<Output = Exit> + Send + 'static,
        kill: Arc<Notify>,
    ) {
        let exit = {
            // What it does dies with this.
            let mut life = Box::pin(life);
            tokio::select! {
                biased;
                () = kill.notified() => exit(None, Some(9)),
                exit = &mut life => exit,
            }
        };
        self.witness.process_gone(&id);
        let settled = {
            let mut state = self.state();
            let Some(local) = state.workers.get_mut(&id) else { return };
            local.alive = false;
            Arc::clone(&local.settled)
        };
        let all_settled = async {
            loop {
                let one = settled.notified();
                if self.state().workers.get(&id).is_none_or(|w| w.posts == 0) {
                    return;
                }
                one.await;
            }
        };
        let _ = timeout(SETTLE, all_settled).await;
        self.hop().await;
        let now = self.env.now();
        if let Some(local) = self.state().workers.get_mut(&id) {
            local.ended = Some((now, exit));
        }
        let _ = self.events.send(Event::Exited(id));
    }

    fn observed(&self) -> Vec<Observed> {
        let state = self.state();
        let waiting = |id: &WorkerId| -> Vec<JobId> {
            let posts = state.spool.get(id).into_iter().flatten();
            posts.filter(|post| post.last).map(|post| post.job.clone()).collect()
        };
        let mut list: Vec<Observed> = state
            .workers
            .iter()
            .map(|(id, local)| Observed {
                id: id.clone(),
                endpoint: local.spec.endpoint.clone(),
                release: local.spec.release,
                pid: local.pid,
                started_at: local.started_at,
                ended_at: local.ended.as_ref().map(|(at, _)| *at),
                exit: local.ended.as_ref().map(|(_, exit)| exit.clone()),
                holds: local.holds.iter().cloned().collect(),
                spooled: waiting(id),
                phase: None,
                start: Seen::default(),
                halted: false,
            })
            .collect();
        for (id, posts) in state.spool.iter().filter(|(id, _)| !state.workers.contains_key(*id)) {
            let Some(first) = posts.front() else { continue };
            list.push(Observed {
                id: id.clone(),
                endpoint: first.endpoint.clone(),
                release: first.release,
                pid: 0,
                started_at: Timestamp(0),
                ended_at: Some(self.env.now()),
                exit: None,
                holds: Vec::new(),
                spooled: waiting(id),
                phase: None,
                start: Seen::default(),
                halted: false,
            });
        }
        list
    }
}

pub fn exit(code: Option<i32>, signal: Option<i32>) -> Exit {
    Exit { code, signal, out_of_memory: false, last_lines: Vec::new(), fault: None }
}

fn failure(operation: &str, message: &str, whose: Whose) -> RuntimeError {
    RuntimeError { operation: operation.to_owned(), message: message.to_owned(), whose, retryable: true }
}

/// The agent as a server reaches it.
pub struct Remote(pub Arc<Agent>, pub Arc<Life>);

impl Runtime for Remote {
    fn start(&self, spec: WorkerSpec) -> Pending<'_, Result<u32, RuntimeError>> {
        Box::pin(async move {
            self.0.reach("start a worker").await?;
            let fate = self.0.nature.lock().unwrap().start(&mut self.0.chance.lock().unwrap());
            sleep(fate.takes).await;
            if let Some(whose) = fate.fails {
                return Err(failure("start a worker", "it cannot be", whose));
            }
            if self.1.is_over() {
                return Err(failure("start a worker", "who asked for it is gone", Whose::Ours));
            }
            let pid = self.0.launch(spec);
            self.0.hop().await;
            if fate.unheard {
                return Err(failure("start a worker", "no answer", Whose::Engine));
            }
            Ok(pid)
        })
    }

    fn stop<'a>(&'a self, worker: &'a WorkerId, how: Stop) -> Pending<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            self.0.reach("stop a worker").await?;
            if let Some(local) = self.0.state().workers.get(worker) {
                match how {
                    Stop::Term => local.term.set(true),
                    Stop::Kill => local.kill.notify_one(),
                }
            }
            Ok(())
        })
    }

    fn list(&self) -> Pending<'_, Result<Vec<Observed>, RuntimeError>> {
        Box::pin(async move {
            self.0.reach("list workers").await?;
            let list = self.0.observed();
            self.0.hop().await;
            Ok(list)
        })
    }

    fn forget<'a>(&'a self, worker: &'a WorkerId) -> Pending<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            self.0.reach("forget a worker").await?;
            let mut state = self.0.state();
            if state.workers.get(worker).is_some_and(|local| local.ended.is_none()) {
                return Err(failure("forget a worker", "it still runs", Whose::Ours));
            }
            state.workers.remove(worker);
            Ok(())
        })
    }

    fn watch(&self) -> broadcast::Receiver<Event> {
        self.0.events.subscribe()
    }

    fn worker_url(&self) -> Pending<'_, Result<String, RuntimeError>> {
        Box::pin(async move {
            self.0.reach("ask the agent who it is").await?;
            Ok("http://127.0.0.1:1".to_owned())
        })
    }

    fn boundary(&self) -> Pending<'_, Result<String, RuntimeError>> {
        Box::pin(async { Ok("not a boundary: nothing runs".to_owned()) })
    }

    fn shut_down(&self) -> Pending<'_, Result<(), RuntimeError>> {
        Box::pin(async { Ok(()) })
    }
}

/// The server cannot be reached, or broke off.
#[derive(Debug, Clone, Copy)]
pub struct Away;

impl From<EngineError> for Away {
    fn from(_: EngineError) -> Self {
        Self
    }
}

/// Keeps somebody waiting for an answer from a task that may be ended.
pub async fn answer<T>(of: oneshot::Receiver<T>) -> Result<T, Away> {
    of.await.map_err(|_| Away)
}
