//! A store that fails for good: the engine says so, and nobody waits for ever.

use std::sync::atomic::Ordering;

use runyard_engine::EngineError;

use crate::stage::*;

async fn stops_after(break_it: impl Fn(&Stage)) {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.running(&worker).await;
    let poll = stage.poll(&worker);
    stage.settle().await;
    let engine = stage.engine.clone();
    let told = tokio::spawn(async move { engine.failed().await });
    yields().await;
    assert!(!told.is_finished());
    stage.faults.hold_commits(true);
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let (engine, caller, new) = (stage.engine.clone(), stage.caller.clone(), stage.new_job());
            tokio::spawn(async move { engine.submit(&caller, new).await })
        })
        .collect();
    yields().await;
    break_it(&stage);
    stage.faults.hold_commits(false);
    for caller in callers {
        assert!(matches!(caller.await.unwrap(), Err(EngineError::Stopped)));
    }
    told.await.unwrap();
    stage.engine.failed().await;
    let late = stage.engine.finish(&worker, &job, runyard_domain::job::Answer::Success, None).await;
    assert!(matches!(late, Err(EngineError::Stopped)));
    poll.abort();
}

#[tokio::test(start_paused = true)]
async fn a_broken_disk_stops_the_engine() {
    stops_after(|stage| stage.faults.broken.store(true, Ordering::SeqCst)).await;
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_panics_stops_the_engine() {
    stops_after(|stage| stage.faults.panics.store(true, Ordering::SeqCst)).await;
}
