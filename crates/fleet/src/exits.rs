//! Workers that end: what the runtime saw, what it means for their jobs, their endpoint and their record.

use runyard_domain::job::Loss;
use runyard_domain::worker::WorkerState;
use runyard_domain::{EndpointId, Exit, FailReason, JobId, ReleaseState, WorkerId};
use runyard_store::Which;

use crate::Fleet;
use crate::spec::unset_env;
use crate::state::{Failure, Managed};

/// After this many failed starts in a row traffic goes back to the release that served before.
const ROLLBACK_AFTER: u32 = 3;

impl Fleet {
    /// Compares what the runtime has with what the fleet knows.
    pub(crate) async fn look_at_runtime(&self) {
        let observed = match self.inner.runtime.list().await {
            Ok(observed) => observed,
            Err(error) => {
                tracing::warn!(%error, "the runtime cannot be asked for its workers");
                self.retry_look();
                return;
            }
        };
        for worker in &observed {
            if worker.ended_at.is_none() {
                continue;
            }
            if !worker.spooled.is_empty() {
                // Their results are on the way; the rest of its jobs is settled after them.
                self.retry_look();
                continue;
            }
            self.worker_ended(&worker.id, worker.exit.clone(), &worker.spooled).await;
            if let Err(error) = self.inner.runtime.forget(&worker.id).await {
                tracing::warn!(%error, "an ended worker could not be forgotten");
            }
        }
        let vanished: Vec<WorkerId> = {
            let state = self.state();
            let there = |id: &WorkerId| observed.iter().any(|o| o.id == *id);
            state
                .workers
                .values()
                .filter(|w| w.launched && !there(&w.record.id))
                .map(|w| w.record.id.clone())
                .collect()
        };
        for worker in vanished {
            self.worker_ended(&worker, None, &[]).await;
        }
    }

    fn retry_look(&self) {
        let fleet = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            fleet.state().runtime_dirty = true;
            fleet.inner.wake.notify_one();
        });
    }

    /// A worker's process is gone: `exit` is `None` where its agent was lost with it.
    pub(crate) async fn worker_ended(&self, id: &WorkerId, exit: Option<Exit>, spooled: &[JobId]) {
        let Some(managed) = self.state().workers.remove(id) else { return };
        let now = self.now();
        let mut record = managed.record.clone();
        record.state = WorkerState::Gone;
        record.ended_at = Some(now);
        record.exit.clone_from(&exit);
        self.inner.engine.unregister_worker(id);
        let held = self.inner.engine.held_by(id).into_iter().map(|(job, _)| job);
        let lost: Vec<JobId> = held.filter(|job| !spooled.contains(job)).collect();
        if !lost.is_empty() {
            let spends = !managed.wanted_gone && exit.is_some();
            let loss = Loss { reason: FailReason::WorkerLost { exit: exit.clone(), attempts: 0 }, spends };
            if let Err(error) = self.inner.engine.lose(id, Which::Jobs(lost), loss).await {
                tracing::error!(worker.id = %id, %error, "jobs of a lost worker could not be settled");
            }
        }
        tracing::info!(
            worker.id = %id,
            endpoint.id = %record.endpoint,
            how = exit.as_ref().map_or("lost with its agent".to_owned(), Exit::sentence),
            "a worker is gone"
        );
        let endpoint = record.endpoint.clone();
        let failed_start =
            record.ready_at.is_none() && (!managed.wanted_gone || managed.start_timed_out) && exit.is_some();
        if let Err(error) = self.inner.engine.put_worker(record).await {
            tracing::warn!(worker.id = %id, %error, "the record of an ended worker could not be written");
        }
        if failed_start && !managed.test {
            self.start_failed(&managed, exit.unwrap_or_else(unknown_exit)).await;
        }
        let mut state = self.state();
        state.dirty.insert(endpoint);
        // A GPU may have come free for anybody.
        let waiting: Vec<EndpointId> =
            state.yards.iter().filter(|(_, y)| y.no_gpu.is_some()).map(|(id, _)| id.clone()).collect();
        state.dirty.extend(waiting);
        drop(state);
        self.inner.workers_changed.notify_waiters();
        self.inner.wake.notify_one();
    }

    async fn start_failed(&self, managed: &Managed, exit: Exit) {
        let (id, number) = (&managed.record.endpoint, managed.record.release);
        let Some(endpoint) = self.inner.engine.endpoint_by_id(id) else { return };
        if endpoint.serving != Some(number) {
            return;
        }
        let unset_env = unset_env(self.release(id, number).as_deref());
        let failures = {
            let now = self.now();
            let mut state = self.state();
            let breaker = &mut state.yard(id).breaker;
            breaker.fail(Failure { exit, timed_out: managed.start_timed_out, unset_env }, now);
            breaker.failures
        };
        let previous = endpoint
            .previous
            .filter(|p| self.release(id, *p).is_some_and(|release| release.state == ReleaseState::Ready));
        if let (Some(previous), true) = (previous, failures >= ROLLBACK_AFTER) {
            tracing::warn!(endpoint.id = %id, from = number, to = previous, "rolling back: the release does not start");
            if let Err(error) = self.promote(id, previous).await {
                tracing::error!(%error, "the automatic rollback failed");
            }
        }
    }
}

/// What is said of a worker whose end nobody saw.
pub(crate) fn unknown_exit() -> Exit {
    Exit { code: None, signal: None, out_of_memory: false, last_lines: Vec::new() }
}
