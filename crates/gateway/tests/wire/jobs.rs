//! Submitting and waiting: synchronous calls are woken by the end of their job, the same idempotency key means
//! the same job.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request};
use serde_json::json;

use crate::support::{House, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runsync_is_woken_by_the_result() {
    let house = Arc::new(House::patient().await);
    let worker = house.worker("w1");
    let caller = house.clone();
    let sync = tokio::spawn(async move { caller.post("/v2/ep1/runsync", r#"{"input":{"n":4}}"#).await });
    let job = house.take(&worker).await.json()["id"].as_str().unwrap().to_owned();
    assert!(job.starts_with("sync-") && job.ends_with("-u1"), "{job}");
    house.done(&worker, &job, r#"{"output":16}"#).await;
    let answer = tokio::time::timeout(Duration::from_secs(10), sync).await.unwrap().unwrap();
    assert_eq!(
        answer.text(),
        format!(
            r#"{{"id":"{job}","status":"COMPLETED","delayTime":0,"executionTime":0,"workerId":"w1","output":16}}"#
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_sync_is_woken_by_a_cancel() {
    let house = Arc::new(House::patient().await);
    let job = house.run("1").await;
    let (caller, path) = (house.clone(), format!("/v2/ep1/status-sync/{job}"));
    let sync = tokio::spawn(async move { caller.call(Method::POST, &path, Body::empty()).await });
    let cancelled = house.post(&format!("/v2/ep1/cancel/{job}"), "").await;
    assert_eq!(cancelled.text(), format!(r#"{{"id":"{job}","status":"CANCELLED"}}"#));
    let answer = tokio::time::timeout(Duration::from_secs(10), sync).await.unwrap().unwrap().json();
    assert_eq!(answer["status"], "CANCELLED");
    assert_eq!(answer["reason"]["code"], "cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runsync_answers_200_when_the_wait_is_over() {
    let house = House::quick().await;
    let answer = house.post("/v2/ep1/runsync", r#"{"input":1}"#).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!("IN_QUEUE")));
    let worker = house.worker("w1");
    let job = house.take(&worker).await.json()["id"].as_str().unwrap().to_owned();
    let answer = house.get(&format!("/v2/ep1/status-sync/{job}")).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!("IN_PROGRESS")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_idempotency_key_is_the_same_job() {
    let house = House::quick().await;
    let submit = |key: &'static str, path: &'static str, input: u8| {
        let request = Request::post(path)
            .header("authorization", &house.key)
            .header("idempotency-key", key)
            .body(Body::from(format!("{{\"input\":{input}}}")))
            .unwrap();
        let house = &house;
        async move { house.send(request).await.json()["id"].as_str().unwrap().to_owned() }
    };
    let first = submit("order 66", "/v2/ep1/run", 1).await;
    assert_eq!(submit("order 66", "/v2/ep1/run", 2).await, first);
    assert_eq!(submit("order 66", "/v2/hello/runsync", 3).await, first);
    assert_ne!(submit("order 67", "/v2/ep1/run", 4).await, first);
    assert_eq!(house.all_jobs().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_attempt_is_counted() {
    let house = House::quick().await;
    let (first, second) = (house.worker("w1"), house.worker("w2"));
    let job = house.running(&first, "1").await;
    let reason = runyard_domain::FailReason::WorkerLost { exit: None, attempts: 0 };
    let loss = runyard_domain::job::Loss { reason, spends: true };
    house.engine.lose(&first.id, runyard_store::Which::All, loss).await.unwrap();
    house.advance(700);
    assert_eq!(house.take(&second).await.json()["id"], job.as_str());
    house.done(&second, &job, "{}").await;
    let status = house.get(&format!("/v2/ep1/status/{job}")).await;
    let expected = format!(
        r#"{{"id":"{job}","status":"COMPLETED","delayTime":700,"executionTime":0,"workerId":"w2","retries":1}}"#
    );
    assert_eq!(status.text(), expected);
    let health = house.get("/v2/ep1/health").await.json();
    assert_eq!(health["jobs"]["retried"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_longer_kept_is_gone() {
    let house = House::quick().await;
    let short = runyard_domain::Settings { retention_ms: 0, ..runyard_domain::Settings::default() };
    house.endpoint("ep1", "hello", short).await;
    let worker = house.worker("w1");
    let job = house.running(&worker, "1").await;
    house.done(&worker, &job, "{}").await;
    until(&house, "the job is forgotten", || house.all_jobs().is_empty()).await;
    for (method, operation) in
        [("GET", "status"), ("GET", "status-sync"), ("GET", "stream"), ("POST", "retry")]
    {
        let path = format!("/v2/ep1/{operation}/{job}");
        let answer = house.call(method.parse().unwrap(), &path, Body::empty()).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["code"]),
            (404, &json!("job_not_found")),
            "{path}"
        );
    }
}
