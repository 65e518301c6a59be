//! Who gets which job: at once, woken, oldest first, in lists, never again after a loss, tests and promotions.

use std::time::Duration;

use runyard_domain::job::Loss;
use runyard_domain::{FailReason, Phase, Settings};
use runyard_engine::{Ask, NewJob, Presence};
use runyard_store::Which;

use crate::stage::*;

fn loss(spends: bool) -> Loss {
    Loss { reason: FailReason::WorkerLost { exit: None, attempts: 0 }, spends }
}

#[tokio::test(start_paused = true)]
async fn a_submit_wakes_a_held_poll() {
    let stage = Stage::new().await;
    let poll = stage.poll(&stage.worker("w", 1));
    stage.settle().await;
    assert!(!poll.is_finished());
    let job = stage.submit().await;
    stage.settle().await;
    assert_eq!(ids(answered(poll).await), [job.clone()], "without the clock moving");
    assert_eq!(stage.job(&job).attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn one_job_wakes_one_poll_and_the_oldest_worker_is_served_first() {
    let stage = Stage::new().await;
    let workers: Vec<_> = (0..6).map(|n| stage.worker(&format!("w{n}"), 1)).collect();
    // They ask in another order than they came.
    let mut polls: Vec<_> = [3, 5, 0, 4, 1, 2].map(|n| (n, stage.poll(&workers[n]))).into();
    polls.sort_by_key(|(n, _)| *n);
    stage.settle().await;
    for (n, poll) in polls {
        let job = stage.submit().await;
        stage.settle().await;
        assert_eq!(ids(answered(poll).await), [job.clone()], "worker {n}");
        assert_eq!(stage.job(&job).holder(), Some(workers[n].worker()));
    }
    assert_eq!(stage.faults.takes.load(std::sync::atomic::Ordering::SeqCst), 6, "nobody asked in vain");
}

#[tokio::test(start_paused = true)]
async fn as_many_polls_are_woken_as_jobs_come_at_once() {
    let stage = Stage::new().await;
    let polls: Vec<_> = (0..5).map(|n| stage.poll(&stage.worker(&format!("w{n}"), 1))).collect();
    stage.settle().await;
    stage.faults.hold_commits(true);
    let all: Vec<_> = (0..3)
        .map(|_| {
            let (engine, caller, new) = (stage.engine.clone(), stage.caller.clone(), stage.new_job());
            tokio::spawn(async move { engine.submit(&caller, new).await })
        })
        .collect();
    yields().await;
    stage.faults.hold_commits(false);
    for submitted in all {
        submitted.await.unwrap().unwrap();
    }
    stage.settle().await;
    let served: Vec<bool> = polls.iter().map(tokio::task::JoinHandle::is_finished).collect();
    assert_eq!(served, [true, true, true, false, false]);
}

#[tokio::test(start_paused = true)]
async fn a_woken_poll_keeps_its_claim_while_it_asks() {
    let stage = Stage::new().await;
    let first = stage.poll_as(&stage.worker("w0", 1), ask(2));
    let second = stage.poll(&stage.worker("w1", 1));
    stage.settle().await;
    let a = stage.submit().await;
    // The first poll was woken; its take now stands in the writer's queue, and more jobs come.
    stage.faults.hold_commits(true);
    yields().await;
    let (engine, caller, new) = (stage.engine.clone(), stage.caller.clone(), stage.new_job());
    let b = tokio::spawn(async move { engine.submit(&caller, new).await.unwrap().job.id });
    yields().await;
    stage.faults.hold_commits(false);
    let b = b.await.unwrap();
    stage.settle().await;
    let (mut got, more) = (ids(answered(first).await), second.is_finished());
    if more {
        got.extend(ids(answered(second).await));
    }
    assert_eq!(got, [a, b], "each once");
}

#[tokio::test(start_paused = true)]
async fn a_list_holds_no_more_than_was_asked_for() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let mut jobs = vec![];
    for _ in 0..5 {
        jobs.push(stage.submit().await);
    }
    assert_eq!(stage.take(&worker, 3).await, jobs[..3]);
    assert_eq!(stage.take(&worker, 0).await, jobs[3..4], "whoever asks wants at least one");
    assert_eq!(stage.take(&worker, 100).await, jobs[4..]);
    assert_eq!(stage.engine.held_by(worker.worker()).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn low_priority_comes_last() {
    let stage = Stage::new().await;
    let low = stage.submit_as(NewJob { low_priority: true, ..stage.new_job() }).await;
    let normal = stage.submit().await;
    assert_eq!(stage.engine.place(&low).unwrap().position, 2);
    assert_eq!(stage.take(&stage.worker("w", 1), 2).await, [normal, low]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_lost_a_job_never_gets_it_again_but_may_still_answer_it() {
    let stage = Stage::new().await;
    let (old, new) = (stage.worker("old", 1), stage.worker("new", 1));
    let job = stage.running(&old).await;
    let held = stage.poll(&old);
    stage.settle().await;
    let back = stage.engine.lose(old.worker(), Which::All, loss(true)).await.unwrap();
    assert_eq!(back.len(), 1);
    stage.settle().await;
    assert!(!held.is_finished(), "its own poll is not woken for it");
    assert_eq!(stage.engine.fenced_out(&ep(), &[old.worker().clone()]), 1);
    assert_eq!(stage.engine.fenced_out(&ep(), &[old.worker().clone(), new.worker().clone()]), 0);
    assert_eq!(stage.take(&new, 1).await, [job.clone()]);
    assert!(stage.finish(&old, &job).await.is_some(), "the first answer counts, whoever brings it");
    assert_eq!(stage.engine.unstopped(new.worker()), [job.clone()], "the second run is for nothing");
    assert!(stage.finish(&new, &job).await.is_none());
    assert!(stage.engine.unstopped(new.worker()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn tests_go_to_their_release_only() {
    let stage = Stage::new().await;
    let (serving, next) = (stage.worker("serving", 1), stage.worker("next", 2));
    let polls = (stage.poll(&serving), stage.poll(&next));
    stage.settle().await;
    let test = stage.submit_as(NewJob { pinned: Some(2), ..stage.new_job() }).await;
    stage.settle().await;
    assert_eq!(ids(answered(polls.1).await), [test]);
    assert!(!polls.0.is_finished());
    let again = stage.poll(&next);
    stage.settle().await;
    let normal = stage.submit().await;
    stage.settle().await;
    assert_eq!(ids(answered(polls.0).await), [normal]);
    assert!(!again.is_finished(), "a release that does not serve gets no traffic");
}

#[tokio::test(start_paused = true)]
async fn a_promotion_moves_held_polls() {
    let stage = Stage::new().await;
    let (old, new) = (stage.poll(&stage.worker("old", 1)), stage.poll(&stage.worker("new", 2)));
    stage.settle().await;
    stage.endpoint(Settings::default(), 2).await;
    stage.settle().await;
    assert!(!old.is_finished() && !new.is_finished());
    let job = stage.submit().await;
    stage.settle().await;
    assert_eq!(ids(answered(new).await), [job]);
    assert!(!old.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_promotion_hands_waiting_jobs_to_the_new_release() {
    let stage = Stage::new().await;
    stage.endpoint(Settings::default(), 9).await;
    let poll = stage.poll(&stage.worker("w", 2));
    let job = stage.submit().await;
    stage.settle().await;
    assert!(!poll.is_finished());
    stage.endpoint(Settings::default(), 2).await;
    stage.settle().await;
    assert_eq!(ids(answered(poll).await), [job]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_a_worker_forgot_goes_back_after_ten_seconds() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.running(&worker).await;
    let mut changes = stage.engine.watch();
    let forgetful = Ask { hold: Duration::ZERO, in_progress: false, ..ask(1) };
    stage.advance(9_999).await;
    stage.engine.take(&worker, forgetful.clone()).await.unwrap();
    assert!(!stage.is_waiting(&job), "its answer may be on the way");
    stage.advance(1).await;
    let with_job = Ask { hold: Duration::ZERO, ..ask(1) };
    stage.engine.take(&worker, with_job).await.unwrap();
    assert!(!stage.is_waiting(&job), "it says that it has a job");
    stage.engine.take(&worker, forgetful.clone()).await.unwrap();
    assert!(stage.is_waiting(&job));
    let told = std::iter::from_fn(|| changes.try_recv().ok());
    let forgetful_told = runyard_engine::Change::Forgetful(worker.worker().clone());
    assert_eq!(told.filter(|change| *change == forgetful_told).count(), 1);
    let other = stage.worker("v", 1);
    assert_eq!(stage.take(&other, 1).await, [job.clone()]);
    stage.advance(10_000).await;
    stage.engine.take(&other, forgetful).await.unwrap();
    let Phase::Done { outcome, .. } = stage.job(&job).phase else { panic!("it went back once") };
    let expected = FailReason::Abandoned { attempts: 2 };
    assert!(matches!(outcome, runyard_domain::Outcome::Failed { reason, .. } if reason == expected));
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_outlived_its_server_is_no_proof_that_a_job_was_forgotten() {
    let mut stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.running(&worker).await;
    stage.advance(30_000).await;
    stage.restart();
    let worker = stage.worker("w", 1);
    let forgetful = Ask { hold: Duration::ZERO, in_progress: false, ..ask(1) };
    stage.advance(9_999).await;
    // It began before the job came, and the agent brings it again.
    stage.engine.take(&worker, forgetful.clone()).await.unwrap();
    assert!(!stage.is_waiting(&job));
    stage.advance(1).await;
    stage.engine.take(&worker, forgetful).await.unwrap();
    assert!(stage.is_waiting(&job));
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_several_slots_has_a_minute_to_know_of_its_jobs() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let empty = Ask { in_progress: false, ..ask(1) };
    let (first, _second) = (stage.poll_as(&worker, empty.clone()), stage.poll_as(&worker, empty.clone()));
    stage.settle().await;
    let job = stage.submit().await;
    stage.settle().await;
    assert_eq!(ids(answered(first).await), [job.clone()]);
    stage.advance(59_999).await;
    stage.engine.take(&worker, Ask { hold: Duration::ZERO, ..empty.clone() }).await.unwrap();
    assert!(!stage.is_waiting(&job), "the poll of one slot may be older than the job of another");
    stage.advance(1).await;
    stage.engine.take(&worker, Ask { hold: Duration::ZERO, ..empty }).await.unwrap();
    assert!(stage.is_waiting(&job));
}

fn prefetching() -> Ask {
    Ask { prefetches: true, hold: Duration::from_secs(1), ..ask(1) }
}

fn idle() -> Ask {
    Ask { in_progress: false, ..ask(1) }
}

#[tokio::test(start_paused = true)]
async fn who_prefetches_comes_after_those_without_a_job() {
    let stage = Stage::new().await;
    let (busy, free) = (stage.worker("busy", 1), stage.worker("free", 1));
    stage.running(&busy).await;
    let prefetches = stage.poll_as(&busy, prefetching());
    let waits = stage.poll_as(&free, idle());
    stage.settle().await;
    let job = stage.submit().await;
    stage.settle().await;
    assert_eq!(ids(answered(waits).await), [job], "although the other one is older");
    let next = stage.submit().await;
    stage.settle().await;
    assert_eq!(ids(answered(prefetches).await), [next], "nobody else is there");
}

#[tokio::test(start_paused = true)]
async fn who_prefetches_waits_for_those_between_two_polls() {
    let stage = Stage::new().await;
    let (busy, free) = (stage.worker("busy", 1), stage.worker("free", 1));
    stage.running(&busy).await;
    // Its poll ended without a job, and the next one is on its way.
    assert!(stage.take(&free, 1).await.is_empty());
    let prefetches = stage.poll_as(&busy, prefetching());
    stage.settle().await;
    let job = stage.submit().await;
    stage.advance(60).await;
    assert!(!prefetches.is_finished());
    assert_eq!(ids(stage.engine.take(&free, idle()).await.unwrap()), [job.clone()]);
    // Now it answered its job, which is another such moment; but it does not come back.
    stage.finish(&free, &job).await.unwrap();
    let (first, second) = (stage.submit().await, stage.submit().await);
    stage.settle().await;
    assert_eq!(ids(answered(prefetches).await), [first], "there is one more than it will take");
    let prefetches = stage.poll_as(&busy, prefetching());
    stage.advance(60).await;
    assert!(!prefetches.is_finished());
    stage.advance(100).await;
    assert_eq!(ids(answered(prefetches).await), [second]);
}

#[tokio::test(start_paused = true)]
async fn presence_follows_the_jobs() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let presence = || stage.engine.live_worker(worker.worker()).unwrap().presence;
    assert_eq!(presence(), Presence::Starting);
    assert!(stage.take(&worker, 1).await.is_empty());
    assert_eq!(presence(), Presence::Idle(stage.engine.now()));
    let (a, b) = (stage.running(&worker).await, stage.running(&worker).await);
    stage.engine.progress(&worker, &a, "1".into()).await.unwrap();
    assert_eq!(presence(), Presence::Busy);
    stage.finish(&worker, &a).await.unwrap();
    assert_eq!(presence(), Presence::Busy);
    stage.advance(70).await;
    stage.engine.lose(worker.worker(), Which::Jobs(vec![b.clone()]), loss(false)).await.unwrap();
    assert_eq!(presence(), Presence::Idle(stage.engine.now()));
    let other = stage.worker("v", 1);
    assert_eq!(stage.take(&other, 1).await, [b]);
    assert_eq!(stage.engine.live_worker(other.worker()).unwrap().presence, Presence::Busy);
    assert!(stage.engine.live_worker(worker.worker()).unwrap().answered);
    assert!(!stage.engine.live_worker(other.worker()).unwrap().answered);
}

#[tokio::test(start_paused = true)]
async fn a_retried_job_has_its_place_at_the_end() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let job = stage.running(&worker).await;
    stage.fail(&worker, &job).await.unwrap();
    let next = stage.submit().await;
    stage.engine.retry(&stage.caller, &job).await.unwrap();
    let demand = stage.engine.snapshot(&ep(), 10).demand;
    assert_eq!((demand.waiting, demand.running, demand.waiting_since.len()), (2, 0, 2));
    assert_eq!(stage.engine.place(&job).unwrap().position, 2);
    assert_eq!(stage.take(&stage.worker("v", 1), 5).await, [next, job.clone()]);
    assert_eq!(stage.engine.snapshot(&ep(), 10).demand.running, 2);
    assert!(stage.engine.place(&job).is_none());
}
