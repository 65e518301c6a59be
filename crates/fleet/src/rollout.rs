//! Releases: a worker of the new one is tested without traffic, then traffic moves, then the old workers
//! drain. On a machine whose GPUs are all held by this endpoint, a worker of the old release makes room.

use std::time::Duration;

use bytes::Bytes;
use runyard_domain::placement::Placement;
use runyard_domain::worker::WorkerState;
use runyard_domain::{
    Endpoint, EndpointId, Exit, FailReason, Job, Outcome, Phase, ReleaseState, Settings, WorkerId,
};
use runyard_engine::NewJob;
use runyard_vault::Caller;

use crate::exits::unknown_exit;
use crate::spec::unset_env;
use crate::{Fleet, FleetError};

/// One test of a release.
#[derive(Debug, Clone)]
pub struct TestRequest {
    /// What people call it.
    pub name: String,
    /// The input: one JSON value.
    pub input: Bytes,
    /// How long it may take.
    pub timeout_ms: Option<i64>,
}

/// What the tests of a release took.
#[derive(Debug, Clone, Copy, Default)]
pub struct TestRun {
    /// Tests that passed.
    pub passed: usize,
    /// From the decision to start a worker until it asked for a job.
    pub start_ms: i64,
    /// Milliseconds of execution, all tests together.
    pub execution_ms: i64,
}

impl Fleet {
    /// Starts a worker of a release that does not serve yet and runs its tests on it. The worker stays, so
    /// that it can take traffic at once; on a failure it is ended. `settings` are those that the deploy brings:
    /// they hold for the test already, and for the endpoint once it passed.
    pub async fn test_release(
        &self,
        caller: &Caller,
        endpoint: &EndpointId,
        number: u32,
        settings: &Settings,
        tests: &[TestRequest],
    ) -> Result<TestRun, FleetError> {
        let worker = self.start_test_worker(endpoint, number, settings).await?;
        let outcome = self.run_tests(caller, endpoint, number, settings, &worker, tests).await;
        if outcome.is_err() {
            self.drain(&worker, "the test of its release failed", true).await;
        }
        outcome
    }

    async fn start_test_worker(
        &self,
        id: &EndpointId,
        number: u32,
        settings: &Settings,
    ) -> Result<WorkerId, FleetError> {
        let _waiting = TestWaits::new(self);
        loop {
            let changed = self.inner.workers_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let endpoint =
                self.inner.engine.endpoint_by_id(id).ok_or_else(|| FleetError::NoSuchEndpoint(id.clone()))?;
            let endpoint = Endpoint { settings: settings.clone(), ..(*endpoint).clone() };
            if let Some(worker) = self.start_placed(&endpoint, number, "test", true).await? {
                return Ok(worker);
            }
            let wanted = self.release(id, number).map_or(endpoint.settings.gpus, |r| r.gpus);
            match self.placement(&endpoint, wanted) {
                Placement::Never { have } => {
                    let message = format!("a worker needs {wanted} GPUs and this machine has {have}");
                    let reason = FailReason::TestFailed { test: "placement".into(), message };
                    return Err(FleetError::Release(Box::new(reason)));
                }
                Placement::Full { .. } => self.make_room(id).await,
                _ => {}
            }
            // A deadline, so that a missed wake-up costs time and not the deploy.
            let _ = tokio::time::timeout(Duration::from_secs(5), changed).await;
        }
    }

    /// Drains one worker of the endpoint's serving release, idle ones first.
    async fn make_room(&self, id: &EndpointId) {
        let candidate = {
            let state = self.state();
            let mut own: Vec<_> = state
                .of(id)
                .filter(|w| !w.test && !w.record.gpus.is_empty() && w.record.state != WorkerState::Draining)
                .map(|w| (!self.inner.engine.held_by(&w.record.id).is_empty(), w.record.id.clone()))
                .collect();
            own.sort();
            own.into_iter().next().map(|(_, worker)| worker)
        };
        if let Some(worker) = candidate {
            self.drain(&worker, "its GPU is needed to test a new release", false).await;
        }
    }

    async fn run_tests(
        &self,
        caller: &Caller,
        id: &EndpointId,
        number: u32,
        settings: &Settings,
        worker: &WorkerId,
        tests: &[TestRequest],
    ) -> Result<TestRun, FleetError> {
        let started = self.now();
        self.wait_ready(id, number, worker).await?;
        let mut run = TestRun { start_ms: self.now().since(started), ..TestRun::default() };
        for test in tests {
            let job = self.run_test(caller, id, number, settings, test).await?;
            let Phase::Done { outcome, execution_ms, .. } = &job.phase else { continue };
            let message = match outcome {
                Outcome::Completed => {
                    run.passed += 1;
                    run.execution_ms += execution_ms.unwrap_or(0);
                    continue;
                }
                Outcome::Failed { reason: reason @ FailReason::WorkerLost { .. }, .. } => {
                    return Err(FleetError::Release(Box::new(reason.clone())));
                }
                Outcome::Failed { reason, .. } | Outcome::TimedOut { reason } => reason.sentence(),
                Outcome::Cancelled { by } => format!("cancelled by {by}"),
            };
            let reason = FailReason::TestFailed { test: test.name.clone(), message };
            return Err(FleetError::Release(Box::new(reason)));
        }
        Ok(run)
    }

    /// Waits until the worker asked for a job, or says why it never will.
    async fn wait_ready(&self, id: &EndpointId, number: u32, worker: &WorkerId) -> Result<(), FleetError> {
        loop {
            let changed = self.inner.workers_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let state = self.state().workers.get(worker).map(|w| w.record.state);
            match state {
                Some(WorkerState::Ready) => return Ok(()),
                Some(_) => {}
                None => return Err(self.why_gone(id, number, worker)),
            }
            // A deadline, so that a missed wake-up costs time and not the deploy.
            let _ = tokio::time::timeout(Duration::from_secs(5), changed).await;
        }
    }

    fn why_gone(&self, id: &EndpointId, number: u32, worker: &WorkerId) -> FleetError {
        let record = self.inner.engine.reader().worker(worker).ok().flatten();
        let timed_out = record
            .as_ref()
            .is_some_and(|r| r.stop_cause.as_deref().is_some_and(|cause| cause.contains("start timeout")));
        let exit: Exit = record.and_then(|r| r.exit).unwrap_or_else(unknown_exit);
        let unset_env = unset_env(self.release(id, number).as_deref());
        FleetError::Release(Box::new(FailReason::StartFailed { exit, unset_env, timed_out }))
    }

    async fn run_test(
        &self,
        caller: &Caller,
        id: &EndpointId,
        number: u32,
        settings: &Settings,
        test: &TestRequest,
    ) -> Result<Job, FleetError> {
        let engine = &self.inner.engine;
        let endpoint = engine.endpoint_by_id(id).ok_or_else(|| FleetError::NoSuchEndpoint(id.clone()))?;
        let mut new = NewJob::new(endpoint, test.input.clone());
        new.pinned = Some(number);
        new.execution_timeout_ms = test.timeout_ms.or(Some(settings.execution_timeout_ms));
        let accepted = engine.submit(caller, new).await?;
        let waiter = engine.waiter(&accepted.job.id);
        loop {
            let changed = waiter.changed();
            tokio::pin!(changed);
            match engine.job(&accepted.job.id)? {
                Some(job) if job.is_done() => return Ok(job),
                Some(_) => changed.await,
                None => return Err(runyard_engine::EngineError::NoSuchJob(accepted.job.id).into()),
            }
        }
    }

    /// Moves traffic to a release that is ready. The old workers drain; the worker that ran the tests stays.
    pub async fn promote(&self, id: &EndpointId, number: u32) -> Result<(), FleetError> {
        let engine = &self.inner.engine;
        let endpoint = engine.endpoint_by_id(id).ok_or_else(|| FleetError::NoSuchEndpoint(id.clone()))?;
        let release =
            self.release(id, number).ok_or(FleetError::NotServable(number, "there is no such release"))?;
        if !matches!(release.state, ReleaseState::Ready | ReleaseState::Testing) || release.launch.is_none() {
            return Err(FleetError::NotServable(number, "it never passed its tests"));
        }
        let mut next = (*endpoint).clone();
        next.previous = next.serving.filter(|serving| *serving < number);
        next.serving = Some(number);
        next.promoted_at = Some(self.now());
        engine.put_endpoint(next).await?;
        {
            let mut state = self.state();
            for worker in state.workers.values_mut() {
                if worker.record.endpoint == *id && worker.record.release == number {
                    worker.test = false;
                }
            }
            state.yard(id).breaker = crate::state::Breaker::default();
        }
        self.nudge(id);
        Ok(())
    }

    /// Drops what is remembered of a release, so that its changed record is read anew.
    pub fn release_changed(&self, id: &EndpointId, number: u32) {
        let mut releases = self.inner.releases.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        releases.remove(&(id.clone(), number));
    }

    /// Waits until no worker of another release is left, up to `limit`; says how many are.
    pub async fn wait_rolled_out(&self, id: &EndpointId, number: u32, limit: Duration) -> usize {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let changed = self.inner.workers_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let left = self.state().of(id).filter(|w| w.record.release != number).count();
            if left == 0 || tokio::time::timeout_at(deadline, changed).await.is_err() {
                return left;
            }
        }
    }
}

/// While it lives, ordinary starts leave free GPUs to the release under test.
struct TestWaits(Fleet);

impl TestWaits {
    fn new(fleet: &Fleet) -> Self {
        fleet.state().tests_waiting += 1;
        Self(fleet.clone())
    }
}

impl Drop for TestWaits {
    fn drop(&mut self) {
        self.0.state().tests_waiting -= 1;
        self.0.inner.wake.notify_one();
    }
}
