//! Limits that the clock enforces, and clocks that jump.

use runyard_domain::{FailReason, JobId, Outcome, Phase, Settings};
use runyard_engine::NewJob;

use crate::stage::*;

fn timed_out(stage: &Stage, job: &JobId) -> Option<FailReason> {
    match stage.job(job).phase {
        Phase::Done { outcome: Outcome::TimedOut { reason }, .. } => Some(reason),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn time_to_live_ends_a_job_in_the_queue() {
    let stage = Stage::new().await;
    let job = stage.submit_as(NewJob { ttl_ms: Some(10_000), ..stage.new_job() }).await;
    stage.advance(9_990).await;
    assert!(stage.is_waiting(&job));
    stage.advance(10).await;
    let expected = FailReason::TtlExpired { ttl_ms: 10_000, queued_ms: 10_000, ran_ms: 0 };
    assert_eq!(timed_out(&stage, &job), Some(expected));
}

#[tokio::test(start_paused = true)]
async fn time_to_live_ends_a_job_that_runs() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.submit_as(NewJob { ttl_ms: Some(10_000), ..stage.new_job() }).await;
    stage.advance(4_000).await;
    stage.take(&worker, 1).await;
    stage.advance(6_000).await;
    let expected = FailReason::TtlExpired { ttl_ms: 10_000, queued_ms: 4_000, ran_ms: 6_000 };
    assert_eq!(timed_out(&stage, &job), Some(expected));
    assert_eq!(stage.engine.unstopped(worker.worker()), [job]);
}

#[tokio::test(start_paused = true)]
async fn execution_time_counts_from_the_hand_over() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.submit_as(NewJob { execution_timeout_ms: Some(5_000), ..stage.new_job() }).await;
    let free = stage.submit_as(NewJob { execution_timeout_ms: Some(0), ..stage.new_job() }).await;
    stage.advance(60_000).await;
    assert_eq!(stage.take(&worker, 2).await, [job.clone(), free.clone()]);
    stage.advance(4_950).await;
    assert_eq!(timed_out(&stage, &job), None);
    stage.advance(50).await;
    assert_eq!(timed_out(&stage, &job), Some(FailReason::ExecutionTimeout { limit_ms: 5_000 }));
    assert_eq!(stage.engine.unstopped(worker.worker()), [job]);
    stage.advance(3_600_000).await;
    assert!(stage.job(&free).holder().is_some(), "no limit is no limit");
}

#[tokio::test(start_paused = true)]
async fn a_new_time_to_live_counts_from_now() {
    let stage = Stage::new().await;
    let job = stage.submit().await;
    stage.advance(5_000).await;
    stage.engine.set_ttl(&stage.caller, &job, 10_000).await.unwrap();
    stage.advance(9_950).await;
    assert!(stage.is_waiting(&job));
    stage.advance(50).await;
    assert!(timed_out(&stage, &job).is_some());
    assert!(stage.engine.set_ttl(&stage.caller, &job, 10_000).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn retention_counts_from_completion() {
    let stage = Stage::new().await;
    stage.endpoint(Settings { retention_ms: 20_000, ..Settings::default() }, 1).await;
    let worker = stage.worker("w", 1);
    let job = stage.running(&worker).await;
    stage.advance(30_000).await;
    stage.finish(&worker, &job).await.unwrap();
    stage.advance(19_500).await;
    assert!(stage.job(&job).is_done());
    stage.advance(500).await;
    assert!(stage.engine.job(&job).unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_retry_gives_a_new_life() {
    let stage = Stage::new().await;
    let job = stage.submit_as(NewJob { ttl_ms: Some(10_000), ..stage.new_job() }).await;
    stage.advance(10_000).await;
    assert!(timed_out(&stage, &job).is_some());
    stage.engine.retry(&stage.caller, &job).await.unwrap();
    stage.advance(9_750).await;
    assert!(stage.is_waiting(&job));
    stage.advance(250).await;
    assert!(timed_out(&stage, &job).is_some());
}

#[tokio::test(start_paused = true)]
async fn any_number_may_be_due_at_once() {
    let stage = Stage::new().await;
    let mut jobs = vec![];
    for _ in 0..1_250 {
        jobs.push(stage.submit_as(NewJob { ttl_ms: Some(10_000), ..stage.new_job() }).await);
    }
    stage.advance(10_000).await;
    assert!(jobs.iter().all(|job| timed_out(&stage, job).is_some()));
    assert_eq!(stage.engine.snapshot(&ep(), 1).demand.waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_forward_is_noticed() {
    let stage = Stage::new().await;
    let job = stage.submit().await;
    stage.settle().await;
    stage.jump(86_400_000);
    stage.advance(30_000).await;
    assert!(timed_out(&stage, &job).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_ends_nothing_early_and_does_not_spin() {
    let stage = Stage::new().await;
    let job = stage.submit_as(NewJob { ttl_ms: Some(10_000), ..stage.new_job() }).await;
    let worker = stage.worker("w", 1);
    stage.advance(5_000).await;
    stage.jump(-3_600_000);
    stage.advance(20_000).await;
    assert!(stage.is_waiting(&job));
    assert_eq!(stage.take(&worker, 1).await, [job.clone()]);
    let done = stage.finish(&worker, &job).await.unwrap();
    let Phase::Done { delay_ms, execution_ms, .. } = done.phase else { panic!("done") };
    assert_eq!((delay_ms, execution_ms), (Some(0), Some(0)), "never less than nothing");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_delays_a_limit_and_no_more() {
    let stage = Stage::new().await;
    let job = stage.submit_as(NewJob { ttl_ms: Some(10_000), ..stage.new_job() }).await;
    stage.faults.disk_full.store(true, std::sync::atomic::Ordering::SeqCst);
    stage.advance(12_000).await;
    assert!(stage.is_waiting(&job));
    stage.faults.disk_full.store(false, std::sync::atomic::Ordering::SeqCst);
    stage.advance(2_000).await;
    assert!(timed_out(&stage, &job).is_some());
}
