//! A scripted runtime for tests: starts nothing, remembers what it was asked, and lets the test decide what
//! becomes of each worker.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use runyard_domain::start::Seen;
use runyard_domain::{Exit, JobId, Timestamp, WorkerId};
use tokio::sync::broadcast;

use crate::{Event, Observed, Pending, Runtime, RuntimeError, Stop, Whose, WorkerSpec};

/// A runtime whose workers exist only on paper.
#[derive(Debug)]
pub struct FakeRuntime {
    state: Mutex<State>,
    events: broadcast::Sender<Event>,
}

#[derive(Debug, Default)]
struct State {
    now: Timestamp,
    workers: BTreeMap<WorkerId, Observed>,
    specs: Vec<WorkerSpec>,
    stops: Vec<(WorkerId, Stop)>,
    failures: VecDeque<RuntimeError>,
    lost_answers: VecDeque<RuntimeError>,
    ignores_term: bool,
    ignores_kill: bool,
    next_pid: u32,
    down: bool,
}

impl Default for FakeRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeRuntime {
    /// A runtime without workers whose clock stands at zero.
    pub fn new() -> Self {
        Self { state: Mutex::default(), events: broadcast::channel(1024).0 }
    }

    /// Sets the clock that `started_at` and `ended_at` are taken from.
    pub fn set_now(&self, now: Timestamp) {
        self.state().now = now;
    }

    /// Lets a coming start fail; several fail one start each.
    pub fn fail_start(&self, error: RuntimeError) {
        self.state().failures.push_back(error);
    }

    /// Lets the answer of a coming start be lost: the worker starts, and who asked for it gets the error.
    pub fn lose_answer(&self, error: RuntimeError) {
        self.state().lost_answers.push_back(error);
    }

    /// Whether workers go on when they are asked to end (SIGTERM).
    pub fn ignore_term(&self, ignore: bool) {
        self.state().ignores_term = ignore;
    }

    /// Whether workers are not seen to end when they are killed.
    pub fn ignore_kill(&self, ignore: bool) {
        self.state().ignores_kill = ignore;
    }

    /// Ends a worker.
    pub fn exit(&self, worker: &WorkerId, exit: Exit) {
        let mut state = self.state();
        let now = state.now;
        let Some(observed) = state.workers.get_mut(worker).filter(|worker| worker.exit.is_none()) else {
            return;
        };
        observed.ended_at = Some(now);
        observed.exit = Some(exit);
        drop(state);
        let _ = self.events.send(Event::Exited(worker.clone()));
    }

    /// Sets which jobs a worker holds and which of its results lie in the spool.
    pub fn set_jobs(&self, worker: &WorkerId, holds: Vec<JobId>, spooled: Vec<JobId>) {
        if let Some(observed) = self.state().workers.get_mut(worker) {
            observed.holds = holds;
            observed.spooled = spooled;
        }
    }

    /// Tells that a worker printed something.
    pub fn output(&self, worker: &WorkerId) {
        let _ = self.events.send(Event::Output(worker.clone()));
    }

    /// The agent dies: every worker is gone without a trace.
    pub fn lose_agent(&self) {
        self.state().workers.clear();
        let _ = self.events.send(Event::Resync);
    }

    /// Every spec that was started, in order.
    pub fn started(&self) -> Vec<WorkerSpec> {
        self.state().specs.clone()
    }

    /// Every stop that was asked for, in order.
    pub fn stopped(&self) -> Vec<(WorkerId, Stop)> {
        self.state().stops.clone()
    }

    /// Workers that run now.
    pub fn running(&self) -> Vec<WorkerId> {
        let state = self.state();
        state
            .workers
            .values()
            .filter(|worker| worker.exit.is_none())
            .map(|worker| worker.id.clone())
            .collect()
    }

    /// Whether it was shut down.
    pub fn is_down(&self) -> bool {
        self.state().down
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, spec: WorkerSpec) -> Result<u32, RuntimeError> {
        let mut state = self.state();
        if let Some(error) = state.failures.pop_front() {
            return Err(error);
        }
        if state.workers.contains_key(&spec.id) {
            return Err(RuntimeError {
                operation: format!("start worker {}", spec.id),
                message: "it was started before".to_owned(),
                whose: Whose::Ours,
                retryable: false,
            });
        }
        state.next_pid += 1;
        let pid = 1000 + state.next_pid;
        let observed = Observed {
            id: spec.id.clone(),
            endpoint: spec.endpoint.clone(),
            release: spec.release,
            pid,
            started_at: state.now,
            ended_at: None,
            exit: None,
            holds: Vec::new(),
            spooled: Vec::new(),
            phase: None,
            start: Seen::default(),
            halted: false,
        };
        state.workers.insert(spec.id.clone(), observed);
        state.specs.push(spec);
        match state.lost_answers.pop_front() {
            Some(error) => Err(error),
            None => Ok(pid),
        }
    }
}

/// An exit by code or by signal, without output.
pub fn exit(code: Option<i32>, signal: Option<i32>) -> Exit {
    Exit { code, signal, out_of_memory: false, last_lines: Vec::new(), fault: None }
}

impl Runtime for FakeRuntime {
    fn start(&self, spec: WorkerSpec) -> Pending<'_, Result<u32, RuntimeError>> {
        Box::pin(async move { self.begin(spec) })
    }

    fn stop<'a>(&'a self, worker: &'a WorkerId, how: Stop) -> Pending<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            let mut state = self.state();
            state.stops.push((worker.clone(), how));
            let stays = match how {
                Stop::Term => state.ignores_term,
                Stop::Kill => state.ignores_kill,
            };
            drop(state);
            if !stays {
                let ended = match how {
                    Stop::Term => exit(Some(0), None),
                    Stop::Kill => exit(None, Some(9)),
                };
                self.exit(worker, ended);
            }
            Ok(())
        })
    }

    fn list(&self) -> Pending<'_, Result<Vec<Observed>, RuntimeError>> {
        Box::pin(async move { Ok(self.state().workers.values().cloned().collect()) })
    }

    fn forget<'a>(&'a self, worker: &'a WorkerId) -> Pending<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            let mut state = self.state();
            if state.workers.get(worker).is_some_and(|worker| worker.exit.is_none()) {
                return Err(RuntimeError {
                    operation: format!("forget worker {worker}"),
                    message: "it still runs".to_owned(),
                    whose: Whose::Ours,
                    retryable: false,
                });
            }
            state.workers.remove(worker);
            Ok(())
        })
    }

    fn watch(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    fn worker_url(&self) -> Pending<'_, Result<String, RuntimeError>> {
        Box::pin(async { Ok("http://127.0.0.1:1".to_owned()) })
    }

    fn boundary(&self) -> Pending<'_, Result<String, RuntimeError>> {
        Box::pin(async { Ok("not a boundary: nothing runs".to_owned()) })
    }

    fn shut_down(&self) -> Pending<'_, Result<(), RuntimeError>> {
        Box::pin(async move {
            let running = self.running();
            for worker in &running {
                self.exit(worker, exit(None, Some(9)));
            }
            self.state().down = true;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use runyard_domain::EndpointId;

    use super::*;

    fn spec(id: &str) -> WorkerSpec {
        WorkerSpec {
            id: WorkerId::new(id),
            endpoint: EndpointId::new("ep"),
            release: 1,
            token: "t".to_owned(),
            command: vec!["/bin/true".to_owned()],
            code_dir: "/".to_owned(),
            in_place: false,
            read_dirs: Vec::new(),
            volumes: Vec::new(),
            env: BTreeMap::new(),
            secrets: vec![],
            limits: crate::Limits::default(),
            image: None,
        }
    }

    #[tokio::test]
    async fn workers_live_as_scripted() {
        let fake = FakeRuntime::new();
        let mut events = fake.watch();
        let worker = WorkerId::new("w1");
        fake.set_now(Timestamp(5));
        assert!(fake.start(spec("w1")).await.is_ok());
        assert!(fake.start(spec("w1")).await.is_err());
        assert!(fake.forget(&worker).await.is_err());
        fake.ignore_term(true);
        assert!(fake.stop(&worker, Stop::Term).await.is_ok());
        assert_eq!(fake.running().len(), 1);
        assert!(fake.stop(&worker, Stop::Kill).await.is_ok());
        assert_eq!(events.recv().await, Ok(Event::Exited(worker.clone())));
        let listed = fake.list().await.unwrap_or_default();
        assert_eq!(listed[0].exit, Some(exit(None, Some(9))));
        assert!(fake.forget(&worker).await.is_ok());
        assert_eq!((fake.started().len(), fake.stopped().len()), (1, 2));
    }
}
