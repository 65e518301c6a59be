//! Pings prove nothing: the SDK sends them from a process that may outlive the worker, and that may know its jobs
//! late. No ping keeps a job with a worker that does not have it.

use std::time::Duration;

use runyard_domain::job::Loss;
use runyard_domain::{FailReason, Phase};
use runyard_engine::{Ask, Presence};
use runyard_store::Which;

use crate::stage::*;

fn forgetful() -> Ask {
    Ask { hold: Duration::ZERO, in_progress: false, ..ask(1) }
}

#[tokio::test(start_paused = true)]
async fn pings_of_a_worker_that_is_gone_keep_nothing() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.running(&worker).await;
    stage.engine.unregister_worker(worker.worker());
    let loss = Loss { reason: FailReason::WorkerLost { exit: None, attempts: 0 }, spends: true };
    for n in 0..5 {
        stage.engine.ping(&worker, &[job.clone()], Some("1.12.0"));
        if n == 1 {
            stage.engine.lose(worker.worker(), Which::All, loss.clone()).await.unwrap();
        }
        stage.advance(10_000).await;
    }
    assert!(stage.is_waiting(&job));
    assert!(stage.engine.live_worker(worker.worker()).is_none(), "it does not come back by pinging");
    assert_eq!(stage.take(&stage.worker("v", 1), 1).await, [job]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_says_it_has_no_job_is_believed_against_its_pings() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.running(&worker).await;
    for _ in 0..3 {
        stage.engine.ping(&worker, &[job.clone()], None);
        stage.advance(10_000).await;
    }
    stage.engine.take(&worker, forgetful()).await.unwrap();
    assert!(stage.is_waiting(&job));
    stage.engine.ping(&worker, &[job.clone()], None);
    stage.settle().await;
    assert!(stage.is_waiting(&job), "a ping takes nothing out of the queue");
}

#[tokio::test(start_paused = true)]
async fn an_old_ping_process_beside_a_living_worker_does_not_hide_what_it_forgot() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let (old, now) = (stage.running(&worker).await, stage.running(&worker).await);
    stage.finish(&worker, &old).await.unwrap();
    // It goes on naming the job that ended; the one that runs, nobody names.
    for _ in 0..4 {
        stage.engine.ping(&worker, &[old.clone()], None);
        stage.advance(10_000).await;
    }
    stage.engine.ping(&worker, &[old.clone()], None);
    stage.settle().await;
    assert!(stage.is_waiting(&now), "two pings in a row do not know it");
    assert!(stage.job(&old).is_done());
}

#[tokio::test(start_paused = true)]
async fn pings_after_the_answer_change_nothing() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.running(&worker).await;
    let done = stage.finish(&worker, &job).await.unwrap();
    let since = stage.engine.now();
    for _ in 0..5 {
        stage.engine.ping(&worker, &[job.clone()], None);
        stage.advance(10_000).await;
    }
    assert_eq!(stage.job(&job), done);
    let live = stage.engine.live_worker(worker.worker()).unwrap();
    assert_eq!(live.presence, Presence::Idle(since), "its idle time runs on");
    assert!(stage.engine.unstopped(worker.worker()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn limits_come_due_however_often_a_job_is_pinged() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.running(&worker).await;
    for _ in 0..61 {
        stage.engine.ping(&worker, &[job.clone()], None);
        stage.advance(10_000).await;
    }
    assert!(matches!(stage.job(&job).phase, Phase::Done { .. }), "600 s were its limit");
    assert_eq!(stage.engine.unstopped(worker.worker()), [job], "a worker that still names it has not let go");
}

#[tokio::test(start_paused = true)]
async fn pings_need_not_name_what_a_worker_has_not_come_to() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let jobs = crate::lists::listed(&stage, &worker, 4).await;
    for _ in 0..5 {
        stage.engine.ping(&worker, &jobs[..2], Some("1.12.0"));
        stage.advance(10_000).await;
    }
    assert!(jobs[1..].iter().all(|job| crate::lists::is_held(&stage, job)));
}
