//! Orders to stop a job: told, held, repeated a few times, and how it is seen that a worker let go.

use std::time::Duration;

use runyard_domain::JobId;
use runyard_engine::{Ask, Take};
use runyard_vault::WorkerCaller;

use crate::stage::*;

async fn cancelled(stage: &Stage, worker: &WorkerCaller) -> JobId {
    let job = stage.running(worker).await;
    stage.engine.cancel(&stage.caller, &job).await.unwrap();
    job
}

#[tokio::test(start_paused = true)]
async fn an_order_is_not_told_twice_at_once() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = cancelled(&stage, &worker).await;
    assert_eq!(stage.engine.unstopped(worker.worker()), [job.clone()]);
    assert_eq!(stage.engine.stop_orders(&worker, Duration::ZERO).await, Some(vec![job.clone()]));
    assert_eq!(stage.engine.stop_orders(&worker, Duration::ZERO).await, Some(vec![]));
    assert_eq!(stage.engine.unstopped(worker.worker()), [job]);
}

#[tokio::test(start_paused = true)]
async fn an_order_wakes_whoever_waits_for_one() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.running(&worker).await;
    let mut changes = stage.engine.watch();
    let (engine, who) = (stage.engine.clone(), worker.clone());
    let waits = tokio::spawn(async move { engine.stop_orders(&who, Duration::from_secs(20)).await });
    stage.settle().await;
    stage.engine.cancel(&stage.caller, &job).await.unwrap();
    assert_eq!(waits.await.unwrap(), Some(vec![job.clone()]));
    let stopping = runyard_engine::Change::Stopping { worker: worker.worker().clone(), job };
    assert!(std::iter::from_fn(|| changes.try_recv().ok()).any(|change| change == stopping));
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_orders_ends() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let who = worker.clone();
    let engine = stage.engine.clone();
    let waits = tokio::spawn(async move { engine.stop_orders(&who, Duration::from_secs(20)).await });
    stage.advance(20_000).await;
    assert_eq!(waits.await.unwrap(), Some(vec![]));
    assert_eq!(stage.engine.stop_orders(&stage.token("stranger", 1), Duration::ZERO).await, None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_settles_it() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = cancelled(&stage, &worker).await;
    assert!(stage.finish(&worker, &job).await.is_none(), "too late");
    assert!(stage.engine.unstopped(worker.worker()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn asking_with_nothing_in_progress_settles_it() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = cancelled(&stage, &worker).await;
    assert!(stage.take(&worker, 1).await.is_empty());
    assert_eq!(stage.engine.unstopped(worker.worker()), [job], "it says that it has something");
    let free = Ask { hold: Duration::ZERO, in_progress: false, ..ask(1) };
    stage.engine.take(&worker, free).await.unwrap();
    assert!(stage.engine.unstopped(worker.worker()).is_empty());
}

/// Only then can it say that it has nothing in progress any more.
#[tokio::test(start_paused = true)]
async fn after_an_order_the_held_take_comes_back() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.running(&worker).await;
    let (engine, who) = (stage.engine.clone(), worker.clone());
    let held = tokio::spawn(async move { engine.take(&who, ask(1)).await });
    stage.settle().await;
    stage.engine.cancel(&stage.caller, &job).await.unwrap();
    stage.advance(1_000).await;
    assert!(!held.is_finished(), "it does not know of it yet");
    assert!(!stage.engine.was_told(worker.worker(), &job));
    stage.engine.stop_orders(&worker, Duration::ZERO).await;
    assert!(stage.engine.was_told(worker.worker(), &job));
    stage.advance(300).await;
    assert!(matches!(held.await.unwrap(), Ok(Take::Nothing)));
}

#[tokio::test(start_paused = true)]
async fn two_pings_without_the_job_settle_it() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = cancelled(&stage, &worker).await;
    stage.engine.ping(&worker, &[], None);
    stage.engine.ping(&worker, &[], None);
    assert_eq!(stage.engine.unstopped(worker.worker()), [job.clone()], "it does not know of it yet");
    stage.engine.ping(&worker, std::slice::from_ref(&job), None);
    stage.engine.stop_orders(&worker, Duration::ZERO).await;
    stage.engine.ping(&worker, &[], Some("1.12.0"));
    assert_eq!(stage.engine.unstopped(worker.worker()), [job]);
    stage.engine.ping(&worker, &[], None);
    assert!(stage.engine.unstopped(worker.worker()).is_empty());
    let live = stage.engine.live_worker(worker.worker()).unwrap();
    assert_eq!(live.sdk.as_deref(), Some("1.12.0"));
}

#[tokio::test(start_paused = true)]
async fn cancelling_what_waits_orders_nothing() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let (a, _) = (stage.submit().await, stage.submit().await);
    stage.engine.cancel(&stage.caller, &a).await.unwrap();
    assert!(stage.engine.cancel(&stage.caller, &a).await.is_err(), "it has ended");
    let running = stage.running_of_two(&worker).await;
    assert_eq!(stage.engine.purge(&stage.caller, &ep()).await.unwrap(), 0);
    stage.submit().await;
    assert_eq!(stage.engine.purge(&stage.caller, &ep()).await.unwrap(), 1);
    assert!(stage.engine.unstopped(worker.worker()).is_empty());
    assert!(stage.job(&running).holder().is_some());
}

impl Stage {
    /// The one job that waits, taken.
    async fn running_of_two(&self, worker: &WorkerCaller) -> JobId {
        self.take(worker, 1).await.remove(0)
    }
}

/// The SDK drops an order for a job that it has taken and not begun yet.
#[tokio::test(start_paused = true)]
async fn an_order_is_repeated_a_few_times() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.running(&worker).await;
    stage.engine.cancel(&stage.caller, &job).await.unwrap();
    for _ in 0..3 {
        assert_eq!(stage.engine.stop_orders(&worker, Duration::ZERO).await, Some(vec![job.clone()]));
        let (engine, who) = (stage.engine.clone(), worker.clone());
        let next = tokio::spawn(async move { engine.stop_orders(&who, Duration::from_millis(100)).await });
        stage.advance(600).await;
        assert_eq!(next.await.unwrap(), Some(Vec::new()), "not at once");
    }
    assert_eq!(stage.engine.stop_orders(&worker, Duration::ZERO).await, Some(Vec::new()));
}
