//! Polls whose client goes away, in every state: no job may stay with nobody, and no wake-up may be lost.

use runyard_domain::WorkerId;
use runyard_engine::Take;

use crate::stage::*;

#[tokio::test(start_paused = true)]
async fn a_held_poll_that_is_given_up_is_not_woken() {
    let stage = Stage::new().await;
    let gone = stage.poll(&stage.worker("gone", 1));
    let stays = stage.poll(&stage.worker("stays", 1));
    stage.settle().await;
    gone.abort();
    stage.settle().await;
    let job = stage.submit().await;
    stage.settle().await;
    assert_eq!(ids(answered(stays).await), [job]);
}

#[tokio::test(start_paused = true)]
async fn a_woken_poll_that_is_given_up_passes_the_job_on() {
    let stage = Stage::new().await;
    let gone = stage.poll(&stage.worker("gone", 1));
    let stays = stage.poll(&stage.worker("stays", 1));
    stage.settle().await;
    // The commit wakes the first poll, but its task is ended before it runs.
    let job = stage.submit().await;
    gone.abort();
    stage.settle().await;
    assert_eq!(ids(answered(stays).await), [job.clone()]);
    assert_eq!(stage.job(&job).attempt, 1, "it cost the job nothing");
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_is_given_up_while_its_jobs_are_being_taken_gives_them_back() {
    let stage = Stage::new().await;
    let gone_worker = stage.worker("gone", 1);
    let jobs = [stage.submit().await, stage.submit().await];
    stage.faults.hold_commits(true);
    let gone = stage.poll_as(&gone_worker, ask(2));
    yields().await;
    let stays = stage.poll_as(&stage.worker("stays", 1), ask(2));
    yields().await;
    gone.abort();
    yields().await;
    stage.faults.hold_commits(false);
    stage.settle().await;
    assert_eq!(ids(answered(stays).await), jobs);
    assert!(stage.engine.held_by(gone_worker.worker()).is_empty());
    assert_eq!(stage.job(&jobs[0]).attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_that_is_not_delivered_gives_back() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.submit().await;
    let Take::Jobs(handover) = stage.engine.take(&worker, ask(1)).await.unwrap() else { panic!("a job") };
    assert_eq!(handover.jobs[0].job.id, job);
    drop(handover);
    stage.settle().await;
    assert!(stage.is_waiting(&job));
    assert_eq!(stage.job(&job).attempt, 0);
    assert_eq!(stage.take(&worker, 1).await, [job], "the same worker may have it again");
}

#[tokio::test(start_paused = true)]
async fn a_delivered_hand_over_stays() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.running(&worker).await;
    stage.settle().await;
    assert_eq!(stage.job(&job).holder(), Some(&WorkerId::new("w")));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_ends_while_its_jobs_are_being_taken_gives_them_back() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.submit().await;
    stage.faults.hold_commits(true);
    let poll = stage.poll(&worker);
    yields().await;
    stage.engine.unregister_worker(worker.worker());
    stage.faults.hold_commits(false);
    stage.settle().await;
    assert!(poll.is_finished());
    assert!(stage.is_waiting(&job));
}

#[tokio::test(start_paused = true)]
async fn whenever_a_poll_is_given_up_its_job_is_taken_by_another() {
    for patience in 0..40 {
        let stage = Stage::new().await;
        let gone = stage.poll(&stage.worker("gone", 1));
        let stays = stage.poll(&stage.worker("stays", 1));
        stage.settle().await;
        let (engine, caller, new) = (stage.engine.clone(), stage.caller.clone(), stage.new_job());
        let submitted = tokio::spawn(async move { engine.submit(&caller, new).await.unwrap().job.id });
        for _ in 0..patience {
            tokio::task::yield_now().await;
            if patience % 2 == 0 {
                let _ = stage.engine.delivered(&runyard_domain::JobId::new("nobody"), 0).await;
            }
        }
        gone.abort();
        stage.settle().await;
        let job = submitted.await.unwrap();
        stage.settle().await;
        // Either it was answered before it was given up, or the other one has the job.
        let left = match gone.await {
            Ok(take) => ids(take.unwrap()),
            Err(_) => vec![],
        };
        if left.is_empty() {
            assert_eq!(ids(answered(stays).await), [job], "after {patience} steps");
        } else {
            assert_eq!(left, [job], "after {patience} steps");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_threads_at_odds_no_wake_up_is_lost() {
    let stage = Stage::new().await;
    for n in 0..500 {
        let gone = stage.poll(&stage.worker(&format!("gone{n}"), 1));
        let stays = stage.poll(&stage.worker(&format!("stays{n}"), 1));
        let (engine, caller, new) = (stage.engine.clone(), stage.caller.clone(), stage.new_job());
        let submitted = tokio::spawn(async move { engine.submit(&caller, new).await.unwrap().job.id });
        for _ in 0..n % 23 {
            tokio::task::yield_now().await;
        }
        gone.abort();
        let job = submitted.await.unwrap();
        // What was answered before the poll was given up is dropped undelivered, and goes to the other one.
        drop(gone.await);
        assert_eq!(ids(stays.await.unwrap().unwrap()), [job], "round {n}");
    }
}
