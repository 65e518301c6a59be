//! Releases: tests, promotion, failures, and machines without room for two.

use runyard_domain::job::Answer;
use runyard_domain::{FailReason, JobId, ReleaseState, Settings, WorkerId};
use runyard_fleet::{Expected, FleetError, Followed, TestRequest, TestRun};
use tokio::task::JoinHandle;

use crate::stage::*;

type Testing = JoinHandle<Result<TestRun, FleetError>>;

fn requests(n: usize) -> Vec<TestRequest> {
    (0..n)
        .map(|n| TestRequest {
            name: format!("t{n}"),
            input: "{}".into(),
            timeout_ms: None,
            expected: Expected::default(),
        })
        .collect()
}

/// Release 2 is being tested with `n` requests.
async fn testing(stage: &Stage, n: usize, settings: Settings) -> Testing {
    stage.release(&ep(), 2, settings.gpus.clone(), ReleaseState::Testing).await;
    let (fleet, caller) = (stage.fleet.clone(), stage.caller.clone());
    let tested =
        tokio::spawn(async move { fleet.test_release(&caller, &ep(), 2, &settings, &requests(n)).await });
    stage.settle().await;
    tested
}

async fn failed(tested: Testing) -> FailReason {
    match tested.await.unwrap() {
        Err(FleetError::Release(reason)) => *reason,
        other => panic!("{other:?}"),
    }
}

/// The worker takes its test. The first time it asks it only says that it is ready for one.
async fn take_test(stage: &Stage, worker: &WorkerId) -> JobId {
    match stage.take(worker).await.pop() {
        Some(test) => test,
        None => stage.take(worker).await.remove(0),
    }
}

/// The worker takes its test and answers it.
async fn pass(stage: &Stage, worker: &WorkerId) {
    let test = take_test(stage, worker).await;
    stage.finish(worker, &test).await;
}

#[tokio::test(start_paused = true)]
async fn a_release_is_tested_without_traffic_and_its_worker_takes_it_afterwards() {
    let stage = Stage::new(patient()).await;
    let old = stage.idle_worker().await;
    let tested = testing(&stage, 2, patient()).await;
    let worker = stage.last();
    assert_eq!(stage.started().last().unwrap().release, 2);
    let normal = stage.submit().await;
    pass(&stage, &worker).await;
    pass(&stage, &worker).await;
    assert_eq!(tested.await.unwrap().unwrap().passed, 2);
    assert!(stage.is_waiting(&normal));
    stage.fleet.promote(&ep(), 2).await.unwrap();
    stage.settle().await;
    assert_eq!(stage.runtime.running(), [worker.clone()]);
    assert!(!stage.runtime.running().contains(&old));
    assert_eq!(stage.take(&worker).await, [normal]);
    let endpoint = stage.engine.endpoint_by_id(&ep()).unwrap();
    assert_eq!((endpoint.serving, endpoint.previous), (Some(2), Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_ends_before_it_asks_fails_the_release_with_its_words() {
    let stage = Stage::new(patient()).await;
    let tested = testing(&stage, 1, patient()).await;
    stage.exit(&stage.last(), exited(1, "ImportError: torch")).await;
    let exit = exited(1, "ImportError: torch");
    let expected = FailReason::StartFailed { exit, unset_env: vec!["MODE_TO_RUN".into()], timed_out: false };
    assert_eq!(failed(tested).await, expected);
    assert_eq!(stage.engine.endpoint_by_id(&ep()).unwrap().serving, Some(1));
    stage.submit().await;
    assert_eq!(stage.starts(), 2, "the release that serves is not paused for it");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_never_asks_fails_the_release_in_the_time_that_the_deploy_brings() {
    let stage = Stage::new(patient()).await;
    let tested = testing(&stage, 0, Settings { start_timeout_s: 7, ..patient() }).await;
    stage.advance(7_000).await;
    assert!(matches!(failed(tested).await, FailReason::StartFailed { timed_out: true, .. }));
    assert_eq!(stage.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_test_that_fails_ends_the_worker_and_leaves_the_old_release() {
    let stage = Stage::new(patient()).await;
    let old = stage.idle_worker().await;
    let tested = testing(&stage, 2, patient()).await;
    let worker = stage.last();
    let job = take_test(&stage, &worker).await;
    let reason = FailReason::HandlerError { message: "bad".into() };
    let answer = Answer::Failure { error: "bad".into(), reason };
    stage.engine.finish(&stage.who(&worker), &job, answer, None).await.unwrap();
    stage.settle().await;
    let message = "the handler returned an error: bad".to_owned();
    assert_eq!(failed(tested).await, FailReason::TestFailed { test: "t0".into(), message });
    stage.settle().await;
    assert_eq!(stage.runtime.running(), [old]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_lost_in_its_test_is_not_tried_again() {
    let stage = Stage::new(patient()).await;
    let tested = testing(&stage, 1, patient()).await;
    let worker = stage.last();
    take_test(&stage, &worker).await;
    stage.exit(&worker, exited(139, "boom")).await;
    let expected = FailReason::WorkerLost { exit: Some(exited(139, "boom")), attempts: 1 };
    assert_eq!(failed(tested).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_ends_before_its_test_is_taken_does_not_hang_the_deploy() {
    let stage = Stage::new(patient()).await;
    let tested = testing(&stage, 1, patient()).await;
    let worker = stage.last();
    // It asks, and is gone before it takes the test.
    assert!(stage.take(&worker).await.is_empty());
    stage.exit(&worker, exited(3, "bye")).await;
    let message = "the worker exited with code 3 before it took the request: bye".to_owned();
    assert_eq!(failed(tested).await, FailReason::TestFailed { test: "t0".into(), message });
    assert!(stage.engine.reader().live().unwrap().is_empty(), "no test is left waiting");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_wants_a_fresh_worker_each_time_passes_several_tests() {
    let stage = Stage::new(patient()).await;
    let tested = testing(&stage, 2, patient()).await;
    for starts in 1..=2 {
        assert_eq!(stage.starts(), starts);
        let worker = stage.last();
        let test = take_test(&stage, &worker).await;
        let done = stage.engine.finish(&stage.who(&worker), &test, Answer::Success, None).await;
        assert!(done.unwrap().is_some());
        stage.fleet.refresh(&worker);
        stage.settle().await;
    }
    assert_eq!(tested.await.unwrap().unwrap().passed, 2);
}

#[tokio::test(start_paused = true)]
async fn on_a_full_machine_one_worker_makes_room_and_not_more() {
    let settings = Settings { gpus: 1.into(), workers_min: 2, ..patient() };
    let stage = Stage::with_gpus(settings.clone(), 2).await;
    let old = stage.runtime.running();
    for worker in &old {
        stage.take(worker).await;
    }
    let job = stage.submit().await;
    assert_eq!(stage.take(&old[0]).await, [job.clone()]);
    stage.runtime.ignore_term(true);
    let tested = testing(&stage, 0, settings).await;
    stage.advance(9_000).await;
    let told: Vec<_> = stage.runtime.stopped().into_iter().map(|(id, _)| id).collect();
    assert_eq!(told, [old[1].clone()], "the idle one, once");
    stage.exit(&old[1], exited(0, "")).await;
    assert_eq!(stage.started().last().unwrap().release, 2, "and its room is kept for the test");
    stage.take(&stage.last()).await;
    tested.await.unwrap().unwrap();
    stage.fleet.promote(&ep(), 2).await.unwrap();
    stage.settle().await;
    assert_eq!(stage.job(&job).holder(), Some(&old[0]), "a draining worker finishes what it has");
}

#[tokio::test(start_paused = true)]
async fn a_deploy_that_can_never_have_its_room_drains_nothing() {
    let one = Settings { gpus: 1.into(), workers_min: 1, ..patient() };
    let stage = Stage::with_gpus(one.clone(), 2).await;
    stage.endpoint("other", one).await;
    stage.settle().await;
    assert_eq!(stage.running(), 2);
    for worker in stage.runtime.running() {
        stage.take(&worker).await;
    }
    let tested = testing(&stage, 0, Settings { gpus: 2.into(), ..patient() }).await;
    stage.advance(30_000).await;
    assert_eq!(stage.running(), 2);
    tested.abort();
    let many = testing(&stage, 0, Settings { gpus: 3.into(), ..patient() }).await;
    let message = "a worker needs 3 GPUs, and this machine has 2 × GPU".to_owned();
    assert_eq!(failed(many).await, FailReason::TestFailed { test: "placement".into(), message });
}

#[tokio::test(start_paused = true)]
async fn starts_that_gave_way_to_a_test_are_caught_up() {
    let stage = Stage::with_gpus(Settings { gpus: 1.into(), ..patient() }, 2).await;
    stage.endpoint("other", Settings { gpus: 2.into(), workers_min: 1, ..patient() }).await;
    stage.settle().await;
    let holder = stage.last();
    let tested = testing(&stage, 0, Settings { gpus: 1.into(), ..patient() }).await;
    stage.submit().await;
    assert_eq!(stage.starts(), 1);
    stage.settings(patient()).await;
    let mut other = (*stage.engine.endpoint("other").unwrap()).clone();
    other.settings = Settings { gpus: 2.into(), workers_max: 0, ..patient() };
    stage.engine.put_endpoint(other).await.unwrap();
    stage.advance(200).await;
    assert!(!stage.runtime.running().contains(&holder));
    assert_eq!(stage.starts(), 3, "the test has its GPU, so the job has the other");
    tested.abort();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_serve_is_not_promoted() {
    let stage = Stage::new(patient()).await;
    let failed = ReleaseState::Failed { reason: FailReason::HandlerError { message: "x".into() } };
    stage.release(&ep(), 2, 0, failed).await;
    stage.release(&ep(), 3, 0, ReleaseState::Building).await;
    for number in [2, 3, 9] {
        let refused = stage.fleet.promote(&ep(), number).await;
        assert!(matches!(refused, Err(FleetError::NotServable(n, _)) if n == number));
    }
    let nowhere = stage.fleet.promote(&runyard_domain::EndpointId::new("no"), 1).await;
    assert!(matches!(nowhere, Err(FleetError::NoSuchEndpoint(_))));
}

#[tokio::test(start_paused = true)]
async fn a_rollout_is_waited_for_until_no_old_worker_is_left() {
    let stage = Stage::new(patient()).await;
    stage.runtime.ignore_term(true);
    let (job, worker) = stage.busy_worker().await;
    stage.release(&ep(), 2, 0, ReleaseState::Ready).await;
    stage.fleet.promote(&ep(), 2).await.unwrap();
    let limit = std::time::Duration::from_secs(30);
    let fleet = stage.fleet.clone();
    let short = tokio::spawn(async move { fleet.follow(&ep(), 2, limit, |_| {}).await });
    stage.advance(30_000).await;
    assert_eq!(short.await.unwrap(), Followed::Going { left: 1 });
    let fleet = stage.fleet.clone();
    let long = tokio::spawn(async move { fleet.follow(&ep(), 2, limit, |_| {}).await });
    stage.finish(&worker, &job).await;
    stage.exit(&worker, exited(0, "")).await;
    assert_eq!(long.await.unwrap(), Followed::Replaced);
}

#[tokio::test(start_paused = true)]
async fn workers_of_a_tested_release_that_will_not_serve_are_ended() {
    let stage = Stage::new(patient()).await;
    let tested = testing(&stage, 0, patient()).await;
    stage.take(&stage.last()).await;
    tested.await.unwrap().unwrap();
    stage.advance(60_000).await;
    assert_eq!(stage.running(), 1, "it is kept for the promotion");
    stage.fleet.end_tests(&ep(), 2).await;
    stage.settle().await;
    assert_eq!(stage.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_worker_under_test_of_a_removed_endpoint_does_not_stay() {
    let stage = Stage::new(patient()).await;
    let tested = testing(&stage, 1, patient()).await;
    stage.engine.drop_endpoint(&ep()).await.unwrap();
    stage.advance(11_000).await;
    assert_eq!(stage.running(), 0);
    assert!(tested.await.unwrap().is_err());
}
