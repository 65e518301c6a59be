//! Jobs that ended while their worker runs on: the grace, the replacement, what becomes of its other jobs.

use std::time::Duration;

use runyard_domain::worker::WorkerState;
use runyard_domain::{JobId, Settings, WorkerId};
use runyard_engine::{Ask, NewJob};
use runyard_runtime::Stop;

use crate::stage::*;

/// A worker that ignores every wish, with two jobs.
async fn stubborn(settings: Settings) -> (Stage, WorkerId, [JobId; 2]) {
    let stage = Stage::new(settings).await;
    stage.runtime.ignore_term(true);
    let (first, worker) = stage.busy_worker().await;
    let second = stage.submit().await;
    assert_eq!(stage.take(&worker).await, [second.clone()]);
    (stage, worker, [first, second])
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_let_go_is_replaced_and_its_other_jobs_go_back_unspent() {
    let (stage, worker, [first, second]) = stubborn(patient()).await;
    stage.engine.cancel(&stage.caller, &first).await.unwrap();
    stage.advance(2_950).await;
    assert_eq!(stage.record(&worker).state, WorkerState::Ready);
    stage.advance(50).await;
    assert_eq!(stage.record(&worker).state, WorkerState::Draining);
    stage.advance(9_900).await;
    assert_eq!(stage.job(&second).holder(), Some(&worker), "it may still finish");
    assert!(stage.runtime.stopped().is_empty());
    stage.advance(200).await;
    assert_eq!(stage.runtime.stopped(), [(worker, Stop::Kill)]);
    assert!(stage.is_waiting(&second));
    assert_eq!(stage.job(&second).losses, 0);
    assert_eq!(stage.take(&stage.last()).await, [second]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_sleeps_takes_nothing_of_the_grace_and_of_a_drain() {
    let (stage, worker, [first, second]) = stubborn(patient()).await;
    stage.engine.cancel(&stage.caller, &first).await.unwrap();
    stage.sleep(3_600_000).await;
    stage.advance(2_950).await;
    assert_eq!(stage.record(&worker).state, WorkerState::Ready, "it has had no time to let go");
    stage.advance(50).await;
    assert_eq!(stage.record(&worker).state, WorkerState::Draining);
    stage.sleep(3_600_000).await;
    stage.advance(9_900).await;
    assert_eq!(stage.job(&second).holder(), Some(&worker), "it may still finish");
    stage.advance(200).await;
    assert_eq!(stage.runtime.stopped(), [(worker, Stop::Kill)]);
}

#[tokio::test(start_paused = true)]
async fn without_other_jobs_it_is_killed_at_once() {
    let stage = Stage::new(patient()).await;
    stage.runtime.ignore_term(true);
    let (job, worker) = stage.busy_worker().await;
    stage.engine.cancel(&stage.caller, &job).await.unwrap();
    stage.advance(3_000).await;
    assert_eq!(stage.runtime.stopped(), [(worker.clone(), Stop::Term), (worker, Stop::Kill)]);
    assert_eq!(stage.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn when_its_other_jobs_are_done_it_is_killed_without_waiting_on() {
    let (stage, worker, [first, second]) = stubborn(patient()).await;
    stage.engine.cancel(&stage.caller, &first).await.unwrap();
    stage.advance(4_000).await;
    stage.finish(&worker, &second).await;
    assert_eq!(stage.running(), 0);
}

/// The SDK stops a job that it is told to and says nothing; while other jobs run, only pings show it.
#[tokio::test(start_paused = true)]
async fn a_worker_that_heard_the_order_and_runs_other_jobs_has_time_for_two_pings() {
    for pings in [true, false] {
        let (stage, worker, [first, second]) = stubborn(patient()).await;
        let who = stage.who(&worker);
        stage.engine.ping(&who, &[first.clone(), second.clone()], None);
        stage.engine.cancel(&stage.caller, &first).await.unwrap();
        assert_eq!(stage.engine.stop_orders(&who, Duration::ZERO).await, Some(vec![first]));
        for _ in 0..2 {
            stage.advance(10_000).await;
            if pings {
                stage.engine.ping(&who, std::slice::from_ref(&second), None);
            }
            assert_eq!(stage.record(&worker).state, WorkerState::Ready);
        }
        stage.advance(9_000).await;
        let state = if pings { WorkerState::Ready } else { WorkerState::Draining };
        assert_eq!(stage.record(&worker).state, state);
        assert_eq!(stage.job(&second).holder(), Some(&worker));
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_lets_go_stays() {
    let (stage, worker, [first, second]) = stubborn(patient()).await;
    stage.engine.cancel(&stage.caller, &first).await.unwrap();
    let who = stage.who(&worker);
    assert_eq!(stage.engine.stop_orders(&who, Duration::ZERO).await, Some(vec![first.clone()]));
    let late = stage.engine.finish(&who, &first, runyard_domain::job::Answer::Success, None).await;
    assert!(late.unwrap().is_none());
    stage.advance(20_000).await;
    assert!(stage.runtime.stopped().is_empty());
    assert_eq!(stage.job(&second).holder(), Some(&worker));
}

#[tokio::test(start_paused = true)]
async fn a_job_over_its_execution_time_is_stopped_the_same_way() {
    let stage = Stage::new(patient()).await;
    stage.runtime.ignore_term(true);
    let limited = NewJob { execution_timeout_ms: Some(5_000), ..stage.new_job("ep") };
    let job = stage.submit_as(limited).await;
    let worker = stage.last();
    stage.take(&worker).await;
    stage.advance(5_000).await;
    assert!(stage.job(&job).is_done());
    stage.advance(2_900).await;
    assert_eq!(stage.running(), 1);
    stage.advance(200).await;
    assert_eq!(stage.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_forgetful_worker_is_replaced() {
    let stage = Stage::new(patient()).await;
    let (job, worker) = stage.busy_worker().await;
    stage.advance(10_000).await;
    let free = Ask { max: 1, hold: Duration::ZERO, in_progress: false, prefetches: false, sdk: None };
    stage.engine.take(&stage.who(&worker), free).await.unwrap();
    stage.settle().await;
    assert!(!stage.runtime.running().contains(&worker));
    assert_eq!(stage.take(&stage.last()).await, [job]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_asks_for_it_is_refreshed_after_its_job() {
    let stage = Stage::new(patient()).await;
    let (job, worker) = stage.busy_worker().await;
    stage.finish(&worker, &job).await;
    stage.fleet.refresh(&worker);
    let next = stage.engine.submit(&stage.caller, stage.new_job("ep")).await.unwrap().job.id;
    assert!(stage.take(&worker).await.is_empty(), "not even before it was told to end");
    stage.settle().await;
    assert_eq!((stage.starts(), stage.running()), (2, 1));
    assert_eq!(stage.take(&stage.last()).await, [next]);
}

/// Workers of some makes end at once on SIGTERM, with what they run.
#[tokio::test(start_paused = true)]
async fn a_draining_worker_is_told_to_end_when_its_last_job_is_done() {
    let stage = Stage::new(patient()).await;
    let (first, worker) = stage.busy_worker().await;
    let second = stage.submit().await;
    assert_eq!(stage.take(&worker).await, [second.clone()]);
    stage.fleet.restart(&ep()).await;
    stage.finish(&worker, &first).await;
    stage.advance(60_000).await;
    assert!(stage.runtime.stopped().is_empty());
    stage.finish(&worker, &second).await;
    assert_eq!(stage.runtime.stopped(), [(worker, Stop::Term)]);
}

#[tokio::test(start_paused = true)]
async fn a_draining_worker_that_does_not_end_after_its_job_gets_the_usual_time() {
    let (stage, worker, [first, second]) = stubborn(patient()).await;
    stage.fleet.restart(&ep()).await;
    stage.advance(60_000).await;
    stage.finish(&worker, &first).await;
    stage.finish(&worker, &second).await;
    stage.advance(9_900).await;
    assert_eq!(stage.running(), 1);
    stage.advance(200).await;
    assert_eq!(stage.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_drains_while_it_starts_is_ended_in_time() {
    let stage = Stage::new(patient()).await;
    stage.runtime.ignore_term(true);
    stage.submit().await;
    stage.settings(Settings { workers_max: 0, ..patient() }).await;
    assert_eq!(stage.running(), 1);
    stage.advance(10_100).await;
    assert_eq!(stage.running(), 0);
    assert_eq!(stage.fleet.endpoint_state(&stage.engine.endpoint("ep").unwrap()).word, "stopped");
    stage.settings(patient()).await;
    assert_eq!(stage.starts(), 2, "its end was no failed start");
}

#[tokio::test(start_paused = true)]
async fn an_order_outlives_a_burst_that_the_fleet_did_not_follow() {
    let (stage, worker, [first, _]) = stubborn(Settings { workers_max: 1, ..patient() }).await;
    stage.engine.cancel(&stage.caller, &first).await.unwrap();
    // More changes than the feed keeps, before the fleet looks.
    let job = stage.engine.submit(&stage.caller, stage.new_job("ep")).await.unwrap().job.id;
    for _ in 0..4_200 {
        stage.engine.order_stop(&worker, &first);
    }
    stage.advance(3_100).await;
    assert_eq!(stage.record(&worker).state, WorkerState::Draining);
    assert!(stage.is_waiting(&job));
}

#[tokio::test(start_paused = true)]
async fn a_drain_gives_each_job_the_time_of_its_own_limit() {
    let stage = Stage::new(Settings { execution_timeout_ms: 5_000, ..patient() }).await;
    stage.runtime.ignore_term(true);
    let long = NewJob { execution_timeout_ms: Some(100_000), ..stage.new_job("ep") };
    let job = stage.submit_as(long).await;
    let worker = stage.last();
    assert_eq!(stage.take(&worker).await, [job.clone()]);
    stage.fleet.restart(&ep()).await;
    stage.advance(90_000).await;
    assert_eq!(stage.job(&job).holder(), Some(&worker));
    stage.finish(&worker, &job).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_leaves_no_worker_at_a_job_that_was_ended() {
    let (stage, worker, [first, second]) = stubborn(patient()).await;
    stage.finish(&worker, &second).await;
    stage.engine.cancel(&stage.caller, &first).await.unwrap();
    stage.settle().await;
    stage.fleet.close();
    stage.fleet.end_busy().await;
    assert_eq!(stage.runtime.stopped(), [(worker, Stop::Kill)]);
}

/// A list of four short jobs in the hands of a worker; the first one runs.
async fn with_list() -> (Stage, WorkerId, Vec<JobId>) {
    let stage = Stage::new(patient()).await;
    stage.runtime.ignore_term(true);
    let worker = stage.idle_worker().await;
    for _ in 0..20 {
        let job = stage.submit().await;
        assert_eq!(stage.take(&worker).await, [job.clone()]);
        stage.finish(&worker, &job).await;
    }
    let mut jobs = vec![];
    for _ in 0..4 {
        jobs.push(stage.submit().await);
    }
    let ask = Ask {
        max: 1,
        hold: Duration::ZERO,
        in_progress: false,
        prefetches: false,
        sdk: Some("1.12.0".into()),
    };
    let runyard_engine::Take::Jobs(mut list) = stage.engine.take(&stage.who(&worker), ask).await.unwrap()
    else {
        panic!("there are jobs")
    };
    list.delivered();
    assert_eq!(list.jobs.len(), 4);
    (stage, worker, jobs)
}

#[tokio::test(start_paused = true)]
async fn a_job_cancelled_in_a_list_does_not_cost_its_worker() {
    let (stage, worker, jobs) = with_list().await;
    stage.engine.cancel(&stage.caller, &jobs[1]).await.unwrap();
    stage.advance(60_000).await;
    assert_eq!(stage.record(&worker).state, WorkerState::Ready);
    assert_eq!(stage.job(&jobs[0]).holder(), Some(&worker));
    let reason = stage.fleet.waiting(&stage.job(&jobs[3]));
    assert_eq!(reason.code(), "in_list");
    assert!(reason.sentence(stage.engine.now()).contains(worker.as_str()), "it says who has it");
}

#[tokio::test(start_paused = true)]
async fn a_drained_worker_ends_with_the_job_that_it_runs_and_its_list_goes_back() {
    let (stage, worker, jobs) = with_list().await;
    stage.fleet.restart(&ep()).await;
    stage.settle().await;
    assert_eq!(stage.record(&worker).state, WorkerState::Draining);
    assert!(stage.job(&jobs[0]).holder().is_some() && jobs[1..].iter().all(|job| stage.is_waiting(job)));
    stage.finish(&worker, &jobs[0]).await;
    stage.settle().await;
    let of_it = |(id, _): &(WorkerId, Stop)| *id == worker;
    assert!(stage.runtime.stopped().iter().any(|stop| of_it(stop) && stop.1 == Stop::Kill), "at once");
    assert!(jobs[1..].iter().all(|job| stage.job(job).losses == 0 && stage.job(job).attempt == 0));
}
