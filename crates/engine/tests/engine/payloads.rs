//! Secrets and large payloads: sealed, spilled to files, read back whole, removed when nobody names them.

use std::sync::Arc;

use bytes::Bytes;
use runyard_domain::Payload;
use runyard_domain::job::Answer;
use runyard_engine::{EngineError, InputRoom, NewJob, Take};
use runyard_store::SPILL_ABOVE;
use tokio::sync::Semaphore;

use crate::stage::*;

fn large(of: u8) -> Bytes {
    vec![of; SPILL_ABOVE + 1].into()
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_sealed_at_rest_and_open_to_its_worker() {
    let stage = Stage::new().await;
    let secret = r#"{"accessSecret":"hunter2"}"#;
    let job = stage.submit_as(NewJob { s3: Some(secret.into()), ..stage.new_job() }).await;
    let Some(Payload::Inline(kept)) = stage.engine.reader().s3(&job).unwrap() else { panic!("kept") };
    assert!(!kept.windows(7).any(|part| part == b"hunter2"));
    let Ok(Take::Jobs(handover)) = stage.engine.take(&stage.worker("w", 1), ask(1)).await else {
        panic!("a job")
    };
    assert_eq!(handover.jobs[0].s3.as_deref(), Some(secret.as_bytes()));
}

#[tokio::test(start_paused = true)]
async fn large_inputs_lie_in_files_and_come_back_whole() {
    let stage = Stage::new().await;
    let edge = NewJob { input: vec![b'1'; SPILL_ABOVE].into(), ..stage.new_job() };
    stage.submit_as(edge).await;
    assert_eq!(stage.files(), 0);
    let input = large(b'2');
    stage.submit_as(NewJob { input: input.clone(), ..stage.new_job() }).await;
    assert_eq!(stage.files(), 1);
    let Ok(Take::Jobs(handover)) = stage.engine.take(&stage.worker("w", 1), ask(2)).await else {
        panic!("jobs")
    };
    assert_eq!(handover.jobs[1].input, input);
}

#[tokio::test(start_paused = true)]
async fn large_inputs_wait_for_room_and_cost_their_jobs_nothing() {
    let stage = Stage::new().await;
    let pieces = Arc::new(Semaphore::new(6));
    stage.engine.bound_inputs(InputRoom { pieces: pieces.clone(), piece: 64 << 10, total: 6 });
    let jobs: Vec<_> = [b'1', b'2'].map(|of| NewJob { input: large(of), ..stage.new_job() }).into();
    let (first, second) = (stage.submit_as(jobs[0].clone()).await, stage.submit_as(jobs[1].clone()).await);
    let Ok(Take::Jobs(mut handover)) = stage.engine.take(&stage.worker("w", 1), ask(1)).await else {
        panic!("a job")
    };
    assert_eq!((&handover.jobs[0].job.id, pieces.available_permits()), (&first, 1));
    let waits = stage.poll(&stage.worker("v", 1));
    stage.advance(12_000).await;
    assert!(!waits.is_finished(), "the memory is full of what the first one has not taken");
    handover.delivered();
    stage.advance(100).await;
    // Its file is read by a thread of its own; without room the poll would end with nothing.
    assert_eq!(ids(waits.await.unwrap().unwrap()), [second.clone()]);
    assert_eq!((stage.job(&second).attempt, pieces.available_permits()), (1, 6));
}

#[tokio::test(start_paused = true)]
async fn the_second_submission_of_a_key_leaves_no_file() {
    let stage = Stage::new().await;
    let keyed = || NewJob { idempotency_key: Some("k".into()), input: large(b'1'), ..stage.new_job() };
    stage.submit_as(keyed()).await;
    stage.submit_as(keyed()).await;
    assert_eq!(stage.files(), 1);
}

#[tokio::test(start_paused = true)]
async fn results_that_change_nothing_leave_no_file() {
    let stage = Stage::new().await;
    let (worker, stranger) = (stage.worker("w", 1), stage.worker("v", 1));
    let job = stage.running(&worker).await;
    let finish = |who, of| stage.engine.finish(who, &job, Answer::Success, Some(large(of)));
    assert!(finish(&stranger, b'1').await.unwrap().is_none());
    assert_eq!(stage.files(), 0);
    assert!(finish(&worker, b'2').await.unwrap().is_some());
    assert!(finish(&worker, b'3').await.unwrap().is_none());
    assert_eq!(stage.files(), 1);
    let output = stage.engine.reader().output(&job).unwrap().unwrap();
    assert_eq!(stage.engine.bytes(output).await.unwrap(), large(b'2'));
    stage.engine.chunk(&worker, &job, None, large(b'4')).await.unwrap();
    stage.engine.progress(&stranger, &job, large(b'5')).await.unwrap();
    assert_eq!(stage.files(), 1);
    let unknown = runyard_domain::JobId::new("unknown");
    assert!(
        stage.engine.finish(&worker, &unknown, Answer::Success, Some(large(b'6'))).await.unwrap().is_none()
    );
    assert_eq!(stage.files(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_jobs_and_takes_results() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.running(&worker).await;
    stage.faults.no_room_for_jobs.store(true, std::sync::atomic::Ordering::SeqCst);
    stage.faults.hold_commits(true);
    let (engine, caller) = (stage.engine.clone(), stage.caller.clone());
    let new = NewJob { input: large(b'1'), ..stage.new_job() };
    let refused = tokio::spawn(async move { engine.submit(&caller, new).await });
    while stage.files() == 0 {
        tokio::task::yield_now().await;
    }
    yields().await;
    let engine = stage.engine.clone();
    let (who, id) = (worker.clone(), job.clone());
    let taken =
        tokio::spawn(async move { engine.finish(&who, &id, Answer::Success, Some("1".into())).await });
    yields().await;
    stage.faults.hold_commits(false);
    assert!(taken.await.unwrap().unwrap().is_some(), "also in one batch with a job that does not fit");
    assert!(matches!(refused.await.unwrap(), Err(EngineError::DiskFull)));
    assert_eq!(stage.files(), 0, "a refused job leaves no file");
    assert!(stage.job(&job).is_done());
    stage.faults.no_room_for_jobs.store(false, std::sync::atomic::Ordering::SeqCst);
    stage.submit().await;
}

#[tokio::test(start_paused = true)]
async fn a_result_that_does_not_fit_leaves_no_file_and_may_be_sent_again() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.running(&worker).await;
    stage.faults.disk_full.store(true, std::sync::atomic::Ordering::SeqCst);
    let full = stage.engine.finish(&worker, &job, Answer::Success, Some(large(b'1'))).await;
    assert!(matches!(full, Err(EngineError::DiskFull)));
    assert!(stage.engine.chunk(&worker, &job, None, large(b'2')).await.is_err());
    assert_eq!(stage.files(), 0);
    stage.faults.disk_full.store(false, std::sync::atomic::Ordering::SeqCst);
    assert!(stage.finish(&worker, &job).await.is_some());
}
