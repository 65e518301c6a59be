//! Taking, holding, draining, stopping, pinging.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use http::{Method, Request};
use runyard_engine::Change;
use serde_json::json;

use crate::support::{House, TestWorker, until};

fn take_path(worker: &TestWorker, query: &str) -> String {
    format!("{}/job-take/{}{query}", worker.base, worker.id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_take_is_woken_by_the_job() {
    let house = Arc::new(House::patient().await);
    let worker = house.worker("w1");
    let holder = house.clone();
    let held = tokio::spawn(async move { holder.take(&worker).await });
    until(&house, "the worker asked", || {
        house.engine.live_worker(&runyard_domain::WorkerId::new("w1")).unwrap().ready_at.is_some()
    })
    .await;
    let job = house.run("1").await;
    let taken = tokio::time::timeout(Duration::from_secs(10), held).await.unwrap().unwrap();
    assert_eq!(taken.json(), json!({"id": job, "input": 1}));
    assert_eq!(taken.header("x-runyard-jobs"), job);
    assert_eq!(taken.header("x-runyard-attempts"), "1");
    let live = house.engine.live_worker(&runyard_domain::WorkerId::new("w1")).unwrap();
    assert_eq!(live.sdk.as_deref(), Some("1.12.0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_to_do_is_204_after_the_hold() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    for path in [take_path(&worker, "?job_in_progress=0"), format!("{}/job-stop/w1?", worker.base)] {
        let asked = Instant::now();
        let answer = house.work(Method::GET, path, Body::empty()).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
        assert!(asked.elapsed() >= Duration::from_millis(150));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_prefetching_stranger_is_answered_early() {
    let house = House::patient().await;
    let worker = house.worker("w1");
    for query in ["?gpu=&job_in_progress=1", "&job_in_progress=1"] {
        let request = Request::get(take_path(&worker, query)).body(Body::empty()).unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(10), house.send(request)).await.unwrap();
        assert_eq!(answer.status, 204);
    }
    // The Python SDK's poll of the same form is held; so is a stranger's without work.
    let python = house.work(Method::GET, take_path(&worker, "?job_in_progress=1"), Body::empty());
    assert!(tokio::time::timeout(Duration::from_millis(150), python).await.is_err());
    let idle = Request::get(take_path(&worker, "?job_in_progress=0")).body(Body::empty()).unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(150), house.send(idle)).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_without_a_question_mark_works() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let job = house.run("1").await;
    let taken = house.work(Method::GET, take_path(&worker, "&job_in_progress=0"), Body::empty()).await;
    assert_eq!(taken.json()["id"], job.as_str());
    let path = format!("{}/job-done/w1/{job}&isStream=false", worker.base);
    assert_eq!(house.work(Method::POST, path, r#"{"output":1}"#).await.status, 200);
    assert_eq!(house.status(&job).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_a_list_of_at_most_what_was_asked() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let mut jobs = Vec::new();
    for n in 0..100 {
        jobs.push(house.run(&n.to_string()).await);
    }
    let batch = async |size: &str| {
        let path = format!("{}/job-take-batch/w1?gpu=&batch_size={size}&job_in_progress=0", worker.base);
        house.work(Method::GET, path, Body::empty()).await
    };
    for (size, expected) in [("3", 3), ("1", 1), ("0", 1), ("junk", 1), ("5000", 94)] {
        let answer = batch(size).await;
        let list = answer.json();
        let ids: Vec<&str> = list.as_array().unwrap().iter().map(|j| j["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), expected, "{size}");
        assert_eq!(ids, jobs.drain(..expected).collect::<Vec<_>>(), "in the order of submission");
        let lines: Vec<&str> =
            answer.headers.get_all("x-runyard-jobs").iter().map(|line| line.to_str().unwrap()).collect();
        assert_eq!(lines.join(","), ids.join(","));
        assert!(lines.iter().all(|line| line.len() < 8_000), "aiohttp reads no longer header");
    }
    assert_eq!(batch("2").await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_to_one_worker() {
    let house = Arc::new(House::quick().await);
    let workers: Vec<_> = (0..8).map(|n| house.worker(&format!("w{n}"))).collect();
    let takes: Vec<_> = workers
        .into_iter()
        .map(|worker| {
            let house = house.clone();
            tokio::spawn(async move { house.take(&worker).await })
        })
        .collect();
    for n in 0..5 {
        house.run(&n.to_string()).await;
    }
    let (mut ids, mut empty) = (Vec::new(), 0);
    for take in takes {
        let answer = take.await.unwrap();
        match answer.status.as_u16() {
            200 => ids.push(answer.json()["id"].as_str().unwrap().to_owned()),
            _ => empty += 1,
        }
    }
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), empty), (5, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_releases_each_held_poll_once_and_pauses_later_ones() {
    let house = Arc::new(House::patient().await);
    let worker = Arc::new(house.worker("w1"));
    let hold = |path: String| {
        let house = house.clone();
        tokio::spawn(async move { house.work(Method::GET, path, Body::empty()).await })
    };
    let take = take_path(&worker, "?gpu=&job_in_progress=0");
    let stop = format!("{}/job-stop/w1?gpu=", worker.base);
    let (held_take, held_stop) = (hold(take.clone()), hold(stop.clone()));
    until(&house, "the worker asked", || house.engine.live_worker(&worker.id).unwrap().ready_at.is_some())
        .await;
    house.engine.mark_draining(&worker.id);
    let job = house.run("1").await;
    house.engine.release_polls(&worker.id);
    for held in [held_take, held_stop] {
        let answer = tokio::time::timeout(Duration::from_secs(10), held).await.unwrap().unwrap();
        assert_eq!(answer.status, 204);
    }
    for path in [take, stop] {
        let asked = Instant::now();
        let answer = house.work(Method::GET, path, Body::empty()).await;
        assert_eq!(answer.status, 204);
        assert!(asked.elapsed() >= Duration::from_millis(30), "it must not spin");
    }
    assert_eq!(house.status(&job).await["status"], "IN_QUEUE", "a draining worker gets nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_shuts_down_hands_nothing_out_and_takes_results() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let job = house.running(&worker, "1").await;
    house.run("2").await;
    house.engine.close_submissions();
    assert_eq!(house.take(&worker).await.status, 204);
    assert_eq!(house.done(&worker, &job, r#"{"output":1}"#).await.status, 200);
    assert_eq!(house.status(&job).await["status"], "COMPLETED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_wakes_the_stop_poll() {
    let house = Arc::new(House::patient().await);
    let worker = house.worker("w1");
    let job = house.running(&worker, "1").await;
    let (holder, path) = (house.clone(), format!("{}/job-stop/w1?gpu=", worker.base));
    let held = tokio::spawn(async move { holder.work(Method::GET, path, Body::empty()).await });
    house.post(&format!("/v2/ep1/cancel/{job}"), "").await;
    let answer = tokio::time::timeout(Duration::from_secs(10), held).await.unwrap().unwrap();
    assert_eq!(answer.json(), json!({"jobsToStop": [job]}));
    assert_eq!(house.engine.unstopped(&worker.id).len(), 1);
    for jobs in [job.as_str(), "", ""] {
        let path = format!("{}/ping/w1?gpu=&job_id={jobs}&runpod_version=1.12.0", worker.base);
        assert_eq!(house.work(Method::GET, path, Body::empty()).await.status, 200);
    }
    assert!(house.engine.unstopped(&worker.id).is_empty(), "the pings say that it let go");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfit_worker_says_so() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let mut changes = house.engine.watch();
    let query = "status=unhealthy&check=gpu%20test&reason=no+CUDA%0Adevice&runpod_version=1.11.0";
    let path = format!("{}/ping/w1?{query}", worker.base);
    assert_eq!(house.work(Method::GET, path, Body::empty()).await.status, 200);
    let message = "check 'gpu test' failed: no CUDA device".to_owned();
    assert_eq!(
        changes.recv().await.unwrap(),
        Change::Unfit { worker: worker.id.clone(), message: message.clone() }
    );
    let live = house.engine.live_worker(&worker.id).unwrap();
    assert_eq!((live.unfit, live.sdk.as_deref()), (Some(message), Some("1.11.0")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_not_taken_gives_its_job_back() {
    use tower::ServiceExt as _;
    let house = House::quick().await;
    let (first, second) = (house.worker("w1"), house.worker("w2"));
    let job = house.run("1").await;
    let request = Request::get(take_path(&first, "?job_in_progress=0")).body(Body::empty()).unwrap();
    let answer = house.router.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(house.status(&job).await["status"], "IN_PROGRESS");
    drop(answer);
    let taken = house.take(&second).await;
    assert_eq!(taken.json()["id"], job.as_str());
    assert_eq!(house.job(&job).attempt, 1, "the first attempt never was");
}
