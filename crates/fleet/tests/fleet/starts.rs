//! Starts that fail: time-outs, pauses, one at a time, rollbacks, a runtime or a disk that refuses.

use std::sync::atomic::Ordering;

use runyard_domain::{ReleaseState, Settings, WaitReason};
use runyard_runtime::{RuntimeError, Whose};

use crate::stage::*;

fn refused(whose: Whose) -> RuntimeError {
    RuntimeError { operation: "start".into(), message: "no".into(), whose, retryable: true }
}

#[tokio::test(start_paused = true)]
async fn failed_starts_are_tried_again_after_growing_pauses_and_one_at_a_time() {
    let stage = Stage::new(Settings { workers_min: 3, ..patient() }).await;
    assert_eq!(stage.starts(), 3);
    for worker in stage.runtime.running() {
        stage.exit(&worker, exited(1, "ImportError: torch")).await;
    }
    // Three in a row: the third pause is five seconds.
    for (starts, pause) in [(3, 5_000), (4, 10_000), (5, 30_000), (6, 60_000), (7, 300_000), (8, 300_000)] {
        stage.advance(pause - 500).await;
        assert_eq!(stage.starts(), starts, "before {pause}");
        stage.advance(500 + pause / 60).await;
        assert_eq!(stage.starts(), starts + 1, "after {pause}");
        stage.exit(&stage.last(), exited(1, "ImportError: torch")).await;
    }
    stage.advance(301_000 + 5_000).await;
    let worker = stage.last();
    stage.take(&worker).await;
    assert_eq!(stage.running(), 3, "one came up, so the others follow at once");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_never_asks_is_ended() {
    let settings = Settings { start_timeout_s: 10, ..patient() };
    let stage = Stage::new(settings).await;
    stage.runtime.ignore_term(true);
    let job = stage.submit().await;
    let worker = stage.last();
    stage.advance(9_900).await;
    assert_eq!(stage.running(), 1);
    stage.advance(100).await;
    assert_eq!(stage.running(), 0);
    let cause = "it did not ask for a job within its start timeout";
    assert_eq!(stage.record(&worker).stop_cause.as_deref(), Some(cause));
    let WaitReason::StartFailing { times: 1, timed_out: true, unset_env, .. } =
        stage.fleet.waiting(&stage.job(&job))
    else {
        panic!("{:?}", stage.fleet.waiting(&stage.job(&job)))
    };
    assert_eq!(unset_env, ["MODE_TO_RUN"]);
    stage.advance(1_000).await;
    assert_eq!(stage.starts(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_sleeps_does_not_end_a_start() {
    let settings = Settings { start_timeout_s: 10, ..patient() };
    let stage = Stage::new(settings).await;
    stage.runtime.ignore_term(true);
    stage.submit().await;
    stage.advance(4_000).await;
    stage.sleep(8 * 3_600_000).await;
    stage.advance(5_900).await;
    assert_eq!((stage.starts(), stage.running()), (1, 1));
    stage.advance(100).await;
    assert_eq!(stage.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn ending_with_code_0_before_asking_names_what_is_not_set() {
    let stage = Stage::new(patient()).await;
    let job = stage.submit().await;
    stage.exit(&stage.last(), exited(0, "")).await;
    let reason = stage.fleet.waiting(&stage.job(&job));
    let retry_at = stage.engine.now().plus(1_000);
    let unset_env = vec!["MODE_TO_RUN".to_owned()];
    assert_eq!(reason, WaitReason::ExitedBeforeAsking { times: 1, retry_at, unset_env });
}

#[tokio::test(start_paused = true)]
async fn after_three_failed_starts_traffic_goes_back() {
    let stage = Stage::new(patient()).await;
    stage.release(&ep(), 2, 0, ReleaseState::Ready).await;
    stage.fleet.promote(&ep(), 2).await.unwrap();
    let job = stage.submit().await;
    for times in 1..=3 {
        assert_eq!(stage.started().last().unwrap().release, 2, "try {times}");
        stage.exit(&stage.last(), exited(1, "no")).await;
        if times < 3 {
            stage.advance(times * 1_100).await;
        }
    }
    let endpoint = stage.engine.endpoint_by_id(&ep()).unwrap();
    assert_eq!((endpoint.serving, endpoint.previous), (Some(1), None));
    let worker = stage.last();
    assert_eq!(stage.started().last().unwrap().release, 1, "at once");
    assert_eq!(stage.take(&worker).await, [job]);
}

#[tokio::test(start_paused = true)]
async fn without_another_release_nothing_is_rolled_back() {
    let stage = Stage::new(patient()).await;
    stage.release(&ep(), 2, 0, ReleaseState::Ready).await;
    stage.fleet.promote(&ep(), 2).await.unwrap();
    stage.fleet.go_back(&ep(), 1, 2, "it was wished").await.unwrap();
    stage.submit().await;
    for pause in [1_100, 2_100, 5_100, 10_100] {
        stage.exit(&stage.last(), exited(1, "no")).await;
        stage.advance(pause).await;
    }
    assert_eq!(stage.engine.endpoint_by_id(&ep()).unwrap().serving, Some(1));
    assert_eq!(stage.starts(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_refuses_pauses_starts_and_rolls_nothing_back() {
    let stage = Stage::new(patient()).await;
    stage.release(&ep(), 2, 0, ReleaseState::Ready).await;
    stage.fleet.promote(&ep(), 2).await.unwrap();
    for _ in 0..4 {
        stage.runtime.fail_start(refused(Whose::Engine));
    }
    let job = stage.submit().await;
    assert_eq!(stage.fleet.waiting(&stage.job(&job)).code(), "start_failing");
    stage.advance(1_000 + 2_000 + 5_000 + 10_000 + 1_000).await;
    assert_eq!(stage.started().last().unwrap().release, 2);
    assert_eq!(stage.take(&stage.last()).await, [job]);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_does_not_exist_rolls_back() {
    let stage = Stage::new(patient()).await;
    stage.release(&ep(), 2, 0, ReleaseState::Ready).await;
    stage.fleet.promote(&ep(), 2).await.unwrap();
    for _ in 0..3 {
        stage.runtime.fail_start(refused(Whose::User));
    }
    stage.submit().await;
    stage.advance(4_000).await;
    assert_eq!(stage.engine.endpoint_by_id(&ep()).unwrap().serving, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_starts_nothing_and_goes_on_when_there_is_room() {
    let stage = Stage::new(patient()).await;
    let (_, worker) = stage.busy_worker().await;
    stage.submit().await;
    stage.disk_full.store(true, Ordering::SeqCst);
    stage.advance(30_000).await;
    assert_eq!(stage.starts(), 1);
    stage.disk_full.store(false, Ordering::SeqCst);
    stage.advance(2_100).await;
    assert_eq!(stage.starts(), 2, "nothing is left over from the tries");
    assert_eq!(stage.fleet.workers().len(), 2);
    // The same for the jobs of a worker that ends meanwhile.
    stage.disk_full.store(true, Ordering::SeqCst);
    stage.exit(&worker, exited(1, "no")).await;
    stage.advance(3_000).await;
    assert_eq!(stage.engine.held_by(&worker).len(), 1);
    stage.disk_full.store(false, Ordering::SeqCst);
    stage.advance(1_100).await;
    assert!(stage.engine.held_by(&worker).is_empty());
}

#[tokio::test(start_paused = true)]
async fn workers_that_come_up_and_crash_without_work_are_not_started_in_a_storm() {
    let stage = Stage::new(Settings { workers_min: 1, ..patient() }).await;
    for _ in 0..600 {
        let worker = stage.last();
        if stage.runtime.running().contains(&worker) {
            stage.take(&worker).await;
            stage.exit(&worker, exited(1, "CUDA error")).await;
        }
        stage.advance(100).await;
    }
    assert!((8..=12).contains(&stage.starts()), "{} starts in a minute", stage.starts());
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_not_fit_says_why_its_start_failed() {
    let stage = Stage::new(patient()).await;
    let job = stage.submit().await;
    let worker = stage.last();
    stage.engine.unfit(&stage.who(&worker), "check 'gpu' failed: no CUDA".into());
    stage.settle().await;
    stage.exit(&worker, exited(1, "last words")).await;
    let reason = stage.fleet.waiting(&stage.job(&job));
    assert_eq!((reason.code(), reason.last_lines().len()), ("fitness_check_failed", 1));
    let says = reason.sentence(stage.engine.now());
    assert!(says.contains("the last was not fit to work: its check 'gpu' failed: no CUDA);"), "{says}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_of_an_older_sdk_says_in_its_output_that_it_is_not_fit() {
    let stage = Stage::new(patient()).await;
    let job = stage.submit().await;
    stage.exit(&stage.last(), exited(1, "Fitness check failed: disk | OSError: it is full")).await;
    let reason = stage.fleet.waiting(&stage.job(&job));
    assert_eq!(reason.code(), "fitness_check_failed");
    let says = reason.sentence(stage.engine.now());
    assert!(says.contains("its check 'disk' failed: OSError: it is full"), "{says}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_becomes_unfit_is_replaced_after_its_job() {
    let stage = Stage::new(patient()).await;
    let (job, worker) = stage.busy_worker().await;
    stage.engine.unfit(&stage.who(&worker), "check 'gpu' failed: it fell off the bus".into());
    stage.settle().await;
    let next = stage.submit().await;
    assert!(stage.take(&worker).await.is_empty(), "it takes nothing more");
    stage.finish(&worker, &job).await;
    assert!(!stage.runtime.running().contains(&worker));
    assert_eq!(stage.take(&stage.last()).await, [next]);
}
