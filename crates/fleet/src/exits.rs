//! Workers that end: what the runtime saw, what it means for their jobs, their endpoint and their record.

use runyard_domain::image::Fault;
use runyard_domain::job::Loss;
use runyard_domain::start::Seen;
use runyard_domain::worker::WorkerState;
use runyard_domain::{Exit, FailReason, JobId, ReleaseState, WorkerId};
use runyard_runtime::{Observed, StartPhase, Stop};
use runyard_store::Which;

use crate::Fleet;
use crate::spec::unset_env;
use crate::state::{Breaker, EndedTest, Failure, Managed, Unsettled};

/// Where the runtime has not settled everything, it is asked again after this.
const LOOK_AGAIN_MS: i64 = 200;

/// Where the store did not take lost jobs back (a full disk), it is asked again after this.
const SETTLE_AGAIN_MS: i64 = 1_000;

/// How many ends of workers under test wait for whoever runs the test.
const TESTS_REMEMBERED: usize = 256;

impl Fleet {
    /// Compares what the runtime has with what the fleet knows.
    pub(crate) async fn look_at_runtime(&self) {
        // What is launched after the list was made is not in it, and not gone either.
        let launched: Vec<WorkerId> = {
            let state = self.state();
            state.workers.values().filter(|w| w.launched).map(|w| w.record.id.clone()).collect()
        };
        let observed = match self.inner.runtime.list().await {
            Ok(observed) => observed,
            Err(error) => {
                tracing::warn!(%error, "the runtime cannot be asked for its workers");
                self.look_again();
                return;
            }
        };
        for worker in &observed {
            if worker.ended_at.is_none() {
                self.note_phase(worker);
                self.end_stranger(&worker.id).await;
                continue;
            }
            if !worker.spooled.is_empty() {
                // Their results are on the way; the rest of its jobs is settled after them.
                self.look_again();
                continue;
            }
            self.worker_ended(&worker.id, worker.exit.clone()).await;
            if let Err(error) = self.inner.runtime.forget(&worker.id).await {
                tracing::warn!(%error, "an ended worker could not be forgotten");
            }
        }
        let there = |id: &WorkerId| observed.iter().any(|o| o.id == *id);
        for worker in launched.iter().filter(|id| !there(id)) {
            self.worker_ended(worker, None).await;
        }
    }

    /// Notes how far the start of a container is.
    fn note_phase(&self, seen: &Observed) {
        let (now, awake) = (self.now(), self.awake());
        let mut state = self.state();
        let Some(managed) = state.workers.get_mut(&seen.id) else { return };
        let fetching = |phase: Option<StartPhase>| phase.is_some_and(StartPhase::is_fetching);
        if fetching(managed.phase) && !fetching(seen.phase) {
            managed.began = awake;
        }
        managed.phase = seen.phase;
        let is_news = managed.record.start != seen.start && seen.start != Seen::default();
        if is_news {
            managed.record.start = seen.start;
        }
        if seen.pid != 0 && managed.record.started_at.is_none() {
            managed.record.pid = Some(seen.pid);
            managed.record.started_at = Some(now);
            self.save(managed.record.clone());
        } else if is_news {
            self.save(managed.record.clone());
        }
    }

    fn look_again(&self) {
        self.state().look_at_runtime = Some(self.now().plus(LOOK_AGAIN_MS));
    }

    /// A worker that runs and that nobody here knows: its start was reported as failed, and was none.
    async fn end_stranger(&self, id: &WorkerId) {
        if self.state().workers.contains_key(id) {
            return;
        }
        tracing::warn!(worker.id = %id, "ending a worker that nobody knows");
        if let Err(error) = self.inner.runtime.stop(id, Stop::Kill).await {
            tracing::warn!(worker.id = %id, %error, "it could not be ended");
            self.look_again();
        }
    }

    /// A worker's process is gone: `exit` is `None` where its agent was lost with it.
    pub(crate) async fn worker_ended(&self, id: &WorkerId, mut exit: Option<Exit>) {
        let managed = {
            let mut state = self.state();
            let Some(managed) = state.workers.remove(id) else { return };
            exit = exit.map(|exit| with_words(exit, &managed));
            if managed.test {
                let ended = EndedTest { exit: exit.clone(), timed_out: managed.start_timed_out };
                if state.ended_tests.len() >= TESTS_REMEMBERED {
                    state.ended_tests.clear();
                }
                state.ended_tests.insert(id.clone(), ended);
            }
            managed
        };
        let now = self.now();
        let mut record = managed.record.clone();
        record.state = WorkerState::Gone;
        record.ended_at = Some(now);
        record.exit.clone_from(&exit);
        let answered = self.inner.engine.live_worker(id).is_some_and(|live| live.answered);
        self.inner.engine.unregister_worker(id);
        let jobs: Vec<JobId> = self.inner.engine.held_by(id).into_iter().map(|(job, _)| job).collect();
        if !jobs.is_empty() {
            let below = exit.as_ref().and_then(|exit| exit.fault.as_ref()).is_some_and(|f| !f.is_its_own());
            let spends = !managed.wanted_gone && exit.is_some() && !below;
            let loss = Loss { reason: FailReason::WorkerLost { exit: exit.clone(), attempts: 0 }, spends };
            self.settle(Unsettled { worker: id.clone(), jobs, loss }).await;
        }
        tracing::info!(
            worker.id = %id,
            endpoint.id = %record.endpoint,
            how = exit.as_ref().map_or("lost with its agent".to_owned(), Exit::sentence),
            "a worker is gone"
        );
        let endpoint = record.endpoint.clone();
        let unwanted = !managed.wanted_gone || managed.start_timed_out || managed.launch_failed.is_some();
        let failed_start = record.ready_at.is_none() && unwanted && exit.is_some();
        if let Err(error) = self.inner.engine.put_worker(record).await {
            tracing::warn!(worker.id = %id, %error, "the record of an ended worker could not be written");
        }
        if failed_start && !managed.test {
            self.start_failed(&managed, exit.unwrap_or_else(unknown_exit)).await;
        } else if managed.record.ready_at.is_some()
            && !managed.wanted_gone
            && let Some(exit) = exit
        {
            self.crashed(&managed, exit, answered);
        }
        let mut state = self.state();
        state.dirty.insert(endpoint);
        drop(state);
        self.inner.workers_changed.notify_waiters();
        self.inner.wake.notify_one();
    }

    /// Gives the jobs of a worker that is gone back, or has it done later.
    pub(crate) async fn settle(&self, lost: Unsettled) {
        let which = Which::Jobs(lost.jobs.clone());
        if let Err(error) = self.inner.engine.lose(&lost.worker, which, lost.loss.clone()).await {
            tracing::error!(worker.id = %lost.worker, %error, "jobs of a lost worker could not be settled; trying again");
            let mut state = self.state();
            state.unsettled.push(lost);
            state.settle_at = Some(self.now().plus(SETTLE_AGAIN_MS));
        }
    }

    /// A worker that had asked for jobs ended by itself. One that never answered any may be the first of many.
    fn crashed(&self, managed: &Managed, exit: Exit, answered: bool) {
        let now = self.now();
        let endpoint = self.inner.engine.endpoint_by_id(&managed.record.endpoint);
        let serves = endpoint.is_some_and(|e| e.serves(managed.record.release));
        let mut state = self.state();
        let yard = state.yard(&managed.record.endpoint);
        *yard.crashed.entry(managed.record.release).or_default() += 1;
        let crashes = if serves { &mut yard.crashes } else { &mut yard.canary };
        if answered {
            *crashes = Breaker::default();
        } else {
            crashes.crash(Failure { exit, timed_out: false, unset_env: Vec::new(), its_fault: false }, now);
        }
    }

    async fn start_failed(&self, managed: &Managed, exit: Exit) {
        let (id, number) = (&managed.record.endpoint, managed.record.release);
        let Some(endpoint) = self.inner.engine.endpoint_by_id(id) else { return };
        let comes = endpoint.rollout.as_ref().is_some_and(|rollout| rollout.to == number);
        if endpoint.serving != Some(number) && !comes {
            return;
        }
        let unset_env = unset_env(self.release(id, number).as_deref());
        let below = exit.fault.as_ref().is_some_and(|fault| !fault.is_its_own());
        let its_fault = !managed.not_its_fault && !below;
        let failure = Failure { exit, timed_out: managed.start_timed_out, unset_env, its_fault };
        let failures = {
            let now = self.now();
            let mut state = self.state();
            let yard = state.yard(id);
            let breaker = if endpoint.serving == Some(number) { &mut yard.breaker } else { &mut yard.canary };
            breaker.fail(failure, now);
            breaker.failures
        };
        if comes && endpoint.rollout.as_ref().is_some_and(|rollout| !rollout.from.is_empty()) {
            // The rollout sees it and goes back.
            return;
        }
        let previous = endpoint
            .previous
            .filter(|p| self.release(id, *p).is_some_and(|release| release.state == ReleaseState::Ready));
        let limit = endpoint.settings.rollout.failed_starts;
        if let (Some(previous), true) = (previous, limit > 0 && failures >= limit && its_fault) {
            tracing::warn!(endpoint.id = %id, from = number, to = previous, "rolling back: the release does not start");
            let why = format!("its workers failed to start {failures} times in a row");
            if let Err(error) = self.go_back(id, previous, number, &why).await {
                tracing::error!(%error, "the automatic rollback failed");
            }
        }
    }
}

/// How a worker ended, with what is known beside its own last lines.
fn with_words(exit: Exit, managed: &Managed) -> Exit {
    let mut exit = match &managed.launch_failed {
        Some(error) => Exit { last_lines: vec![error.clone()], ..unknown_exit() },
        None => exit,
    };
    if exit.fault.is_none() && exit.code != Some(0) {
        let told = managed.unfit.clone().map(|message| Fault::Unfit { message });
        exit.fault = told.or_else(|| Fault::unfit(&exit.last_lines)).map(Box::new);
    }
    exit
}

/// What is said of a worker whose end nobody saw.
pub(crate) fn unknown_exit() -> Exit {
    Exit { code: None, signal: None, out_of_memory: false, last_lines: Vec::new(), fault: None }
}
