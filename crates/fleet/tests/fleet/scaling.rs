//! How many workers there are: from zero, by delay, by count, bounds, idle times.

use runyard_domain::worker::WorkerState;
use runyard_domain::{Scaler, Settings};
use runyard_engine::NewJob;
use runyard_runtime::Stop;

use crate::stage::*;

#[tokio::test(start_paused = true)]
async fn the_first_job_starts_a_worker_at_once() {
    let stage = Stage::new(Settings::default()).await;
    assert_eq!(stage.starts(), 0);
    let job = stage.submit().await;
    assert_eq!(stage.starts(), 1, "without the clock moving");
    let spec = stage.started().remove(0);
    assert_eq!((spec.env["SET"].as_str(), spec.env["RUNPOD_POD_ID"].as_str()), ("1", spec.id.as_str()));
    assert!(spec.env["RUNPOD_WEBHOOK_GET_JOB"].contains(&spec.token));
    assert_eq!(stage.take(&spec.id).await, [job.clone()]);
    let record = stage.record(&spec.id);
    assert_eq!((record.state, record.cause.as_str()), (WorkerState::Ready, "queue"));
    assert!(record.started_at.is_some() && record.ready_at.is_some() && record.pid.is_some());
    stage.finish(&spec.id, &job).await;
    stage.submit().await;
    stage.advance(3_900).await;
    assert_eq!(stage.starts(), 1, "a worker is idle");
}

#[tokio::test(start_paused = true)]
async fn queue_delay_adds_workers_for_jobs_that_waited_too_long() {
    let stage = Stage::new(Settings { workers_max: 10, ..patient() }).await;
    for _ in 0..5 {
        stage.submit().await;
    }
    assert_eq!(stage.starts(), 1);
    stage.advance(3_900).await;
    assert_eq!(stage.starts(), 1);
    // One job will go to the worker that starts; the others have waited too long, though nothing else happened.
    stage.advance(200).await;
    assert_eq!(stage.starts(), 5);
    stage.advance(60_000).await;
    assert_eq!(stage.starts(), 5, "those that start are counted");
}

#[tokio::test(start_paused = true)]
async fn queue_delay_waits_behind_a_busy_worker() {
    let stage = Stage::new(patient()).await;
    let (_, _) = stage.busy_worker().await;
    stage.submit().await;
    stage.advance(3_900).await;
    assert_eq!(stage.starts(), 1);
    stage.advance(200).await;
    assert_eq!(stage.starts(), 2);
}

#[tokio::test(start_paused = true)]
async fn request_count_asks_for_a_share() {
    let settings = Settings { scaler: Scaler::RequestCount(2), workers_max: 4, ..Settings::default() };
    let stage = Stage::new(settings).await;
    for n in 1..=5 {
        stage.submit().await;
        assert_eq!(stage.starts(), usize::div_ceil(n, 2));
    }
    for _ in 0..20 {
        stage.submit().await;
    }
    assert_eq!(stage.starts(), 4, "no more than are allowed");
}

#[tokio::test(start_paused = true)]
async fn request_count_does_not_flap() {
    let settings = Settings { scaler: Scaler::RequestCount(1), ..Settings::default() };
    let stage = Stage::new(settings).await;
    stage.submit().await;
    let first = stage.last();
    stage.submit().await;
    let second = stage.last();
    assert_eq!(stage.take_up_to(&first, 2).await.len(), 2);
    stage.take(&second).await;
    stage.advance(60_000).await;
    assert_eq!((stage.starts(), stage.running()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn the_minimum_is_kept_without_jobs() {
    let stage = Stage::new(Settings { workers_min: 2, ..Settings::default() }).await;
    assert_eq!(stage.starts(), 2);
    assert_eq!(stage.record(&stage.last()).cause, "min");
    for worker in stage.runtime.running() {
        stage.take(&worker).await;
    }
    stage.advance(60_000).await;
    assert_eq!((stage.starts(), stage.running()), (2, 2));
    stage.exit(&stage.last(), exited(1, "oh")).await;
    assert_eq!(stage.starts(), 3, "a lost one is replaced");
}

#[tokio::test(start_paused = true)]
async fn idle_workers_end_after_their_time() {
    let stage = Stage::new(Settings::default()).await;
    let worker = stage.idle_worker().await;
    stage.advance(4_900).await;
    assert_eq!(stage.running(), 1);
    stage.advance(100).await;
    assert_eq!(stage.running(), 0);
    assert_eq!(stage.runtime.stopped(), [(worker.clone(), Stop::Term)]);
    let record = stage.record(&worker);
    assert_eq!((record.state, record.stop_cause.as_deref()), (WorkerState::Gone, Some("it was idle")));
    assert!(!stage.observed(&worker).await, "it is forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_job_resets_the_idle_time() {
    let stage = Stage::new(Settings::default()).await;
    let worker = stage.idle_worker().await;
    stage.advance(4_000).await;
    let job = stage.submit().await;
    stage.take(&worker).await;
    stage.advance(20_000).await;
    stage.finish(&worker, &job).await;
    stage.advance(4_000).await;
    assert_eq!(stage.running(), 1);
    stage.advance(1_000).await;
    assert_eq!(stage.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lower_maximum_drains_and_zero_stops() {
    let stage = Stage::new(Settings { workers_min: 3, ..patient() }).await;
    let workers = stage.runtime.running();
    for worker in &workers {
        stage.take(worker).await;
    }
    let job = stage.submit().await;
    stage.take(&workers[0]).await;
    stage.settings(Settings { workers_min: 1, workers_max: 1, ..patient() }).await;
    assert_eq!(stage.runtime.running(), [workers[0].clone()], "the busy one stays");
    stage.settings(Settings { workers_max: 0, ..patient() }).await;
    assert_eq!(stage.running(), 1, "it ends its job first");
    stage.finish(&workers[0], &job).await;
    assert_eq!(stage.running(), 0);
    stage.submit().await;
    stage.advance(60_000).await;
    assert_eq!(stage.starts(), 3);
}

#[tokio::test(start_paused = true)]
async fn low_priority_starts_nothing_and_keeps_what_is_there() {
    let stage = Stage::new(Settings::default()).await;
    let low = || NewJob { low_priority: true, ..stage.new_job("ep") };
    let job = stage.submit_as(low()).await;
    stage.advance(60_000).await;
    assert_eq!(stage.starts(), 0);
    stage.submit().await;
    assert_eq!(stage.starts(), 1);
    let worker = stage.last();
    assert_eq!(stage.take_up_to(&worker, 5).await.len(), 2);
    stage.finish(&worker, &job).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_every_worker_lost_gets_a_fresh_one() {
    let stage = Stage::new(Settings { workers_max: 1, ..patient() }).await;
    let (job, worker) = stage.busy_worker().await;
    let loss = runyard_domain::job::Loss {
        reason: runyard_domain::FailReason::WorkerLost { exit: None, attempts: 0 },
        spends: false,
    };
    stage.engine.lose(&worker, runyard_store::Which::All, loss.clone()).await.unwrap();
    stage.settle().await;
    assert_eq!(stage.starts(), 2, "the idle one had it and does not get it again");
    assert!(!stage.runtime.running().contains(&worker), "and no more than one are allowed");
    assert_eq!(stage.take(&stage.last()).await, [job.clone()]);
    stage.settings(Settings { workers_max: 2, ..patient() }).await;
    let second = stage.last();
    stage.engine.lose(&second, runyard_store::Which::All, loss).await.unwrap();
    stage.settle().await;
    assert_eq!((stage.starts(), stage.running()), (3, 2), "where there is room both stay");
    assert_eq!(stage.take(&stage.last()).await, [job]);
}
