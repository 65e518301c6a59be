//! Batches on the wire: their exact shape, what a worker sees of them, and what is refused.

use axum::body::Body;
use http::Method;
use runyard_domain::Settings;
use serde_json::{Value, json};

use crate::support::House;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_drafted_finalized_run_and_read() {
    let house = House::quick().await;
    let made = house.post("/v2/ep1/batch", r#"[{"input":{"a" : 1}},{"input":null}]"#).await.json();
    let id = made["id"].as_str().unwrap().to_owned();
    let requests: Vec<&str> =
        made["requests"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
    let worker = house.worker("w1");
    assert_eq!(house.take(&worker).await.status.as_u16(), 204, "a draft does not run");

    let path = format!("/v2/ep1/batch/{id}");
    let draft = house.get(&path).await.text().to_owned();
    let expected = format!(
        r#"{{"id":"{id}","endpointId":"ep1","status":"DRAFT","requestTotal":2,"requestInProgress":0,"requestCompleted":0,"requestFailed":0,"createdAt":"#
    );
    assert!(draft.starts_with(&expected), "{draft}");
    let status = house.get(&format!("/v2/ep1/status/{}", requests[0])).await.json();
    assert_eq!(status["status"], "IN_QUEUE");

    let finalized = house.post(&format!("{path}/finalize"), "").await.json();
    assert_eq!(finalized["status"], "FINALIZED");
    for output in [r#"{"output": {"x" : 1e400}}"#, r#"{"error":"no"}"#] {
        let job = house.take(&worker).await.json();
        assert_eq!(job["batchId"], *id);
        house.done(&worker, job["id"].as_str().unwrap(), output).await;
    }
    let ended = house.get(&path).await.json();
    assert_eq!(ended["status"], "COMPLETED");
    assert_eq!((&ended["requestCompleted"], &ended["requestFailed"]), (&json!(1), &json!(1)));
    let page = house.get(&format!("{path}/requests?limit=1")).await.text().to_owned();
    let first = format!(
        r#"{{"requests":[{{"id":"{}","status":"COMPLETED","output":{{"x" : 1e400}},"startedAt":""#,
        requests[0]
    );
    assert!(page.starts_with(&first), "{page}");
    assert!(page.ends_with(r#"Z"}],"total":2,"offset":0,"limit":1,"hasMore":true}"#), "{page}");
    let rest: Value = house.get(&format!("{path}/requests?offset=1")).await.json();
    assert_eq!(rest["requests"][0]["error"], "no");
    assert_eq!((&rest["hasMore"], &rest["total"]), (&json!(false), &json!(2)));
    let beyond = house.get(&format!("{path}/requests?offset=2")).await.text().to_owned();
    assert_eq!(beyond, r#"{"requests":[],"total":2,"offset":2,"limit":100,"hasMore":false}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_have_a_rate_and_obey_the_queue_limit() {
    let house = House::quick().await;
    let rates = serde_json::from_str(r#"{"batch": "4"}"#).unwrap();
    house.endpoint("ep1", "hello", Settings { rates, queue_limit: 1, ..Settings::default() }).await;
    let made = house.post("/v2/ep1/batch", r#"[{"input":1},{"input":2}]"#).await;
    assert_eq!(made.header("ratelimit-policy"), "\"batch\";q=4;w=10");
    let path = format!("/v2/ep1/batch/{}", made.json()["id"].as_str().unwrap());
    let full = house.post(&format!("{path}/finalize"), "").await;
    assert_eq!((full.status.as_u16(), full.json()["code"].as_str().unwrap()), (429, "queue_full"));
    assert_eq!(house.get(&path).await.json()["status"], "DRAFT");
    assert_eq!(house.get("/v2/ep1/batch").await.status.as_u16(), 200);
    let often = house.get(&path).await;
    assert_eq!((often.status.as_u16(), often.json()["code"].as_str().unwrap()), (429, "rate_limited"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_refused_and_adds_nothing() {
    let house = House::quick().await;
    let id = house.post("/v2/ep1/batch", "").await.json()["id"].as_str().unwrap().to_owned();
    let add = format!("/v2/ep1/batch/{id}/requests");
    for (path, body, status, code) in [
        (add.as_str(), r#"{"requests":[{"input":1},{"nothing":1}]}"#, 400, "invalid"),
        (&add, r#"{"requests":[{"input":1},]}"#, 400, "malformed_json"),
        (&add, r#"{"requests":7}"#, 400, "invalid"),
        ("/v2/ep1/batch/batch_none/finalize", "", 404, "batch_not_found"),
        ("/v2/ep1/batch/%2e%2e/cancel", "", 404, "batch_not_found"),
        ("/v2/nobody/batch", "[]", 404, "endpoint_not_found"),
    ] {
        let answer = house.post(path, body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["code"].as_str().unwrap()),
            (status, code),
            "{path} {body}"
        );
    }
    let gone = house.call(Method::DELETE, &format!("{add}/no-such-job"), Body::empty()).await;
    assert_eq!((gone.status.as_u16(), &gone.json()["code"]), (404, &json!("job_not_found")));
    let wrong = house.call(Method::DELETE, &format!("/v2/ep1/batch/{id}"), Body::empty()).await;
    assert_eq!((wrong.status.as_u16(), wrong.headers["allow"].to_str().unwrap()), (405, "GET, PUT"));
    assert_eq!(house.get(&format!("/v2/ep1/batch/{id}")).await.json()["requestTotal"], 0);
}
