//! Batches: their requests need places in the queue, and move slice by slice.

use runyard_domain::{BatchId, Settings};
use runyard_engine::EngineError;
use runyard_store::BATCH_SLICE;

use crate::stage::*;

async fn draft(stage: &Stage, requests: usize) -> BatchId {
    let endpoint = stage.engine.endpoint("ep").unwrap();
    let requests = (0..requests).map(|_| stage.new_job()).collect();
    stage.engine.make_batch(&stage.caller, &endpoint, None, requests, None).await.unwrap().batch.id
}

async fn finalize(stage: &Stage, id: &BatchId) -> Result<u64, EngineError> {
    let endpoint = stage.engine.endpoint("ep").unwrap();
    Ok(stage.engine.finalize_batch(&stage.caller, &endpoint, id).await?.counts.waiting)
}

fn waiting(stage: &Stage) -> u64 {
    stage.engine.snapshot(&ep(), 0).demand.waiting
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_places_for_all_its_requests_or_stays_a_draft() {
    let stage = Stage::new().await;
    stage.endpoint(Settings { queue_limit: 5, ..Settings::default() }, 1).await;
    stage.submit().await;
    let (large, small) = (draft(&stage, 5).await, draft(&stage, 4).await);
    let refused = finalize(&stage, &large).await.unwrap_err();
    let EngineError::QueueFull { waiting: 1, limit: 5, more: 5, .. } = &refused else { panic!("{refused}") };
    assert!(refused.to_string().contains("queue_limit is 5, too few for 5 more"), "{refused}");
    assert_eq!(waiting(&stage), 1);
    assert_eq!(finalize(&stage, &small).await.unwrap(), 4);
    assert_eq!(finalize(&stage, &small).await.unwrap(), 4, "it has its places already");
    let full = stage.engine.submit(&stage.caller, stage.new_job()).await.unwrap_err();
    assert!(matches!(full, EngineError::QueueFull { waiting: 5, more: 1, .. }), "{full}");
    assert_eq!(stage.take(&stage.worker("w", 1), 9).await.len(), 5);
    assert_eq!(finalize(&stage, &large).await.unwrap(), 5);
}

#[tokio::test(start_paused = true)]
async fn of_two_batches_at_once_only_what_fits_is_let_in() {
    let stage = Stage::new().await;
    stage.endpoint(Settings { queue_limit: 5, ..Settings::default() }, 1).await;
    let (one, other) = (draft(&stage, 3).await, draft(&stage, 3).await);
    stage.faults.hold_commits(true);
    let release = async {
        yields().await;
        stage.faults.hold_commits(false);
    };
    let (first, second, ()) = tokio::join!(finalize(&stage, &one), finalize(&stage, &other), release);
    assert_eq!((first.unwrap(), second.is_err(), waiting(&stage)), (3, true, 3));
}

#[tokio::test(start_paused = true)]
async fn a_large_batch_lets_others_in_between_and_goes_on_without_its_caller() {
    let stage = Stage::new().await;
    let all = 2 * BATCH_SLICE + 1;
    let id = draft(&stage, all).await;
    stage.faults.hold_commits(true);
    let endpoint = stage.engine.endpoint("ep").unwrap();
    let (engine, caller, batch) = (stage.engine.clone(), stage.caller.clone(), id.clone());
    let caller = tokio::spawn(async move { engine.finalize_batch(&caller, &endpoint, &batch).await });
    yields().await;
    let (engine, who, new) = (stage.engine.clone(), stage.caller.clone(), stage.new_job());
    let between = tokio::spawn(async move { engine.submit(&who, new).await.unwrap().job });
    yields().await;
    caller.abort();
    stage.faults.hold_commits(false);
    assert!(between.await.unwrap().seq > 0);
    stage.settle().await;
    assert_eq!(waiting(&stage), all as u64 + 1);
    let endpoint = stage.engine.endpoint("ep").unwrap();
    let cancelled = stage.engine.cancel_batch(&stage.caller, &endpoint, &id).await.unwrap();
    assert_eq!((cancelled.counts.cancelled, waiting(&stage)), (all as u64, 1));
}
