//! Streams: at least once, nothing dropped, the end together with the rest.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::House;

async fn poll(house: &House, job: &str) -> Value {
    let answer = house.get(&format!("/v2/ep1/stream/{job}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_come_once_in_order_and_the_end_comes_with_the_rest() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let job = house.run("1").await;
    assert_eq!(poll(&house, &job).await, json!({"status": "IN_QUEUE", "stream": []}));
    house.take(&worker).await;
    house.chunk(&worker, &job, r#"{"word": "a",  "n":1.0}"#).await;
    house.chunk(&worker, &job, "2").await;
    let first = house.get(&format!("/v2/ep1/stream/{job}")).await;
    let expected = r#"{"status":"IN_PROGRESS","stream":[{"output":{"word": "a",  "n":1.0}},{"output":2}]}"#;
    assert_eq!(first.text(), expected);
    assert_eq!(poll(&house, &job).await, json!({"status": "IN_PROGRESS", "stream": []}));
    house.chunk(&worker, &job, "3").await;
    let path = format!("{}/job-done/w1/{job}?gpu=&isStream=true", worker.base);
    assert_eq!(house.work(Method::POST, path, r#"{"output":[]}"#).await.status, 200);
    let last = house.post(&format!("/v2/ep1/stream/{job}"), "").await.json();
    assert_eq!(last, json!({"status": "COMPLETED", "stream": [{"output": 3}]}));
    for _ in 0..2 {
        assert_eq!(poll(&house, &job).await, json!({"status": "COMPLETED", "stream": []}));
    }
    assert_eq!(house.status(&job).await["output"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_nobody_took_comes_again() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let job = house.running(&worker, "1").await;
    house.chunk(&worker, &job, "1").await;
    house.done(&worker, &job, r#"{"output":[]}"#).await;
    for _ in 0..2 {
        let request = Request::get(format!("/v2/ep1/stream/{job}")).header("authorization", &house.key);
        let answer = house.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        drop(answer);
    }
    assert_eq!(poll(&house, &job).await, json!({"status": "COMPLETED", "stream": [{"output": 1}]}));
    assert_eq!(poll(&house, &job).await, json!({"status": "COMPLETED", "stream": []}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_without_pause_gets_no_chunk_twice() {
    let house = Arc::new(House::patient().await);
    let worker = house.worker("w1");
    let job = house.running(&worker, "1").await;
    let (reader, id) = (house.clone(), job.clone());
    let reading = tokio::spawn(async move {
        let mut seen = Vec::new();
        loop {
            let answer = poll(&reader, &id).await;
            seen.extend(answer["stream"].as_array().unwrap().iter().map(|c| c["output"].as_u64().unwrap()));
            if answer["status"] == "COMPLETED" {
                return seen;
            }
        }
    });
    for n in 0..200 {
        house.chunk(&worker, &job, &n.to_string()).await;
    }
    house.done(&worker, &job, r#"{"output":[]}"#).await;
    let seen = tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap().unwrap();
    assert_eq!(seen, (0..200).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_more_remains_than_fits_the_job_seems_to_run() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let job = house.running(&worker, "1").await;
    let half = format!("\"{}\"", "x".repeat(600 << 10));
    for _ in 0..3 {
        house.chunk(&worker, &job, &half).await;
    }
    let large = format!("\"{}\"", "y".repeat(3 << 20));
    house.chunk(&worker, &job, &large).await;
    house.done(&worker, &job, r#"{"error":"at the end"}"#).await;
    let mut answers = Vec::new();
    loop {
        let answer = poll(&house, &job).await;
        let lengths: Vec<usize> = answer["stream"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["output"].as_str().unwrap().len())
            .collect();
        answers.push((answer["status"].as_str().unwrap().to_owned(), lengths));
        if answers.last().unwrap().0 != "IN_PROGRESS" {
            break;
        }
    }
    let k = 600 << 10;
    let expected = [
        ("IN_PROGRESS", vec![k]),
        ("IN_PROGRESS", vec![k]),
        ("IN_PROGRESS", vec![k]),
        ("FAILED", vec![3 << 20]),
    ];
    assert_eq!(answers, expected.map(|(status, lengths)| (status.to_owned(), lengths)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_poll_is_woken_by_a_chunk_and_by_the_end() {
    let house = Arc::new(House::patient().await);
    let worker = house.worker("w1");
    let job = house.running(&worker, "1").await;
    for step in ["chunk", "end"] {
        let (reader, id) = (house.clone(), job.clone());
        let held = tokio::spawn(async move { poll(&reader, &id).await });
        if step == "chunk" {
            house.chunk(&worker, &job, "7").await;
        } else {
            house.done(&worker, &job, "{}").await;
        }
        let answer = tokio::time::timeout(Duration::from_secs(10), held).await.unwrap().unwrap();
        let expected = if step == "chunk" {
            json!({"status": "IN_PROGRESS", "stream": [{"output": 7}]})
        } else {
            json!({"status": "COMPLETED", "stream": []})
        };
        assert_eq!(answer, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_stream_ends() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let job = house.running(&worker, "1").await;
    house.chunk(&worker, &job, "1").await;
    house.post(&format!("/v2/ep1/cancel/{job}"), "").await;
    house.advance(60_000);
    assert_eq!(poll(&house, &job).await, json!({"status": "CANCELLED", "stream": [{"output": 1}]}));
    let over = house.get(&format!("/v2/ep1/stream/{job}")).await;
    assert_eq!((over.status.as_u16(), &over.json()["code"]), (404, &json!("job_not_found")));
    assert_eq!(house.status(&job).await["status"], "CANCELLED");
    let fresh = house.run("2").await;
    house.post(&format!("/v2/ep1/cancel/{fresh}"), "").await;
    assert_eq!(poll(&house, &fresh).await, json!({"status": "CANCELLED", "stream": []}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbered_chunks_may_be_repeated() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let job = house.running(&worker, "1").await;
    for (number, value) in [(1, "a"), (2, "b"), (2, "b"), (1, "a"), (3, "c")] {
        let request = Request::post(format!("{}/job-stream/w1/{job}?isStream=false", worker.base))
            .header("x-runyard-chunk", number)
            .body(Body::from(format!("{{\"output\":\"{value}\"}}")));
        assert_eq!(house.send(request.unwrap()).await.status, 200);
    }
    // An error in the stream has no `output`; it is passed on.
    let path = format!("{}/job-stream/w1/{job}", worker.base);
    house.work(Method::POST, path, r#" {"error": "e"} "#).await;
    let expected = json!([{"output": "a"}, {"output": "b"}, {"output": "c"}, {"output": {"error": "e"}}]);
    assert_eq!(poll(&house, &job).await["stream"], expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_cannot_be_streamed_fails_the_job() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let job = house.running(&worker, "1").await;
    house.chunk(&worker, &job, "1").await;
    house.chunk(&worker, &job, "Infinity").await;
    let end = poll(&house, &job).await;
    assert_eq!(end, json!({"status": "FAILED", "stream": [{"output": 1}]}));
    assert_eq!(house.status(&job).await["reason"]["code"], "result_rejected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_read_answer_comes_again() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let job = house.running(&worker, "1").await;
    let large = format!("\"{}\"", "x".repeat(700 << 10));
    house.chunk(&worker, &job, &large).await;
    let request = Request::get(format!("/v2/ep1/stream/{job}")).header("authorization", &house.key);
    let answer = house.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let mut body = answer.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    let again = poll(&house, &job).await;
    assert_eq!(again["stream"].as_array().unwrap().len(), 1);
}
