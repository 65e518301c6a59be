//! The OpenAI route: calls become jobs of worker-vllm's shape, what workers yield becomes the answer.

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{House, TestWorker, until};

/// Calls in the background and hands the job to the worker: its id and input.
async fn called(
    house: &Arc<House>,
    worker: &TestWorker,
    method: Method,
    path: &str,
    body: &str,
) -> (tokio::task::JoinHandle<(u16, String, String)>, String, Value) {
    let (caller, path, body) = (house.clone(), path.to_owned(), body.to_owned());
    let calling = tokio::spawn(async move {
        let answer = caller.call(method, &path, body).await;
        (answer.status.as_u16(), answer.header("content-type").to_owned(), answer.text().to_owned())
    });
    until(house, "the call became a job", || !house.all_jobs().is_empty()).await;
    let job: Value = house.take(worker).await.json();
    let id = job["id"].as_str().unwrap().to_owned();
    (calling, id, job["input"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_was_yielded_is_the_answer() {
    for output in [r#"[{"object":"chat.completion"}]"#, r#"{"object":"chat.completion"}"#] {
        let house = Arc::new(House::patient().await);
        let worker = house.worker("w1");
        let body = r#"{"model":"m", "messages":[], "n":1.0}"#;
        let path = "/v2/ep1/openai/v1/chat/completions";
        let (calling, id, input) = called(&house, &worker, Method::POST, path, body).await;
        let asked = json!({"model": "m", "messages": [], "n": 1.0});
        assert_eq!(input, json!({"openai_route": "/v1/chat/completions", "openai_input": asked}));
        house.done(&worker, &id, format!("{{\"output\":{output}}}")).await;
        let (status, kind, text) = calling.await.unwrap();
        assert_eq!((status, kind.as_str()), (200, "application/json"));
        assert_eq!(text, r#"{"object":"chat.completion"}"#);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_without_a_body_is_named_alone() {
    let house = Arc::new(House::patient().await);
    let worker = house.worker("w1");
    let (calling, id, input) = called(&house, &worker, Method::GET, "/v2/ep1/openai/v1/models", "").await;
    assert_eq!(input, json!({"openai_route": "/v1/models"}));
    house.chunk(&worker, &id, r#"{"object":"list","data":[]}"#).await;
    house.done(&worker, &id, r#"{"output":[]}"#).await;
    assert_eq!(calling.await.unwrap().2, r#"{"object":"list","data":[]}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_passed_on_as_they_were_cut() {
    let house = Arc::new(House::patient().await);
    let worker = house.worker("w1");
    let path = "/v2/ep1/openai/v1/chat/completions";
    let (calling, id, _) = called(&house, &worker, Method::POST, path, r#"{"stream":true}"#).await;
    for piece in ["data: {\"a\"", ":1}\n\n", "data: [DONE]\n\n"] {
        house.chunk(&worker, &id, &json!(piece).to_string()).await;
    }
    house.done(&worker, &id, r#"{"output":[]}"#).await;
    let (status, kind, text) = calling.await.unwrap();
    assert_eq!((status, kind.as_str()), (200, "text/event-stream"));
    assert_eq!(text, "data: {\"a\":1}\n\ndata: [DONE]\n\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_after_half_an_event_can_be_read() {
    let house = Arc::new(House::patient().await);
    let worker = house.worker("w1");
    let path = "/v2/ep1/openai/v1/chat/completions";
    let (calling, id, _) = called(&house, &worker, Method::POST, path, r#"{"stream":true}"#).await;
    house.chunk(&worker, &id, r#""data: {\"a\":1}\n\ndata: {\"b""#).await;
    house.done(&worker, &id, r#"{"error":"{'message': 'out of memory', 'code': 500}"}"#).await;
    let (status, _, text) = calling.await.unwrap();
    let error = r#"{"error":{"code":500,"message":"out of memory"}}"#;
    assert_eq!((status, text), (200, format!("data: {{\"a\":1}}\n\ndata: {error}\n\n")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_have_the_shape_that_clients_read() {
    for body in [r#"{"stream":true}"#, "{}"] {
        let house = Arc::new(House::patient().await);
        let worker = house.worker("w1");
        let path = "/v2/ep1/openai/v1/completions";
        let (calling, id, _) = called(&house, &worker, Method::POST, path, body).await;
        house.done(&worker, &id, r#"{"error":"no model"}"#).await;
        let (status, _, text) = calling.await.unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, &answer["error"]["code"]), (500, &json!("handler_error")));
        assert!(answer["error"]["message"].as_str().unwrap().contains("no model"));
    }
    let house = Arc::new(House::patient().await);
    let worker = house.worker("w1");
    let (calling, id, _) = called(&house, &worker, Method::POST, "/v2/ep1/openai/v1/completions", "{}").await;
    let repr = json!({"error": "{'message': 'too long', 'type': 'invalid', 'code': 400}"});
    house.done(&worker, &id, repr.to_string()).await;
    let (status, _, text) = calling.await.unwrap();
    assert_eq!(
        (status, text.as_str()),
        (400, r#"{"error":{"code":400,"message":"too long","type":"invalid"}}"#)
    );
    let house = House::quick().await;
    let answer = house.post("/v2/ep1/openai/v1/chat/completions", r#"{"messages":[],}"#).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("trailing comma"), "{}", answer.text());
    assert!(house.all_jobs().is_empty());
}

/// vLLM before 0.10 has no wrapping around its errors, and worker-vllm yields them as ordinary values.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_was_yielded_as_a_value_is_one() {
    for (body, yielded) in [(r#"{"stream":true}"#, true), ("{}", true), ("{}", false)] {
        let house = Arc::new(House::patient().await);
        let worker = house.worker("w1");
        let path = "/v2/ep1/openai/v1/completions";
        let (calling, id, _) = called(&house, &worker, Method::POST, path, body).await;
        let error = r#"{"object":"error","message":"no such model","type":"NotFoundError","code":404}"#;
        if yielded {
            house.chunk(&worker, &id, error).await;
        }
        let output = if yielded { "[]".to_owned() } else { format!("[{error}]") };
        house.done(&worker, &id, format!("{{\"output\":{output}}}")).await;
        let (status, kind, text) = calling.await.unwrap();
        assert_eq!((status, kind.as_str()), (404, "application/json"), "{body}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["error"]["message"], "no such model");
        until(&house, "the job came to its own end", || house.job(&id).is_done()).await;
        assert_eq!(house.status(&id).await["status"], "COMPLETED");
    }
}

#[tokio::test]
async fn refusals_have_that_shape_too() {
    let house = House::quick().await;
    let refusals = [
        ("/v2/nowhere/openai/v1/models", 404, "endpoint_not_found"),
        ("/v2/ep1/openai/v1/chat/completions", 400, "invalid"),
    ];
    for (path, status, code) in refusals {
        let answer = if status == 404 { house.get(path).await } else { house.post(path, "[]").await };
        assert_eq!(answer.status, status);
        let error = answer.json()["error"].clone();
        assert_eq!((&error["code"], &error["type"]), (&json!(code), &json!("invalid_request_error")));
        assert!(error["message"].is_string());
    }
    let request = Request::get("/v2/ep1/openai/v1/models").body(Body::empty()).unwrap();
    let answer = house.send(request).await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.json()["error"]["code"], "unauthorized");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_cancels_its_job() {
    let house = Arc::new(House::patient().await);
    let worker = house.worker("w1");
    let request = Request::post("/v2/ep1/openai/v1/completions").header("authorization", &house.key);
    let request = request.body(Body::from(r#"{"stream":true}"#)).unwrap();
    let router = house.router.clone();
    let calling = tokio::spawn(async move { router.oneshot(request).await.unwrap() });
    until(&house, "the call became a job", || !house.all_jobs().is_empty()).await;
    let id = house.take(&worker).await.json()["id"].as_str().unwrap().to_owned();
    house.chunk(&worker, &id, "\"data: 1\\n\\n\"").await;
    let mut body = calling.await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 1\n\n");
    drop(body);
    until(&house, "the job was cancelled", || house.job(&id).is_done()).await;
    assert_eq!(house.status(&id).await["status"], "CANCELLED");
}
