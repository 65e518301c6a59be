//! Workers that end while they run jobs, and endpoints that go.

use runyard_domain::{Exit, FailReason, JobId, Outcome, Phase, Settings};

use crate::stage::*;

fn segfault() -> Exit {
    Exit { code: None, signal: Some(11), out_of_memory: false, last_lines: vec!["boom".into()], fault: None }
}

fn failure(stage: &Stage, job: &JobId) -> FailReason {
    match stage.job(job).phase {
        Phase::Done { outcome: Outcome::Failed { reason, .. }, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_job_goes_back_once_and_then_fails_with_the_last_words() {
    let stage = Stage::new(patient()).await;
    let (job, worker) = stage.busy_worker().await;
    stage.exit(&worker, segfault()).await;
    assert!(stage.is_waiting(&job));
    assert_eq!((stage.job(&job).losses, stage.starts()), (1, 2), "replaced at once");
    let second = stage.last();
    assert_eq!(stage.take(&second).await, [job.clone()]);
    stage.exit(&second, segfault()).await;
    assert_eq!(failure(&stage, &job), FailReason::WorkerLost { exit: Some(segfault()), attempts: 2 });
    assert_eq!(stage.record(&second).exit, Some(segfault()));
}

#[tokio::test(start_paused = true)]
async fn an_end_that_was_wished_for_costs_nothing() {
    let stage = Stage::new(patient()).await;
    stage.runtime.ignore_term(true);
    let (job, worker) = stage.busy_worker().await;
    assert_eq!(stage.fleet.restart(&ep()).await, 1);
    stage.settle().await;
    stage.exit(&worker, segfault()).await;
    assert!(stage.is_waiting(&job));
    assert_eq!(stage.job(&job).losses, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lost_agent_costs_a_run_and_no_job() {
    let stage = Stage::new(patient()).await;
    let (job, _) = stage.busy_worker().await;
    stage.runtime.lose_agent();
    stage.settle().await;
    assert!(stage.is_waiting(&job));
    assert_eq!((stage.job(&job).losses, stage.starts()), (0, 2));
    assert_eq!(stage.take(&stage.last()).await, [job]);
}

#[tokio::test(start_paused = true)]
async fn results_in_the_spool_of_an_ended_worker_are_waited_for() {
    let stage = Stage::new(patient()).await;
    let (answered, worker) = stage.busy_worker().await;
    let lost = stage.submit().await;
    assert_eq!(stage.take(&worker).await, [lost.clone()]);
    stage.runtime.set_jobs(&worker, vec![], vec![answered.clone()]);
    stage.exit(&worker, segfault()).await;
    stage.advance(3_000).await;
    assert!(stage.job(&answered).holder().is_some() && stage.job(&lost).holder().is_some());
    stage.finish(&worker, &answered).await;
    stage.runtime.set_jobs(&worker, vec![], vec![]);
    stage.advance(300).await;
    assert!(stage.is_waiting(&lost));
    assert_eq!(stage.job(&lost).losses, 1);
    assert!(!stage.observed(&worker).await);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_removed_takes_its_workers_along() {
    let stage = Stage::new(Settings { workers_min: 2, ..patient() }).await;
    let (_, worker) = stage.busy_worker().await;
    stage.runtime.ignore_term(true);
    stage.engine.drop_endpoint(&ep()).await.unwrap();
    stage.settle().await;
    assert!(stage.runtime.stopped().iter().any(|(id, _)| *id == worker));
    stage.advance(10_100).await;
    assert_eq!(stage.running(), 0, "also those that do not want to");
    assert!(stage.fleet.workers().is_empty());
    assert_eq!(stage.starts(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_nobody_started_is_ended() {
    let stage = Stage::new(patient()).await;
    let worker = stage.idle_worker().await;
    let mut stranger = stage.started().remove(0);
    stranger.id = runyard_domain::WorkerId::new("stranger");
    runyard_runtime::Runtime::start(&*stage.runtime, stranger).await.unwrap();
    stage.exit(&worker, segfault()).await;
    assert_eq!(stage.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_gives_running_jobs_back_and_starts_nothing() {
    let stage = Stage::new(patient()).await;
    let (job, worker) = stage.busy_worker().await;
    stage.engine.close_submissions();
    stage.fleet.close();
    stage.fleet.end_busy().await;
    stage.settle().await;
    assert!(stage.is_waiting(&job));
    assert_eq!((stage.job(&job).losses, stage.running()), (0, 0));
    assert!(!stage.runtime.running().contains(&worker));
    stage.advance(60_000).await;
    assert_eq!(stage.starts(), 1);
}

#[tokio::test(start_paused = true)]
async fn idle_workers_outlive_the_server() {
    let stage = Stage::new(patient()).await;
    let worker = stage.idle_worker().await;
    stage.fleet.close();
    stage.fleet.end_busy().await;
    stage.settle().await;
    assert_eq!(stage.runtime.running(), [worker]);
}
