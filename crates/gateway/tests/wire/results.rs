//! What workers answer, and what becomes of it.

use http::Method;
use serde_json::{Value, json};

use crate::support::{House, TestWorker};

/// Runs one job to the end with this answer of its worker.
async fn settled(house: &House, worker: &TestWorker, body: impl Into<axum::body::Body>) -> Value {
    let job = house.running(worker, "1").await;
    let answer = house.done(worker, &job, body).await;
    assert_eq!(answer.status, 200);
    house.status(&job).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_become_outcomes() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let table = [
        (r#"{"output": {"a": 1}}"#, "COMPLETED", json!({"a": 1}), Value::Null, ""),
        (" { } ", "COMPLETED", Value::Null, Value::Null, ""),
        (r#"{"output":{}}"#, "COMPLETED", json!({}), Value::Null, ""),
        (r#"{"output":[]}"#, "COMPLETED", json!([]), Value::Null, ""),
        (r#"{"output":false}"#, "COMPLETED", json!(false), Value::Null, ""),
        (r#"{"output":1,"error":null}"#, "COMPLETED", json!(1), Value::Null, ""),
        (r#"{"output":1,"error":""}"#, "COMPLETED", json!(1), Value::Null, ""),
        (r#"{"error":"soft"}"#, "FAILED", Value::Null, json!("soft"), "handler_error"),
        (
            r#"{"output":{"x":2},"error":{"code": 1}}"#,
            "FAILED",
            json!({"x": 2}),
            json!("{\"code\": 1}"),
            "handler_error",
        ),
        (r#"{"error":["a",1]}"#, "FAILED", Value::Null, json!("[\"a\",1]"), "handler_error"),
    ];
    for (body, status, output, error, code) in table {
        let found = settled(&house, &worker, body).await;
        assert_eq!(found["status"], status, "{body}");
        assert_eq!(found["output"], output, "{body}");
        assert_eq!(found["error"], error, "{body}");
        assert_eq!(found["reason"]["code"].as_str().unwrap_or_default(), code, "{body}");
        let health = house.get("/v2/ep1/health").await.json();
        assert_eq!(health["jobs"]["inProgress"], 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exception_names_its_line() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let inner = json!({
        "error_type": "<class 'mine.errors.NoPrompt'>",
        "error_message": "prompt is missing",
        "error_traceback": "Traceback (most recent call last):\n  File \"/e/lib/python3.11/site-packages/runpod/serverless/modules/rp_job.py\", line 252, in run_job\n    handler_return = handler(job)\n  File \"/srv/code/handler.py\", line 12, in handler\n    raise NoPrompt(\"prompt is missing\")\nmine.errors.NoPrompt: prompt is missing\n",
        "hostname": "h", "worker_id": "w1", "runpod_version": "1.12.0",
    })
    .to_string();
    let found = settled(&house, &worker, json!({"error": inner}).to_string()).await;
    assert_eq!(found["error"], inner.as_str(), "the wire's text stays as it came");
    assert_eq!(
        found["reason"],
        json!({"code": "handler_exception", "message": "NoPrompt: prompt is missing (/srv/code/handler.py:12)"})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_result_fails_the_job_and_says_why() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let mut huge = b"{\"output\":\"".to_vec();
    huge.resize(25 << 20, b'x');
    huge.extend_from_slice(b"\"}");
    let mut large = b"{\"output\":\"".to_vec();
    large.resize((20 << 20) + 20, b'x');
    large.extend_from_slice(b"\"}");
    let table: [(Vec<u8>, &str); 7] = [
        (b"".to_vec(), "its body is empty"),
        (b"output=1".to_vec(), "it is not JSON: expected value at line 1, column 1"),
        (b"[1]".to_vec(), "its body is not a JSON object"),
        (b"{\"output\": NaN}".to_vec(), "JSON has no NaN and no Infinity"),
        (b"{\"output\": \"\xff\"}".to_vec(), "not UTF-8"),
        (large, "it has 20.0 MiB and at most 20 MiB are taken"),
        (huge, "it has 25.0 MiB and at most 20 MiB are taken"),
    ];
    for (body, why) in table {
        let found = settled(&house, &worker, body).await;
        assert_eq!(
            (&found["status"], &found["reason"]["code"]),
            (&json!("FAILED"), &json!("result_rejected"))
        );
        let message = found["reason"]["message"].as_str().unwrap();
        assert!(message.contains(why), "{message}");
        assert_eq!(found["error"], message);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_of_20_mib_is_taken_and_shown() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let output = format!("\"{}\"", "x".repeat((20 << 20) - 2));
    let job = house.running(&worker, "1").await;
    assert_eq!(house.done(&worker, &job, format!("{{\"output\":{output}}}")).await.status, 200);
    let status = house.get(&format!("/v2/ep1/status/{job}")).await;
    let expected = format!(
        r#"{{"id":"{job}","status":"COMPLETED","delayTime":0,"executionTime":0,"workerId":"w1","output":{output}}}"#
    );
    assert!(status.text() == expected, "the answer differs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_does_not_finish_and_late_posts_change_nothing() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let job = house.running(&worker, "1").await;
    for value in ["\"halfway\"", "{\"step\": 2}"] {
        let body = format!(r#"{{"status":"IN_PROGRESS","output":{value}}}"#);
        assert_eq!(house.done(&worker, &job, body).await.status, 200);
    }
    let status = house.status(&job).await;
    assert_eq!((&status["status"], &status["output"]), (&json!("IN_PROGRESS"), &json!({"step": 2})));
    house.done(&worker, &job, r#"{"output":"final"}"#).await;
    for late in
        [r#"{"status":"IN_PROGRESS","output":9}"#, r#"{"error":"late"}"#, r#"{"output":"again"}"#, "junk"]
    {
        assert_eq!(house.done(&worker, &job, late).await.status, 200);
    }
    assert_eq!(house.chunk(&worker, &job, "1").await.status, 200);
    let status = house.status(&job).await;
    assert_eq!((&status["status"], &status["output"]), (&json!("COMPLETED"), &json!("final")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_wants_to_be_replaced_is_reported_after_its_answer() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let found = settled(&house, &worker, r#"{"output":{"a":1},"stopPod":true}"#).await;
    assert_eq!((&found["status"], &found["output"]), (&json!("COMPLETED"), &json!({"a": 1})));
    assert_eq!(*house.refreshed.lock().unwrap(), ["w1"]);
    settled(&house, &worker, r#"{"output":1,"stopPod":false}"#).await;
    assert_eq!(house.refreshed.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_result_of_a_cancelled_job_is_ignored() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let job = house.running(&worker, "1").await;
    house.call(Method::POST, &format!("/v2/ep1/cancel/{job}"), "").await;
    assert_eq!(house.done(&worker, &job, r#"{"output":"too late"}"#).await.status, 200);
    let status = house.status(&job).await;
    assert_eq!((&status["status"], status.get("output")), (&json!("CANCELLED"), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_was_never_sent_is_rejected_with_the_agents_word() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let job = house.running(&worker, "1").await;
    let body = r#"{"error":"its SDK could not send it: Object of type bytes is not JSON serializable"}"#;
    let path = format!("{}/job-done/{}/{job}", worker.base, worker.id);
    let request = http::Request::builder().method(Method::POST).uri(path).header("x-runyard-refused", "1");
    let answer = house.send(request.body(body.into()).unwrap()).await;
    assert_eq!(answer.status, 200);
    let found = house.status(&job).await;
    assert_eq!(found["reason"]["code"], "result_rejected");
    let says = "the worker's result was rejected: its SDK could not send it: Object of type bytes is not JSON serializable";
    assert_eq!(found["reason"]["message"], says);
}
