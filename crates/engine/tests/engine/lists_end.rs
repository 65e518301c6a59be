//! Lists that do not go as they should: jobs that end before their turn, workers that are lost, forget or drain, and
//! lists that are called back.

use runyard_domain::job::Loss;
use runyard_domain::{FailReason, Outcome, Phase};
use runyard_engine::{Ask, Change, NewJob, Take};
use runyard_store::Which;

use crate::lists::{is_held, list_ask, listed, measure, runs};
use crate::stage::*;

fn loss() -> Loss {
    Loss { reason: FailReason::WorkerLost { exit: None, attempts: 0 }, spends: true }
}

#[tokio::test(start_paused = true)]
async fn a_job_cancelled_before_its_turn_leaves_its_worker_alone() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let jobs = listed(&stage, &worker, 4).await;
    let mut changes = stage.engine.watch();
    let done = stage.engine.cancel(&stage.caller, &jobs[1]).await.unwrap();
    let Phase::Done { delay_ms, execution_ms, .. } = done.phase else { panic!() };
    assert_eq!((delay_ms, execution_ms), (None, None));
    stage.settle().await;
    assert!(stage.engine.unstopped(worker.worker()).is_empty(), "nobody can stop what has not started");
    let stopping = |change: &Change| matches!(change, Change::Stopping { .. });
    assert!(!std::iter::from_fn(|| changes.try_recv().ok()).any(|change| stopping(&change)));
    stage.finish(&worker, &jobs[0]).await.unwrap();
    assert!(is_held(&stage, &jobs[2]), "its worker runs the cancelled one now");
    assert_eq!(stage.engine.unstopped(worker.worker()), [jobs[1].clone()], "and now it can be told");
    assert!(std::iter::from_fn(|| changes.try_recv().ok()).any(|change| stopping(&change)));
    assert!(stage.finish(&worker, &jobs[1]).await.is_none(), "its result is dropped");
    stage.settle().await;
    assert!(runs(&stage, &jobs[2]));
    stage.finish(&worker, &jobs[2]).await.unwrap();
    stage.finish(&worker, &jobs[3]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_job_may_expire_before_its_turn_and_has_no_execution_timeout_until_then() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    measure(&stage, &worker, 20, 10).await;
    let limits = |ttl_ms, timeout| NewJob {
        ttl_ms: Some(ttl_ms),
        execution_timeout_ms: Some(timeout),
        ..stage.new_job()
    };
    let first = stage.submit_as(limits(600_000, 600_000)).await;
    let short_ttl = stage.submit_as(limits(60_000, 5_000)).await;
    let patient = stage.submit_as(limits(600_000, 5_000)).await;
    assert_eq!(crate::lists::take_list(&stage, &worker).await.len(), 3);
    stage.advance(61_000).await;
    let Phase::Done { outcome: Outcome::TimedOut { reason }, .. } = stage.job(&short_ttl).phase else {
        panic!("{:?}", stage.job(&short_ttl))
    };
    assert!(matches!(reason, FailReason::TtlExpired { ran_ms: 0, .. }), "{reason:?}");
    assert!(is_held(&stage, &patient), "its five seconds have not begun");
    assert!(stage.engine.unstopped(worker.worker()).is_empty());
    stage.finish(&worker, &first).await.unwrap();
    assert!(stage.finish(&worker, &short_ttl).await.is_none());
    stage.settle().await;
    assert!(runs(&stage, &patient));
    stage.advance(5_000).await;
    let Phase::Done { outcome: Outcome::TimedOut { reason }, .. } = stage.job(&patient).phase else {
        panic!()
    };
    assert!(matches!(reason, FailReason::ExecutionTimeout { .. }));
}

#[tokio::test(start_paused = true)]
async fn only_the_running_job_pays_for_a_lost_worker() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let jobs = listed(&stage, &worker, 5).await;
    stage.finish(&worker, &jobs[0]).await.unwrap();
    let later = stage.submit().await;
    stage.engine.unregister_worker(worker.worker());
    stage.engine.lose(worker.worker(), Which::All, loss()).await.unwrap();
    let spent: Vec<_> = jobs[1..].iter().map(|job| (stage.job(job).attempt, stage.job(job).losses)).collect();
    assert_eq!(spent, [(1, 1), (0, 0), (0, 0), (0, 0)]);
    let order = [&jobs[1..], &[later]].concat();
    assert_eq!(stage.take(&stage.worker("v", 1), 9).await, order, "each at its old place");
    assert_eq!(stage.engine.reader().counts(&ep()).unwrap().retried, 1);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_was_not_delivered_was_never_given() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    measure(&stage, &worker, 20, 10).await;
    let mut jobs = vec![];
    for _ in 0..5 {
        jobs.push(stage.submit().await);
    }
    let Take::Jobs(handover) = stage.engine.take(&worker, list_ask()).await.unwrap() else { panic!() };
    assert_eq!(handover.jobs.len(), 5);
    drop(handover);
    stage.settle().await;
    assert!(jobs.iter().all(|job| stage.is_waiting(job) && stage.job(job).attempt == 0));
    assert_eq!(crate::lists::take_list(&stage, &worker).await, jobs, "the same worker gets it again");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_moves_is_not_forgotten_and_one_that_stands_is() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let jobs = listed(&stage, &worker, 4).await;
    stage.advance(9_000).await;
    stage.finish(&worker, &jobs[0]).await.unwrap();
    stage.advance(9_000).await;
    // Some SDKs say that they have no job between two jobs of a list.
    assert!(crate::lists::take_list(&stage, &worker).await.is_empty());
    assert!(runs(&stage, &jobs[1]) && is_held(&stage, &jobs[2]) && is_held(&stage, &jobs[3]));
    stage.advance(1_000).await;
    let mut changes = stage.engine.watch();
    stage.engine.take(&worker, list_ask()).await.unwrap();
    assert!(jobs[1..].iter().all(|job| stage.is_waiting(job)));
    assert_eq!(stage.job(&jobs[1]).losses, 1);
    assert_eq!(stage.job(&jobs[2]).losses, 0);
    let told = std::iter::from_fn(|| changes.try_recv().ok());
    assert_eq!(told.filter(|change| matches!(change, Change::Forgetful(_))).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_stands_is_called_back_for_a_worker_without_jobs() {
    let stage = Stage::new().await;
    let (slow, free) = (stage.worker("slow", 1), stage.worker("free", 1));
    measure(&stage, &slow, 20, 10).await;
    let mut jobs = vec![];
    for _ in 0..8 {
        jobs.push(stage.submit().await);
    }
    let list = crate::lists::take_list(&stage, &slow).await;
    assert_eq!(list, jobs[..4]);
    assert_eq!(stage.take(&free, 4).await, jobs[4..]);
    for job in &jobs[4..] {
        stage.finish(&free, job).await.unwrap();
    }
    let mut changes = stage.engine.watch();
    let poll = stage.poll(&free);
    stage.advance(4_900).await;
    assert!(!poll.is_finished() && is_held(&stage, &jobs[1]), "it may still get through");
    stage.advance(1_200).await;
    assert_eq!(ids(answered(poll).await), [jobs[1].clone()]);
    let told = std::iter::from_fn(|| changes.try_recv().ok());
    assert_eq!(told.filter(|change| matches!(change, Change::Spoiled(_))).count(), 1);
    assert!(runs(&stage, &jobs[0]), "what it runs is its own");
    assert!(stage.engine.is_spoiled(slow.worker()));
    let again = stage.engine.take(&slow, Ask { in_progress: true, ..list_ask() }).await.unwrap();
    assert!(matches!(again, Take::Drained), "it gets nothing more");
    // It runs the second job all the same, and is faster: its answer counts, and only that one.
    stage.finish(&slow, &jobs[0]).await.unwrap();
    assert!(stage.finish(&slow, &jobs[1]).await.is_some());
    assert!(stage.finish(&free, &jobs[1]).await.is_none());
    assert_eq!(stage.take(&free, 5).await, jobs[2..4]);
    assert!(stage.finish(&free, &jobs[2]).await.is_some());
    assert!(stage.finish(&slow, &jobs[2]).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_list_that_moves_is_left_alone() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let jobs = listed(&stage, &worker, 20).await;
    let free = stage.worker("free", 1);
    let poll = stage.poll(&free);
    for job in &jobs[..15] {
        stage.advance(500).await;
        stage.finish(&worker, job).await.unwrap();
    }
    assert!(!poll.is_finished() && is_held(&stage, &jobs[19]), "what is left is a matter of seconds");
    assert!(!stage.engine.is_spoiled(worker.worker()));
}

#[tokio::test(start_paused = true)]
async fn a_draining_worker_gives_back_what_it_has_not_started() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let jobs = listed(&stage, &worker, 4).await;
    stage.engine.mark_draining(worker.worker());
    stage.settle().await;
    assert!(runs(&stage, &jobs[0]) && jobs[1..].iter().all(|job| stage.is_waiting(job)));
    let (engine, id) = (stage.engine.clone(), worker.worker().clone());
    let held_answer = tokio::spawn(async move { engine.hold_spoiled(&id).await });
    stage.finish(&worker, &jobs[0]).await.unwrap();
    stage.settle().await;
    assert!(!held_answer.is_finished(), "with it, the worker would begin the next one");
    stage.engine.unregister_worker(worker.worker());
    stage.settle().await;
    assert!(held_answer.is_finished());
    assert_eq!(stage.take(&stage.worker("v", 1), 9).await, jobs[1..]);
}

#[tokio::test(start_paused = true)]
async fn a_purge_takes_what_is_in_lists_too() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let jobs = listed(&stage, &worker, 4).await;
    assert_eq!(stage.engine.purge(&stage.caller, &ep()).await.unwrap(), 3);
    assert!(runs(&stage, &jobs[0]) && jobs[1..].iter().all(|job| stage.job(job).is_done()));
    for job in &jobs {
        let _ = stage.finish(&worker, job).await;
    }
    let next = stage.submit().await;
    assert_eq!(crate::lists::take_list(&stage, &worker).await, [next]);
}
