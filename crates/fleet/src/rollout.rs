//! Tests of releases: a worker of the new one is tested without traffic. On a machine whose GPUs are all held by this
//! endpoint, a worker of the old release makes room.

use std::time::Duration;

use bytes::Bytes;
use runyard_domain::placement::Placement;
use runyard_domain::worker::WorkerState;
use runyard_domain::{
    Endpoint, EndpointId, Exit, FailReason, Gpus, Job, JobId, Outcome, Phase, Settings, WorkerId,
};
use runyard_engine::NewJob;
use runyard_vault::Caller;
use serde_json::Value;

use crate::exits::unknown_exit;
use crate::spec::unset_env;
use crate::traffic::MAKES_ROOM;
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
    /// What has to come of it.
    pub expected: Expected,
}

/// What has to come of a test.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expected {
    /// The handler is to fail.
    pub failure: bool,
    /// What the output has to be; of an object, what has to be in it.
    pub output: Option<Value>,
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
        let outcome = self.run_tests(caller, endpoint, number, settings, tests).await;
        if outcome.is_err() {
            self.end_tests(endpoint, number).await;
        }
        outcome
    }

    /// Ends the workers on which a release was tested that will not serve.
    pub async fn end_tests(&self, endpoint: &EndpointId, number: u32) {
        let workers: Vec<WorkerId> = {
            let state = self.state();
            let tested = state.of(endpoint).filter(|w| w.test && w.record.release == number);
            tested.map(|w| w.record.id.clone()).collect()
        };
        for worker in workers {
            self.drain(&worker, "the test of its release failed", true).await;
        }
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
            let wanted = self.gpus_of(&endpoint, number);
            match self.placement(&endpoint, &wanted) {
                Placement::Never => {
                    let message = self.no_gpu_matches(&wanted).sentence(self.now());
                    let reason = FailReason::TestFailed { test: "placement".into(), message };
                    return Err(FleetError::Release(Box::new(reason)));
                }
                Placement::Full { .. } => self.make_room(id, &wanted).await,
                _ => {}
            }
            // A deadline, so that a missed wake-up costs time and not the deploy.
            let _ = tokio::time::timeout(Duration::from_secs(5), changed).await;
        }
    }

    /// Drains one worker of the endpoint, idle ones first.
    async fn make_room(&self, id: &EndpointId, wanted: &Gpus) {
        let candidate = {
            let state = self.state();
            let kept = state.workers.values().filter(|w| w.record.state != WorkerState::Draining);
            let (own, others): (Vec<_>, Vec<_>) =
                kept.filter(|w| !w.record.gpus.is_empty()).partition(|w| w.record.endpoint == *id && !w.test);
            let held = |gpu: &u32| others.iter().any(|w| w.record.gpus.contains(gpu));
            let groups = wanted.groups(self.gpus()).into_iter();
            // Not even without all of its workers: they go on until others make room.
            let mut enough = groups
                .filter(|group| group.iter().filter(|gpu| !held(gpu)).count() >= wanted.count() as usize);
            let Some(group) = enough.next() else { return };
            let busy = |id: &WorkerId| !self.inner.engine.held_by(id).is_empty();
            let in_the_way = own.into_iter().filter(|w| w.record.gpus.iter().any(|gpu| group.contains(gpu)));
            in_the_way.map(|w| (busy(&w.record.id), w.record.id.clone())).min().map(|(_, worker)| worker)
        };
        if let Some(worker) = candidate {
            self.drain(&worker, MAKES_ROOM, false).await;
        }
    }

    async fn run_tests(
        &self,
        caller: &Caller,
        id: &EndpointId,
        number: u32,
        settings: &Settings,
        tests: &[TestRequest],
    ) -> Result<TestRun, FleetError> {
        let mut worker = self.start_test_worker(id, number, settings).await?;
        let started = self.now();
        self.wait_ready(id, number, &worker).await?;
        let mut run = TestRun { start_ms: self.now().since(started), ..TestRun::default() };
        for test in tests {
            if !self.takes_tests(&worker) {
                // Its handler asked for a fresh worker after each job, or it ended by itself.
                worker = self.start_test_worker(id, number, settings).await?;
                self.wait_ready(id, number, &worker).await?;
            }
            let job = self.run_test(caller, id, number, settings, &worker, test).await?;
            let Phase::Done { outcome, execution_ms, .. } = &job.phase else { continue };
            if let Some(reason) = self.wrong(test, &job.id, outcome).await? {
                return Err(FleetError::Release(Box::new(reason)));
            }
            run.passed += 1;
            run.execution_ms += execution_ms.unwrap_or(0);
        }
        Ok(run)
    }

    /// Why a test did not pass, where it did not.
    async fn wrong(
        &self,
        test: &TestRequest,
        job: &JobId,
        outcome: &Outcome,
    ) -> Result<Option<FailReason>, FleetError> {
        let Expected { failure, output } = &test.expected;
        let message = match outcome {
            Outcome::Completed if *failure => "it completed, and was expected to fail".to_owned(),
            Outcome::Failed { reason: FailReason::HandlerError { .. }, .. } if *failure => return Ok(None),
            Outcome::Completed => match output {
                Some(expected) => match unlike(expected, &self.output_of(job).await?) {
                    Some(message) => message,
                    None => return Ok(None),
                },
                None => return Ok(None),
            },
            Outcome::Failed { reason: reason @ FailReason::WorkerLost { .. }, .. } => {
                return Ok(Some(reason.clone()));
            }
            Outcome::Failed { reason, .. } | Outcome::TimedOut { reason } => reason.sentence(),
            Outcome::Cancelled { by } => format!("cancelled by {by}"),
        };
        Ok(Some(FailReason::TestFailed { test: test.name.clone(), message }))
    }

    async fn output_of(&self, job: &JobId) -> Result<Value, FleetError> {
        let engine = &self.inner.engine;
        let Some(output) = engine.reader().output(job).map_err(runyard_engine::EngineError::from)? else {
            return Ok(Value::Null);
        };
        Ok(serde_json::from_slice(&engine.bytes(output).await?).unwrap_or_default())
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

    /// Whether a worker is there and takes jobs.
    fn takes_tests(&self, worker: &WorkerId) -> bool {
        self.inner.engine.live_worker(worker).is_some_and(|live| !live.draining)
    }

    fn why_gone(&self, id: &EndpointId, number: u32, worker: &WorkerId) -> FleetError {
        let ended = self.state().ended_tests.remove(worker);
        let timed_out = ended.as_ref().is_some_and(|ended| ended.timed_out);
        let exit: Exit = ended.and_then(|ended| ended.exit).unwrap_or_else(unknown_exit);
        let unset_env = unset_env(self.release(id, number).as_deref());
        FleetError::Release(Box::new(FailReason::StartFailed { exit, unset_env, timed_out }))
    }

    async fn run_test(
        &self,
        caller: &Caller,
        id: &EndpointId,
        number: u32,
        settings: &Settings,
        worker: &WorkerId,
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
            let workers_changed = self.inner.workers_changed.notified();
            tokio::pin!(changed, workers_changed);
            workers_changed.as_mut().enable();
            let takes = self.takes_tests(worker);
            match engine.job(&accepted.job.id)? {
                Some(job) if job.is_done() => return Ok(job),
                Some(Job { phase: Phase::Waiting { .. }, .. }) if !takes => {
                    // Nobody else will take it.
                    engine.cancel(caller, &accepted.job.id).await?;
                    return Err(self.never_taken(worker, test));
                }
                Some(_) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = workers_changed => {}
                    // A deadline, so that a missed wake-up costs time and not the deploy.
                    () = tokio::time::sleep(Duration::from_secs(5)) => {}
                },
                None => return Err(runyard_engine::EngineError::NoSuchJob(accepted.job.id).into()),
            }
        }
    }

    fn never_taken(&self, worker: &WorkerId, test: &TestRequest) -> FleetError {
        let exit = self.state().ended_tests.remove(worker).and_then(|ended| ended.exit);
        let last =
            exit.as_ref().and_then(|e| e.last_lines.last()).map_or(String::new(), |l| format!(": {l}"));
        let how = exit.as_ref().map_or("was ended".to_owned(), Exit::sentence);
        let message = format!("the worker {how} before it took the request{last}");
        FleetError::Release(Box::new(FailReason::TestFailed { test: test.name.clone(), message }))
    }
}

/// How an output is not what was expected: of an object, only what was expected in it counts.
fn unlike(expected: &Value, found: &Value) -> Option<String> {
    let (path, expected, found) = first_difference(String::from("output"), expected, found)?;
    let short = |value: &Value| value.to_string().chars().take(SHOWN).collect::<String>();
    Some(format!("{path} is {}, expected {}", short(found), short(expected)))
}

fn first_difference<'a>(
    path: String,
    expected: &'a Value,
    found: &'a Value,
) -> Option<(String, &'a Value, &'a Value)> {
    match (expected, found) {
        (Value::Object(parts), Value::Object(all)) => parts.iter().find_map(|(name, part)| {
            first_difference(format!("{path}.{name}"), part, all.get(name).unwrap_or(&Value::Null))
        }),
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => None,
        _ => (expected != found).then_some((path, expected, found)),
    }
}

/// How much of a value an error shows, in characters.
const SHOWN: usize = 200;

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
        let mut state = self.0.state();
        state.tests_waiting -= 1;
        // Those that gave way look again.
        let all: Vec<EndpointId> = state.yards.keys().cloned().collect();
        state.dirty.extend(all);
        drop(state);
        self.0.inner.wake.notify_one();
    }
}
