//! Lists longer than a worker asked for: who gets one and how long, and how its jobs start one after the other.

use std::time::Duration;

use runyard_domain::{Outcome, Phase, Prefetch, Settings};
use runyard_engine::{Ask, Lease, NewJob};
use runyard_store::Which;
use runyard_vault::WorkerCaller;

use crate::stage::*;

/// A take of a Python SDK that is known to run lists, and that has nothing to do.
pub fn list_ask() -> Ask {
    Ask { in_progress: false, hold: Duration::ZERO, sdk: Some("1.12.0".into()), ..ask(1) }
}

pub async fn take_list(stage: &Stage, who: &WorkerCaller) -> Vec<runyard_domain::JobId> {
    ids(stage.engine.take(who, list_ask()).await.unwrap())
}

/// The endpoint's jobs are known to take so long.
pub async fn measure(stage: &Stage, who: &WorkerCaller, times: usize, ms: i64) {
    for _ in 0..times {
        let job = stage.running(who).await;
        stage.jump(ms);
        stage.finish(who, &job).await.unwrap();
    }
}

/// A list of `count` jobs in the hands of a worker, after short jobs were measured.
pub async fn listed(stage: &Stage, who: &WorkerCaller, count: usize) -> Vec<runyard_domain::JobId> {
    measure(stage, who, 20, 10).await;
    let mut jobs = vec![];
    for _ in 0..count {
        jobs.push(stage.submit().await);
    }
    assert_eq!(take_list(stage, who).await, jobs);
    jobs
}

pub fn is_held(stage: &Stage, job: &runyard_domain::JobId) -> bool {
    stage.job(job).is_held()
}

pub fn runs(stage: &Stage, job: &runyard_domain::JobId) -> bool {
    matches!(stage.job(job).phase, Phase::Running { .. })
}

#[tokio::test(start_paused = true)]
async fn short_jobs_come_in_a_list_to_an_sdk_that_runs_it() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let jobs = listed(&stage, &worker, 12).await;
    assert!(runs(&stage, &jobs[0]));
    assert!(jobs[1..].iter().all(|job| is_held(&stage, job)));
    let demand = stage.engine.snapshot(&ep(), 3).demand;
    assert_eq!((demand.waiting, demand.running, demand.waiting_since.len()), (11, 1, 3));
    assert_eq!(stage.engine.running(), 1);
    let counts = stage.engine.reader().counts(&ep()).unwrap();
    assert_eq!((counts.waiting, counts.running), (11, 1), "health says what the jobs say");
    assert_eq!(stage.engine.place(&jobs[1]).unwrap().position, 1);
    assert_eq!(stage.engine.place(&jobs[4]).unwrap().position, 4);
    let next = stage.submit().await;
    assert_eq!(stage.engine.place(&next).unwrap().position, 12, "behind what is in lists");
    assert!(take_list(&stage, &worker).await.is_empty(), "it gets no more before it came to all of them");
}

#[tokio::test(start_paused = true)]
async fn nobody_else_gets_a_list() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    for _ in 0..5 {
        stage.submit().await;
    }
    assert_eq!(take_list(&stage, &worker).await.len(), 1, "nothing was measured yet");
    stage.engine.purge(&stage.caller, &ep()).await.unwrap();
    measure(&stage, &stage.worker("m", 1), 20, 10).await;
    for _ in 0..90 {
        stage.submit().await;
    }
    for (n, sdk) in
        [Some("2.0.0rc2"), Some("1.7.0"), Some("0.8.0"), Some("1.12.0rc1"), None].iter().enumerate()
    {
        let other = stage.worker(&format!("v{n}"), 1);
        let ask = Ask { sdk: sdk.map(str::to_owned), ..list_ask() };
        assert_eq!(ids(stage.engine.take(&other, ask).await.unwrap()).len(), 1, "{sdk:?}");
    }
    let pinging = stage.worker("pinging", 1);
    stage.engine.ping(&pinging, &[], Some("2.0.0"));
    assert_eq!(take_list(&stage, &pinging).await.len(), 1, "its pings say otherwise");
    let busy = stage.worker("busy", 1);
    let with_job = Ask { in_progress: true, ..list_ask() };
    assert_eq!(ids(stage.engine.take(&busy, with_job).await.unwrap()).len(), 1, "it says that it has a job");
    stage.endpoint(Settings { prefetch: Prefetch::Off, ..Settings::default() }, 1).await;
    assert_eq!(take_list(&stage, &stage.worker("off", 1)).await.len(), 1, "the endpoint wants none");
    stage.endpoint(Settings::default(), 2).await;
    assert_eq!(take_list(&stage, &stage.worker("new", 2)).await.len(), 1, "its release was not measured");
}

fn lost() -> runyard_domain::job::Loss {
    let reason = runyard_domain::FailReason::WorkerLost { exit: None, attempts: 0 };
    runyard_domain::job::Loss { reason, spends: false }
}

#[tokio::test(start_paused = true)]
async fn long_jobs_come_one_by_one() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    measure(&stage, &worker, 50, 700).await;
    for _ in 0..50 {
        stage.submit().await;
    }
    assert_eq!(take_list(&stage, &worker).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_list_leaves_the_others_their_share() {
    let stage = Stage::new().await;
    let (a, b, c) = (stage.worker("a", 1), stage.worker("b", 1), stage.worker("c", 1));
    measure(&stage, &a, 50, 1).await;
    for _ in 0..30 {
        stage.submit().await;
    }
    assert_eq!(take_list(&stage, &a).await.len(), 10);
    stage.engine.mark_draining(c.worker());
    assert_eq!(take_list(&stage, &b).await.len(), 10, "of the 20 that are left, the half");
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_a_list_while_another_worker_waits() {
    let stage = Stage::new().await;
    let (worker, other) = (stage.worker("w", 1), stage.worker("v", 1));
    measure(&stage, &worker, 20, 10).await;
    for _ in 0..4 {
        stage.submit().await;
    }
    assert_eq!(stage.take(&other, 4).await.len(), 4);
    stage.engine.lose(other.worker(), Which::All, lost()).await.unwrap();
    let poll = stage.poll(&other);
    stage.settle().await;
    assert_eq!(take_list(&stage, &worker).await.len(), 1);
    poll.abort();
    stage.settle().await;
    let third = stage.worker("u", 1);
    stage.engine.unregister_worker(other.worker());
    assert_eq!(take_list(&stage, &third).await.len(), 1, "half of the three that are left");
}

#[tokio::test(start_paused = true)]
async fn each_job_starts_when_the_one_before_is_done() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let jobs = listed(&stage, &worker, 3).await;
    let handed = stage.engine.now();
    stage.advance(300).await;
    stage.finish(&worker, &jobs[0]).await.unwrap();
    let started = stage.engine.now();
    assert!(runs(&stage, &jobs[1]) && is_held(&stage, &jobs[2]));
    assert_eq!(stage.job(&jobs[1]).due_at(), started.plus(600_000), "its time runs from its start");
    stage.advance(40).await;
    let done = stage.finish(&worker, &jobs[1]).await.unwrap();
    let Phase::Done { delay_ms, execution_ms, .. } = done.phase else { panic!() };
    assert_eq!(execution_ms, Some(40));
    assert_eq!(delay_ms, Some(started.since(done.submitted_at)));
    assert!(started.since(handed) >= 300);
    stage.finish(&worker, &jobs[2]).await.unwrap();
    let counts = stage.engine.reader().counts(&ep()).unwrap();
    assert_eq!((counts.waiting, counts.running, counts.retried), (0, 0, 0));
    assert!(jobs.iter().all(|job| stage.job(job).attempt == 1));
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_several_seats_fills_each_as_it_gets_free() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    measure(&stage, &worker, 20, 10).await;
    let mut jobs = vec![];
    for _ in 0..7 {
        jobs.push(stage.submit().await);
    }
    let three = Ask { max: 3, ..list_ask() };
    assert_eq!(ids(stage.engine.take(&worker, three).await.unwrap()), jobs);
    let running = |stage: &Stage| jobs.iter().filter(|job| runs(stage, job)).count();
    assert_eq!(running(&stage), 3);
    stage.finish(&worker, &jobs[1]).await.unwrap();
    assert!(runs(&stage, &jobs[3]) && running(&stage) == 3);
    for job in [0, 2, 3, 4, 5, 6] {
        stage.finish(&worker, &jobs[job]).await.unwrap();
    }
    assert!(jobs.iter().all(|job| stage.job(job).is_done()));
}

#[tokio::test(start_paused = true)]
async fn an_answer_out_of_turn_counts_and_starts_nothing_twice() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let jobs = listed(&stage, &worker, 4).await;
    // The answer to the first one was lost on its way.
    let second = stage.finish(&worker, &jobs[1]).await.unwrap();
    assert_eq!(second.attempt, 1);
    stage.engine.progress(&worker, &jobs[2], "1".into()).await.unwrap();
    stage.settle().await;
    assert!(runs(&stage, &jobs[2]), "it speaks of it, so it has begun");
    stage.finish(&worker, &jobs[0]).await.unwrap();
    assert!(is_held(&stage, &jobs[3]), "one seat, and the third job sits in it");
    assert!(stage.finish(&worker, &jobs[0]).await.is_none(), "twice");
    stage.finish(&worker, &jobs[2]).await.unwrap();
    assert!(runs(&stage, &jobs[3]));
}

#[tokio::test(start_paused = true)]
async fn only_normal_priority_waits_in_lists() {
    let stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    measure(&stage, &worker, 20, 10).await;
    let low = |stage: &Stage| NewJob { low_priority: true, ..stage.new_job() };
    for _ in 0..5 {
        stage.submit_as(low(&stage)).await;
    }
    assert_eq!(take_list(&stage, &worker).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_list_is_kept_over_a_restart() {
    let mut stage = Stage::new().await;
    let worker = stage.worker("w", 1);
    let jobs = listed(&stage, &worker, 4).await;
    let cancelled = stage.engine.cancel(&stage.caller, &jobs[2]).await.unwrap();
    assert!(matches!(cancelled.phase, Phase::Done { outcome: Outcome::Cancelled { .. }, .. }));
    stage.restart();
    stage.engine.register_worker(worker.worker(), &ep(), 1, Some(stage.engine.now()));
    let back = stage.engine.reconcile(worker.worker(), &jobs).await.unwrap();
    assert!(back.is_empty());
    stage.engine.order_stop(worker.worker(), &jobs[2]);
    stage.engine.resume_list(worker.worker());
    assert!(stage.engine.unstopped(worker.worker()).is_empty(), "it had not come to it");
    let leases: Vec<Lease> = stage.engine.leases(worker.worker());
    assert_eq!(leases.iter().map(|lease| lease.started).collect::<Vec<_>>(), [true, false, false]);
    stage.finish(&worker, &jobs[0]).await.unwrap();
    assert!(runs(&stage, &jobs[1]));
    stage.finish(&worker, &jobs[1]).await.unwrap();
    assert!(is_held(&stage, &jobs[3]), "it runs the cancelled one for nothing");
    assert!(stage.finish(&worker, &jobs[2]).await.is_none());
    stage.settle().await;
    assert!(runs(&stage, &jobs[3]));
}
