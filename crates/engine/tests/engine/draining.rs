//! Workers on their way out: held polls are released once, later ones are told to go slowly.

use std::time::Duration;

use runyard_domain::Settings;
use runyard_engine::Take;

use crate::stage::*;

#[tokio::test(start_paused = true)]
async fn held_polls_are_released_once_and_later_ones_are_paused() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let polls = [stage.poll(&worker), stage.poll(&worker)];
    let (engine, who) = (stage.engine.clone(), worker.clone());
    let stop = tokio::spawn(async move { engine.stop_orders(&who, Duration::from_secs(20)).await });
    stage.settle().await;
    stage.engine.mark_draining(worker.worker());
    stage.settle().await;
    assert!(polls.iter().all(|poll| !poll.is_finished()), "not before it was told to end");
    stage.engine.release_polls(worker.worker());
    stage.settle().await;
    for poll in polls {
        assert!(matches!(answered(poll).await, Take::Nothing));
    }
    assert_eq!(stop.await.unwrap(), Some(vec![]));
    assert!(matches!(stage.engine.take(&worker, ask(1)).await, Ok(Take::Drained)));
    assert_eq!(stage.engine.stop_orders(&worker, Duration::ZERO).await, None);
}

#[tokio::test(start_paused = true)]
async fn between_the_mark_and_the_release_nothing_wakes_a_poll() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let poll = stage.poll(&worker);
    stage.settle().await;
    stage.engine.mark_draining(worker.worker());
    let job = stage.submit().await;
    stage.endpoint(Settings::default(), 1).await;
    stage.settle().await;
    assert!(!poll.is_finished());
    assert!(stage.is_waiting(&job));
    assert_eq!(stage.take(&stage.worker("v", 1), 1).await, [job]);
}

#[tokio::test(start_paused = true)]
async fn a_draining_worker_may_answer_what_it_has() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.running(&worker).await;
    stage.engine.mark_draining(worker.worker());
    stage.engine.release_polls(worker.worker());
    assert!(stage.finish(&worker, &job).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_draining_worker_is_still_told_what_to_stop() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.running(&worker).await;
    stage.engine.mark_draining(worker.worker());
    stage.engine.release_polls(worker.worker());
    stage.engine.cancel(&stage.caller, &job).await.unwrap();
    assert_eq!(stage.engine.stop_orders(&worker, Duration::ZERO).await, Some(vec![job]));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_worker_gets_nothing() {
    let stage = Stage::new().await;
    stage.submit().await;
    let stranger = stage.token("stranger", 1);
    assert!(matches!(stage.engine.take(&stranger, ask(1)).await, Ok(Take::Drained)));
    let worker = stage.worker("w", 2);
    let poll = stage.poll(&worker);
    stage.settle().await;
    stage.engine.unregister_worker(worker.worker());
    stage.settle().await;
    assert!(matches!(answered(poll).await, Take::Nothing));
}

#[tokio::test(start_paused = true)]
async fn polls_of_a_removed_endpoint_end() {
    let stage = Stage::new().await;
    let poll = stage.poll(&stage.worker("w", 1));
    stage.settle().await;
    stage.engine.drop_endpoint(&ep()).await.unwrap();
    stage.settle().await;
    assert!(matches!(answered(poll).await, Take::Drained));
}
