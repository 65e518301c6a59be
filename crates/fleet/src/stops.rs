//! Ending workers: draining, killing what does not end, replacing a worker that will not let go of a job.

use runyard_domain::worker::WorkerState;
use runyard_domain::{EndpointId, JobId, Settings, Timestamp, WorkerId};
use runyard_runtime::Stop;

use crate::Fleet;
use crate::state::{Managed, StopCheck};

/// A draining worker that runs a job without a time limit is given this long.
const LONGEST_DRAIN_MS: i64 = 3_600_000;

/// A worker that runs other jobs too shows only in its pings, every ten seconds, that it let go of one: in two of them.
const PINGS_MS: i64 = 25_000;

/// After a kill that was not seen to work, the next one.
pub(crate) const KILL_AGAIN_MS: i64 = 5_000;

impl Fleet {
    /// Lets a worker finish what it has and end: mark, and as soon as it holds no job SIGTERM, and release its
    /// held polls. `at_once` ends also what it runs, after the grace that its endpoint gives to other jobs.
    pub(crate) async fn drain(&self, id: &WorkerId, cause: &str, at_once: bool) {
        let held = self.inner.engine.held_by(id);
        let now = self.awake();
        {
            let mut state = self.state();
            let Some(worker) = state.workers.get_mut(id) else { return };
            let settings = self
                .inner
                .engine
                .endpoint_by_id(&worker.record.endpoint)
                .map(|e| e.settings.clone())
                .unwrap_or_default();
            // What was called back from it, it would run for nothing.
            let nothing_left = held.is_empty() && self.inner.engine.is_spoiled(id);
            let grace = match (held.is_empty(), at_once || nothing_left, settings.execution_timeout_ms) {
                (true, true, _) => 0,
                (true, false, _) => self.inner.idle_drain_ms,
                (false, true, _) => settings.replace_grace_ms,
                (false, false, limit) => self.time_for(&held, limit) + self.inner.idle_drain_ms,
            };
            let kill_at = now.plus(grace);
            worker.kill_at = Some(worker.kill_at.map_or(kill_at, |at| at.min(kill_at)));
            worker.at_once |= at_once;
            worker.wanted_gone = true;
            if worker.record.state == WorkerState::Draining {
                return;
            }
            worker.record.state = WorkerState::Draining;
            worker.record.stop_cause = Some(cause.to_owned());
            worker.told_to_end = held.is_empty();
            self.save(worker.record.clone());
        }
        tracing::info!(worker.id = %id, cause, jobs = held.len(), "draining a worker");
        self.inner.engine.mark_draining(id);
        if held.is_empty() {
            self.tell_to_end(id).await;
        }
        self.inner.wake.notify_one();
    }

    /// The longest that one of these jobs may run: each by its own limit, else by the endpoint's.
    fn time_for(&self, held: &[(JobId, Timestamp)], usual_ms: i64) -> i64 {
        let own = |job: &JobId| {
            self.inner.engine.job(job).ok().flatten().map(|job| job.policy.execution_timeout_ms)
        };
        let limits = held.iter().map(|(job, _)| match own(job).unwrap_or(usual_ms) {
            0 => LONGEST_DRAIN_MS,
            limit => limit,
        });
        limits.max().unwrap_or(0)
    }

    /// SIGTERM, and its held polls come back: SDKs end only then. Not while it runs jobs: the Python SDK up to
    /// 1.6 and workers of other makes end at once, with what they run.
    async fn tell_to_end(&self, id: &WorkerId) {
        if let Err(error) = self.inner.runtime.stop(id, Stop::Term).await {
            tracing::debug!(worker.id = %id, %error, "a draining worker could not be told");
        }
        self.inner.engine.release_polls(id);
    }

    /// Draining workers that have nothing left to do are told to end, and need not the time that their jobs had.
    pub(crate) async fn hasten_drains(&self, endpoint: &EndpointId) {
        for id in self.done_draining(endpoint) {
            self.tell_to_end(&id).await;
        }
    }

    /// Those that were not told yet. Their time runs from now on.
    fn done_draining(&self, endpoint: &EndpointId) -> Vec<WorkerId> {
        let now = self.awake();
        let mut state = self.state();
        let draining =
            |w: &&mut Managed| w.record.endpoint == *endpoint && w.record.state == WorkerState::Draining;
        let mut done = Vec::new();
        for worker in state.workers.values_mut().filter(draining) {
            if self.inner.engine.held_by(&worker.record.id).is_empty() {
                let at_once = worker.at_once || self.inner.engine.is_spoiled(&worker.record.id);
                let kill_at = now.plus(if at_once { 0 } else { self.inner.idle_drain_ms });
                worker.kill_at = Some(worker.kill_at.map_or(kill_at, |at| at.min(kill_at)));
                if !std::mem::replace(&mut worker.told_to_end, true) {
                    done.push(worker.record.id.clone());
                }
            }
        }
        done
    }

    /// Looks after the stop grace whether a worker let go of a job.
    pub(crate) fn check_stop(&self, worker: &WorkerId, job: &JobId) {
        let mut state = self.state();
        let Some(managed) = state.workers.get(worker) else { return };
        let endpoint = self.inner.engine.endpoint_by_id(&managed.record.endpoint);
        let grace_ms = endpoint.map_or_else(Settings::default, |e| e.settings.clone()).stop_grace_ms;
        if !state.stop_checks.iter().any(|check| check.worker == *worker && check.job == *job) {
            let at = self.awake().plus(grace_ms);
            state.stop_checks.push(StopCheck { at, worker: worker.clone(), job: job.clone(), last: false });
        }
    }

    pub(crate) fn spawn_drain(&self, id: WorkerId, cause: &'static str) {
        let fleet = self.clone();
        tokio::spawn(async move { fleet.drain(&id, cause, false).await });
    }

    /// A worker asked to be replaced after its job (`refresh_worker`).
    pub fn refresh(&self, id: &WorkerId) {
        // Before its answer is taken for good it may ask again.
        self.inner.engine.mark_draining(id);
        self.spawn_drain(id.clone(), "its handler asked for a fresh worker");
    }

    /// Kills what is over its time, fails starts that take too long, replaces workers that do not let go.
    pub(crate) async fn keep_deadlines(&self) {
        let (now, awake) = (self.now(), self.awake());
        let (kills, late, checks, unsettled) = {
            let mut state = self.state();
            let over = |w: &&Managed| w.kill_at.is_some_and(|at| at <= awake);
            let kills: Vec<_> = state.workers.values().filter(over).map(|w| w.record.id.clone()).collect();
            let too_long = |w: &&Managed| self.start_deadline(w).is_some_and(|at| at <= awake);
            let late: Vec<_> = state.workers.values().filter(too_long).map(|w| w.record.id.clone()).collect();
            let checks: Vec<_> = state.stop_checks.extract_if(.., |check| check.at <= awake).collect();
            let settle = state.settle_at.take_if(|at| *at <= now).is_some();
            let unsettled = if settle { std::mem::take(&mut state.unsettled) } else { Vec::new() };
            (kills, late, checks, unsettled)
        };
        for lost in unsettled {
            self.settle(lost).await;
        }
        for worker in late {
            if let Some(managed) = self.state().workers.get_mut(&worker) {
                managed.start_timed_out = true;
                managed.record.stop_cause =
                    Some("it did not ask for a job within its start timeout".to_owned());
            }
            self.kill(&worker).await;
        }
        for worker in kills {
            self.kill(&worker).await;
        }
        for check in checks {
            self.stop_or_replace(check).await;
        }
    }

    /// Replaces a worker that was not seen to let go; one that heard the order and runs other jobs, which a
    /// replacement would end, has more time to be seen.
    async fn stop_or_replace(&self, check: StopCheck) {
        let (engine, worker) = (&self.inner.engine, &check.worker);
        if !engine.unstopped(worker).contains(&check.job) {
            return;
        }
        let runs_others = engine.leases(worker).iter().any(|lease| lease.started);
        if !check.last && runs_others && engine.was_told(worker, &check.job) {
            let at = self.awake().plus(PINGS_MS);
            self.state().stop_checks.push(StopCheck { at, last: true, ..check });
            return;
        }
        self.drain(worker, "it did not let go of a job that was ended", true).await;
    }

    async fn kill(&self, id: &WorkerId) {
        if let Some(worker) = self.state().workers.get_mut(id) {
            worker.wanted_gone = true;
            // Once more later, should it not be seen to end.
            worker.kill_at = Some(self.awake().plus(KILL_AGAIN_MS));
        }
        if let Err(error) = self.inner.runtime.stop(id, Stop::Kill).await {
            tracing::warn!(worker.id = %id, %error, "a worker could not be killed");
        }
    }

    /// Starts nothing more. Workers stay as they are.
    pub fn close(&self) {
        self.state().closed = true;
    }

    /// Ends the workers that still run jobs, also such that ended without them: their jobs go back to the queue and
    /// cost nothing. The next start knows that this was our wish.
    pub async fn end_busy(&self) {
        let all: Vec<WorkerId> = self.state().workers.keys().cloned().collect();
        for worker in all {
            let held = self.inner.engine.held_by(&worker);
            if !held.is_empty() || !self.inner.engine.unstopped(&worker).is_empty() {
                self.end(&worker, held, "the server ended and it still ran a job").await;
            }
        }
    }

    /// Kills a worker; what it runs returns to the queue and has spent nothing.
    async fn end(&self, worker: &WorkerId, held: Vec<(JobId, Timestamp)>, cause: &str) {
        if let Some(managed) = self.state().workers.get_mut(worker) {
            managed.record.state = WorkerState::Draining;
            managed.record.stop_cause = Some(cause.to_owned());
            self.save(managed.record.clone());
        }
        self.inner.engine.mark_draining(worker);
        self.kill(worker).await;
        let which = runyard_store::Which::Jobs(held.into_iter().map(|(job, _)| job).collect());
        let reason = runyard_domain::FailReason::WorkerLost { exit: None, attempts: 0 };
        let loss = runyard_domain::job::Loss { reason, spends: false };
        if let Err(error) = self.inner.engine.lose(worker, which, loss).await {
            tracing::error!(worker.id = %worker, %error, "a running job could not be given back to the queue");
        }
    }

    /// Ends one worker, others start as they are needed: once its jobs are done, or at once (`now`), in which case they
    /// return to the queue and have spent no attempt. Says how many jobs it ran.
    pub async fn stop(&self, worker: &WorkerId, now: bool) -> usize {
        let held = self.inner.engine.held_by(worker);
        let jobs = held.len();
        if now {
            self.end(worker, held, "it was stopped by hand").await;
        } else {
            self.drain(worker, "it was stopped by hand", false).await;
        }
        jobs
    }

    /// Drains every worker of an endpoint; new ones start as they are needed. Says how many.
    pub async fn restart(&self, endpoint: &EndpointId) -> usize {
        self.drain_all(endpoint, "a restart was asked for", false).await
    }
}
