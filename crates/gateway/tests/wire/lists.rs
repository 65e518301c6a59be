//! Lists on the wire, and workers that are refused: who gets a list, in what form, and how fast nobody spins.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use futures_util::future::join_all;
use http::{Method, Request};
use serde_json::json;

use crate::support::{House, TestWorker};

const PYTHON: &str = "RunPod-Python-SDK/1.12.0 (Linux; x86_64) Language/Python 3.11.7";

fn single(worker: &TestWorker, agent: &str) -> Request<Body> {
    let path = format!("{}/job-take/{}?gpu=&job_in_progress=0", worker.base, worker.id);
    Request::get(path).header("user-agent", agent).body(Body::empty()).unwrap()
}

/// A house whose jobs are known to be short, and some that wait.
async fn with_waiting(count: usize) -> (House, TestWorker, Vec<String>) {
    let house = House::quick().await;
    let worker = house.worker("w1");
    for _ in 0..10 {
        let job = house.running(&worker, "0").await;
        house.advance(10);
        house.done(&worker, &job, r#"{"output":0}"#).await;
    }
    let mut jobs = Vec::new();
    for n in 0..count {
        jobs.push(house.run(&n.to_string()).await);
    }
    (house, worker, jobs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_take_may_get_a_list() {
    let (house, worker, jobs) = with_waiting(4).await;
    let taken = house.send(single(&worker, PYTHON)).await;
    let expected: Vec<_> = jobs.iter().enumerate().map(|(n, id)| json!({"id": id, "input": n})).collect();
    assert_eq!(taken.json(), json!(expected));
    assert_eq!(taken.header("x-runyard-jobs"), jobs.join(","));
    assert_eq!(house.status(&jobs[0]).await["status"], "IN_PROGRESS");
    let second = house.status(&jobs[1]).await;
    assert_eq!((&second["status"], &second["queue"]["position"]), (&json!("IN_QUEUE"), &json!(1)));
    assert!(second["delayTime"].is_null() && second["workerId"].is_null());
    let health = house.get("/v2/ep1/health").await.json();
    assert_eq!((&health["jobs"]["inQueue"], &health["jobs"]["inProgress"]), (&json!(3), &json!(1)));
    house.advance(30);
    for (n, job) in jobs.iter().enumerate() {
        house.advance(20);
        assert_eq!(house.done(&worker, job, r#"{"output":1}"#).await.status, 200);
        let done = house.status(job).await;
        let execution = if n == 0 { 50 } else { 20 };
        assert_eq!((&done["status"], &done["executionTime"]), (&json!("COMPLETED"), &json!(execution)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_get_an_object() {
    let (house, _, _) = with_waiting(40).await;
    let agents = [
        "RunPod-Python-SDK/2.0.0rc2 (x) y",
        "RunPod-Python-SDK/1.7.0 (x) y",
        "reqwest/0.12",
        "Python/3.11 aiohttp/3.9",
    ];
    for (n, agent) in agents.into_iter().enumerate() {
        let worker = house.worker(&format!("v{n}"));
        // What a worker of another make says in its pings proves nothing of its SDK.
        let ping = format!("{}/ping/{}?runpod_version=1.12.0", worker.base, worker.id);
        house.send(Request::get(ping).body(Body::empty()).unwrap()).await;
        assert!(house.send(single(&worker, agent)).await.json().is_object(), "{agent}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_its_worker_never_read_goes_back_whole() {
    let (house, worker, jobs) = with_waiting(3).await;
    assert!(house.send(single(&worker, PYTHON)).await.json().is_array());
    let give_back =
        runyard_store::Which::Jobs(jobs.iter().map(|id| runyard_domain::JobId::new(id.as_str())).collect());
    assert_eq!(house.engine.give_back(&worker.id, give_back).await.unwrap().len(), 3);
    assert_eq!(house.send(single(&worker, PYTHON)).await.json()[2]["id"], jobs[2].as_str());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_to_a_worker_whose_list_was_called_back_is_held_until_it_is_gone() {
    let (house, worker, jobs) = with_waiting(3).await;
    assert!(house.send(single(&worker, PYTHON)).await.json().is_array());
    house.engine.mark_draining(&worker.id);
    let house = Arc::new(house);
    let (sender, job) = (house.clone(), jobs[0].clone());
    let id = worker.id.clone();
    let answered = tokio::spawn(async move { sender.done(&worker, &job, r#"{"output":1}"#).await });
    crate::support::until(&house, "the result is in", || house.job(&jobs[0]).is_done()).await;
    assert!(!answered.is_finished());
    house.engine.unregister_worker(&id);
    assert_eq!(answered.await.unwrap().status, 200);
    assert_eq!(house.status(&jobs[1]).await["status"], "IN_QUEUE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_slow_and_only_so_many_wait() {
    let house = House::new(runyard_gateway::Options {
        timing: runyard_gateway::Timing { auth_pause: Duration::from_secs(3), ..crate::support::quick() },
        ..Default::default()
    })
    .await;
    let refused = |n: usize| {
        let path = format!("/w/nobody-{n}/v2/ep1/job-take/w1?job_in_progress=0");
        house.work(Method::GET, path, Body::empty())
    };
    let asked = Instant::now();
    let answers = join_all((0..600).map(refused)).await;
    assert!(asked.elapsed() >= Duration::from_secs(3));
    let of = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((of(401), of(429)), (512, 88));
    let hurried = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!((hurried.header("retry-after"), hurried.header("connection")), ("5", "close"));
    assert_eq!(refused(601).await.status, 401, "there is room again");
}
