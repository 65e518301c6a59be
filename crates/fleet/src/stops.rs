//! Ending workers: draining, killing what does not end, replacing a worker that will not let go of a job.

use runyard_domain::WorkerId;
use runyard_domain::worker::WorkerState;
use runyard_runtime::Stop;

use crate::Fleet;

/// A draining worker that runs a job without a time limit is given this long.
const LONGEST_DRAIN_MS: i64 = 3_600_000;

impl Fleet {
    /// Lets a worker finish what it has and end: mark, SIGTERM, release its held polls. `at_once` ends also
    /// what it runs, after the grace that its endpoint gives to other jobs.
    pub(crate) async fn drain(&self, id: &WorkerId, cause: &str, at_once: bool) {
        let held = self.inner.engine.held_by(id);
        let now = self.now();
        let record = {
            let mut state = self.state();
            let Some(worker) = state.workers.get_mut(id) else { return };
            let settings = self
                .inner
                .engine
                .endpoint_by_id(&worker.record.endpoint)
                .map(|e| e.settings.clone())
                .unwrap_or_default();
            let grace = match (held.is_empty(), at_once, settings.execution_timeout_ms) {
                (true, true, _) => 0,
                (true, false, _) => self.inner.idle_drain_ms,
                (false, true, _) => settings.replace_grace_ms,
                (false, false, 0) => LONGEST_DRAIN_MS,
                (false, false, limit) => limit + self.inner.idle_drain_ms,
            };
            let kill_at = now.plus(grace);
            worker.kill_at = Some(worker.kill_at.map_or(kill_at, |at| at.min(kill_at)));
            worker.wanted_gone = true;
            if worker.record.state == WorkerState::Draining {
                return;
            }
            worker.record.state = WorkerState::Draining;
            worker.record.stop_cause = Some(cause.to_owned());
            worker.record.clone()
        };
        tracing::info!(worker.id = %id, cause, "draining a worker");
        self.inner.engine.mark_draining(id);
        self.save(record);
        if let Err(error) = self.inner.runtime.stop(id, Stop::Term).await {
            tracing::debug!(worker.id = %id, %error, "a draining worker could not be told");
        }
        self.inner.engine.release_polls(id);
        self.inner.wake.notify_one();
    }

    pub(crate) fn spawn_drain(&self, id: WorkerId, cause: &'static str) {
        let fleet = self.clone();
        tokio::spawn(async move { fleet.drain(&id, cause, false).await });
    }

    /// A worker asked to be replaced after its job (`refresh_worker`).
    pub fn refresh(&self, id: &WorkerId) {
        self.spawn_drain(id.clone(), "its handler asked for a fresh worker");
    }

    /// Kills what is over its time, fails starts that take too long, replaces workers that do not let go.
    pub(crate) async fn keep_deadlines(&self) {
        let now = self.now();
        let (kills, late, checks) = {
            let mut state = self.state();
            let mut kills = Vec::new();
            let mut late = Vec::new();
            for worker in state.workers.values_mut() {
                if worker.kill_at.is_some_and(|at| at <= now) {
                    // Once more later, should the kill not be seen.
                    worker.kill_at = Some(now.plus(5_000));
                    kills.push(worker.record.id.clone());
                }
            }
            for worker in state.workers.values() {
                if self.start_deadline(worker).is_some_and(|at| at <= now) {
                    late.push(worker.record.id.clone());
                }
            }
            let (due, rest) =
                std::mem::take(&mut state.stop_checks).into_iter().partition(|(at, ..)| *at <= now);
            state.stop_checks = rest;
            let due: Vec<_> = due;
            (kills, late, due)
        };
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
        for (_, worker, job) in checks {
            if self.inner.engine.unstopped(&worker).contains(&job) {
                self.drain(&worker, "it did not let go of a job that was ended", true).await;
            }
        }
    }

    async fn kill(&self, id: &WorkerId) {
        if let Some(worker) = self.state().workers.get_mut(id) {
            worker.wanted_gone = true;
        }
        if let Err(error) = self.inner.runtime.stop(id, Stop::Kill).await {
            tracing::warn!(worker.id = %id, %error, "a worker could not be killed");
        }
    }

    /// Starts nothing more. Workers stay as they are.
    pub fn close(&self) {
        self.state().closed = true;
    }

    /// Ends the workers that still run jobs: their jobs go back to the queue and cost nothing.
    pub async fn end_busy(&self) {
        let all: Vec<WorkerId> = self.state().workers.keys().cloned().collect();
        for worker in all {
            let held = self.inner.engine.held_by(&worker);
            if held.is_empty() {
                continue;
            }
            self.kill(&worker).await;
            let which = runyard_store::Which::Jobs(held.into_iter().map(|(job, _)| job).collect());
            let reason = runyard_domain::FailReason::WorkerLost { exit: None, attempts: 0 };
            let loss = runyard_domain::job::Loss { reason, spends: false };
            if let Err(error) = self.inner.engine.lose(&worker, which, loss).await {
                tracing::error!(worker.id = %worker, %error, "a running job could not be given back to the queue");
            }
        }
    }

    /// Drains every worker of an endpoint; new ones start as they are needed. Says how many.
    pub async fn restart(&self, endpoint: &runyard_domain::EndpointId) -> usize {
        self.drain_all(endpoint, "a restart was asked for").await
    }
}
