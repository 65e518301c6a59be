//! The server ends and starts again on the same data.

use runyard_domain::{Endpoint, FailReason, Outcome, Phase, Settings};
use runyard_engine::{NewJob, Presence};

use crate::stage::*;

#[tokio::test(start_paused = true)]
async fn memory_is_rebuilt_from_the_store() {
    let mut stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let held = stage.running(&worker).await;
    let undelivered = stage.running(&worker).await;
    let waiting = stage.submit().await;
    stage.restart();
    assert_eq!(stage.engine.running(), 2);
    assert_eq!(stage.engine.place(&waiting).unwrap().position, 1);
    stage.engine.register_worker(worker.worker(), &ep(), 1, Some(stage.engine.now()));
    assert_eq!(stage.engine.live_worker(worker.worker()).unwrap().presence, Presence::Busy);
    let back = stage.engine.reconcile(worker.worker(), std::slice::from_ref(&held)).await.unwrap();
    assert_eq!(back.iter().map(|job| &job.id).collect::<Vec<_>>(), [&undelivered]);
    assert_eq!(stage.job(&undelivered).attempt, 0);
    assert!(stage.finish(&worker, &held).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_passed_meanwhile_leaves_time_for_results_that_came_meanwhile() {
    let mut stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let limited = || NewJob { execution_timeout_ms: Some(5_000), ..stage.new_job() };
    let (answered, silent) = (stage.submit_as(limited()).await, stage.submit_as(limited()).await);
    stage.take(&worker, 2).await;
    stage.settle().await;
    stage.jump(60_000);
    stage.restart();
    stage.engine.register_worker(worker.worker(), &ep(), 1, Some(stage.engine.now()));
    stage.advance(5_000).await;
    assert!(stage.finish(&worker, &answered).await.is_some(), "its worker had answered in time");
    stage.advance(5_000).await;
    let expected = Outcome::TimedOut { reason: FailReason::ExecutionTimeout { limit_ms: 5_000 } };
    assert!(matches!(stage.job(&silent).phase, Phase::Done { outcome, .. } if outcome == expected));
    assert_eq!(stage.engine.unstopped(worker.worker()), [silent]);
}

#[tokio::test(start_paused = true)]
async fn without_running_jobs_limits_hold_at_once() {
    let mut stage = Stage::new().await;
    let job = stage.submit_as(NewJob { ttl_ms: Some(10_000), ..stage.new_job() }).await;
    stage.settle().await;
    stage.jump(60_000);
    stage.restart();
    stage.settle().await;
    assert!(stage.job(&job).is_done());
}

#[tokio::test(start_paused = true)]
async fn a_canary_keeps_the_count_of_its_share() {
    let mut stage = Stage::new().await;
    let mut endpoint = Endpoint::new(ep(), "hello".into(), stage.engine.now(), Settings::default());
    endpoint.serving = Some(1);
    // Done before there was a canary: it counts for nobody.
    let (stable, canary) = (stage.worker("stable", 1), stage.worker("canary", 2));
    let before = stage.running(&stable).await;
    stage.finish(&stable, &before).await;
    stage.advance(1_000).await;
    endpoint.try_canary(2, 50, stage.engine.now());
    stage.engine.put_endpoint(endpoint).await.unwrap();
    let first = stage.running(&canary).await;
    stage.advance(1_000).await;
    stage.finish(&canary, &first).await;
    stage.restart();
    for worker in [&stable, &canary] {
        stage.engine.register_worker(worker.worker(), &ep(), worker.release(), None);
    }
    let second = stage.submit().await;
    assert!(stage.take(&canary, 1).await.is_empty(), "it had its half");
    assert_eq!(stage.take(&stable, 1).await, [second]);
    let third = stage.submit().await;
    assert_eq!(stage.take(&canary, 1).await, [third]);
}
