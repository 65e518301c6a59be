//! The server starts again: workers that the agent kept are taken over, with their jobs.

use runyard_domain::worker::WorkerState;
use runyard_domain::{Phase, ReleaseState, Settings, WorkerId};
use runyard_engine::NewJob;
use runyard_fleet::{Expected, TestRequest};
use runyard_runtime::{Runtime as _, Stop};

use crate::stage::*;

#[tokio::test(start_paused = true)]
async fn running_workers_go_on_with_what_they_have() {
    let mut stage = Stage::new(patient()).await;
    let (held, worker) = stage.busy_worker().await;
    let undelivered = stage.submit().await;
    assert_eq!(stage.take(&worker).await, [undelivered.clone()]);
    stage.runtime.set_jobs(&worker, vec![held.clone()], vec![]);
    stage.restart().await;
    assert_eq!((stage.starts(), stage.running()), (1, 1));
    assert_eq!(stage.job(&held).holder(), Some(&worker));
    assert!(stage.is_waiting(&undelivered));
    assert_eq!(stage.job(&undelivered).attempt, 0);
    stage.finish(&worker, &held).await;
    assert_eq!(stage.take(&worker).await, [undelivered], "the same worker may have it");
}

#[tokio::test(start_paused = true)]
async fn workers_that_vanished_cost_their_jobs_nothing() {
    let mut stage = Stage::new(patient()).await;
    let (job, worker) = stage.busy_worker().await;
    stage.settle().await;
    stage.stop_server();
    stage.runtime.lose_agent();
    stage.start_server().await;
    assert!(stage.is_waiting(&job));
    assert_eq!((stage.job(&job).losses, stage.starts()), (0, 2));
    assert_eq!(stage.record(&worker).state, WorkerState::Gone);
}

#[tokio::test(start_paused = true)]
async fn workers_that_ended_meanwhile_are_settled_by_how_they_ended() {
    let mut stage = Stage::new(patient()).await;
    let (job, worker) = stage.busy_worker().await;
    stage.stop_server();
    stage.runtime.exit(&worker, exited(1, "oh"));
    stage.start_server().await;
    assert!(stage.is_waiting(&job));
    assert_eq!(stage.job(&job).losses, 1);
    assert_eq!(stage.record(&worker).exit, Some(exited(1, "oh")));
}

#[tokio::test(start_paused = true)]
async fn what_lies_in_the_spool_is_waited_for() {
    let mut stage = Stage::new(patient()).await;
    let (job, worker) = stage.busy_worker().await;
    stage.runtime.set_jobs(&worker, vec![], vec![job.clone()]);
    stage.stop_server();
    stage.runtime.exit(&worker, exited(0, ""));
    stage.start_server().await;
    stage.advance(2_000).await;
    assert_eq!(stage.job(&job).holder(), Some(&worker));
    stage.finish(&worker, &job).await;
    stage.runtime.set_jobs(&worker, vec![], vec![]);
    stage.advance(300).await;
    assert!(stage.fleet.workers().is_empty());
    assert_eq!(stage.job(&job).losses, 0);
}

#[tokio::test(start_paused = true)]
async fn strangers_are_ended() {
    let mut stage = Stage::new(patient()).await;
    let worker = stage.idle_worker().await;
    stage.stop_server();
    let mut stranger = stage.started().remove(0);
    stranger.id = WorkerId::new("stranger");
    stage.runtime.start(stranger.clone()).await.unwrap();
    stage.start_server().await;
    assert_eq!(stage.runtime.running(), [worker]);
    assert!(stage.runtime.stopped().contains(&(stranger.id.clone(), Stop::Kill)));
    assert!(!stage.observed(&stranger.id).await);
}

#[tokio::test(start_paused = true)]
async fn a_worker_still_on_its_way_out_goes_on_doing_so() {
    let mut stage = Stage::new(patient()).await;
    stage.runtime.ignore_term(true);
    let (job, worker) = stage.busy_worker().await;
    stage.runtime.set_jobs(&worker, vec![job.clone()], vec![]);
    stage.fleet.restart(&ep()).await;
    stage.restart().await;
    assert_eq!(stage.fleet.counts(&ep()).draining, 1);
    stage.finish(&worker, &job).await;
    stage.advance(10_100).await;
    assert_eq!(stage.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_test_does_not_survive_its_deploy() {
    let mut stage = Stage::new(patient()).await;
    stage.release(&ep(), 2, 0, ReleaseState::Testing).await;
    let (fleet, caller) = (stage.fleet.clone(), stage.caller.clone());
    let tested =
        tokio::spawn(async move { fleet.test_release(&caller, &ep(), 2, &patient(), &[]).await.map(drop) });
    stage.settle().await;
    stage.take(&stage.last()).await;
    tested.await.unwrap().unwrap();
    let waiting = stage.submit_as(NewJob { pinned: Some(2), ..stage.new_job("ep") }).await;
    stage.restart().await;
    assert_eq!(stage.running(), 0);
    assert!(stage.job(&waiting).is_done(), "nobody would ever take it");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_runs_a_job_which_ended_meanwhile_is_told_and_replaced() {
    let mut stage = Stage::new(patient()).await;
    stage.runtime.ignore_term(true);
    let (job, worker) = stage.busy_worker().await;
    stage.runtime.set_jobs(&worker, vec![job.clone()], vec![]);
    stage.engine.cancel(&stage.caller, &job).await.unwrap();
    stage.restart().await;
    assert!(matches!(stage.job(&job).phase, Phase::Done { .. }));
    assert_eq!(stage.engine.unstopped(&worker), [job]);
    stage.advance(3_100).await;
    assert_eq!(stage.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_starting_worker_keeps_its_deadline() {
    let settings = Settings { start_timeout_s: 10, ..patient() };
    let mut stage = Stage::new(settings).await;
    stage.submit().await;
    stage.advance(6_000).await;
    stage.restart().await;
    stage.advance(3_900).await;
    assert_eq!((stage.starts(), stage.running()), (1, 1));
    stage.advance(200).await;
    assert_eq!(stage.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_started_while_the_machine_slept_without_a_server_has_its_time_again() {
    let settings = Settings { start_timeout_s: 10, ..patient() };
    let mut stage = Stage::new(settings).await;
    stage.submit().await;
    stage.stop_server();
    stage.sleep(3_600_000).await;
    stage.start_server().await;
    stage.advance(9_900).await;
    assert_eq!((stage.starts(), stage.running()), (1, 1));
    stage.advance(200).await;
    assert_eq!(stage.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn workers_that_a_server_ended_with_itself_did_not_crash() {
    let mut stage = Stage::new(Settings { workers_min: 3, ..patient() }).await;
    let (mut jobs, workers) = (vec![], stage.runtime.running());
    for worker in &workers {
        let job = stage.submit().await;
        assert_eq!(stage.take(worker).await, [job.clone()]);
        stage.runtime.set_jobs(worker, vec![job.clone()], vec![]);
        jobs.push(job);
    }
    stage.engine.close_submissions();
    stage.fleet.close();
    stage.stop_server();
    stage.fleet.end_busy().await;
    stage.start_server().await;
    assert_eq!(stage.starts(), 6, "the next are started at once");
    assert_eq!(stage.fleet.waiting(&stage.job(&jobs[0])).code(), "starting");
    assert!(jobs.iter().all(|job| stage.job(job).losses == 0));
}

/// Its deploy died with the server: back in the queue, nobody would ever take it.
#[tokio::test(start_paused = true)]
async fn a_test_that_ran_ends_with_its_deploy() {
    let mut stage = Stage::new(patient()).await;
    stage.release(&ep(), 2, 0, ReleaseState::Testing).await;
    let (fleet, caller) = (stage.fleet.clone(), stage.caller.clone());
    let tests = [TestRequest {
        name: "t".into(),
        input: "{}".into(),
        timeout_ms: None,
        expected: Expected::default(),
    }];
    let tested =
        tokio::spawn(
            async move { fleet.test_release(&caller, &ep(), 2, &patient(), &tests).await.map(drop) },
        );
    stage.settle().await;
    let worker = stage.last();
    stage.take(&worker).await;
    let running = stage.take(&worker).await;
    assert_eq!(running.len(), 1);
    stage.runtime.set_jobs(&worker, running.clone(), vec![]);
    tested.abort();
    stage.restart().await;
    stage.runtime.lose_agent();
    stage.settle().await;
    assert!(stage.job(&running[0]).is_done());
}
