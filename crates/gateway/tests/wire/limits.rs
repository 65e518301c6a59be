//! Who calls too often or fills a queue is told so, in the job API's shape and in OpenAI's.

use axum::body::Body;
use http::{Request, StatusCode};
use runyard_domain::rates::{Group, Rates};
use runyard_domain::{Access, Settings};
use runyard_gateway::Options;

use crate::support::*;

const RUN: &str = r#"{"input": 1}"#;

fn rates(text: &str) -> Rates {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn a_rate_of_the_server_is_overruled_by_the_endpoint_and_that_by_the_key() {
    let options =
        Options { rates: rates(r#"{"run": "1", "status": "1"}"#), timing: quick(), ..Options::default() };
    let mut house = House::new(options).await;
    let run = async |house: &House| house.post("/v2/ep1/run", RUN).await;
    let accepted = run(&house).await;
    assert_eq!((accepted.status, accepted.header("ratelimit")), (StatusCode::OK, "\"run\";r=0;t=10"));
    let refused = run(&house).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        (refused.header("retry-after"), refused.header("ratelimit-policy")),
        ("10", "\"run\";q=1;w=10")
    );
    let body = refused.json();
    assert_eq!(body["code"], "rate_limited");
    assert!(body["error"].as_str().unwrap().contains("1 in 10 s of the group 'run'"), "{body}");
    assert_eq!(house.get("/v2/ep1/health").await.status, StatusCode::OK);

    house.endpoint("ep1", "hello", Settings { rates: rates(r#"{"run": "3"}"#), ..Settings::default() }).await;
    assert_eq!(run(&house).await.status, StatusCode::OK);
    let (mut record, key) = house.key(Access::Run, &[], None);
    record.rates = rates(r#"{"run": "off"}"#);
    house.engine.vault().learn(record);
    house.key = key;
    for _ in 0..5 {
        let accepted = run(&house).await;
        assert_eq!((accepted.status, accepted.header("ratelimit")), (StatusCode::OK, ""));
    }
    assert_eq!(Group::Run.usual().per_window, 300_000, "wide where nothing is set");
}

#[tokio::test]
async fn the_same_call_again_is_neither_a_new_job_nor_refused_for_a_full_queue() {
    let house = House::quick().await;
    let settings =
        Settings { rates: rates(r#"{"run": "3", "status": "4"}"#), queue_limit: 1, ..Settings::default() };
    house.endpoint("ep1", "hello", settings).await;
    let run = async |key: &str| {
        let request = Request::post("/v2/ep1/run").header("authorization", &house.key);
        house.send(request.header("idempotency-key", key).body(Body::from(RUN)).unwrap()).await
    };
    let first = run("a").await.json();
    for _ in 0..4 {
        assert_eq!(
            run("a").await.json(),
            first,
            "the first job, which costs nothing of the rate of new ones"
        );
    }
    let other = run("b").await;
    assert_eq!((other.status, &other.json()["code"]), (StatusCode::TOO_MANY_REQUESTS, &"queue_full".into()));
    let often = run("a").await;
    assert_eq!(often.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(often.text().contains("of the group 'status'"), "{}", often.text());
}

#[tokio::test]
async fn calls_at_once_are_counted_until_they_are_answered() {
    let options = Options { rates: rates(r#"{"runsync": "0/1"}"#), timing: patient(), ..Options::default() };
    let house = House::new(options).await;
    let mut waits = std::pin::pin!(house.post("/v2/ep1/runsync", RUN));
    tokio::select! {
        biased;
        answer = &mut waits => panic!("{answer:?}"),
        () = until(&house, "it waits", || house.all_jobs().len() == 1) => {}
    }
    let refused = house.post("/v2/ep1/runsync", RUN).await;
    assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    assert!(refused.text().contains("1 at once"), "{}", refused.text());
    house.engine.end_waiting();
    assert_eq!(waits.await.status, StatusCode::OK);
    assert_eq!(house.post("/v2/ep1/runsync", RUN).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_full_queue_refuses_new_jobs_alone() {
    let house = House::quick().await;
    house.endpoint("ep1", "hello", Settings { queue_limit: 1, ..Settings::default() }).await;
    let job = house.post("/v2/ep1/run", RUN).await.json()["id"].as_str().unwrap().to_owned();
    let refused = house.post("/v2/ep1/run", RUN).await;
    assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "5"));
    assert_eq!(refused.json()["code"], "queue_full");
    assert!(
        refused.text().contains("1 jobs wait at this endpoint, and its queue_limit is 1"),
        "{}",
        refused.text()
    );
    let openai = house.post("/v2/ep1/openai/v1/chat/completions", r#"{"messages": []}"#).await;
    assert_eq!(openai.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(openai.json()["error"]["code"], "queue_full");
    assert_eq!(house.get(&format!("/v2/ep1/status/{job}")).await.status, StatusCode::OK);
    assert_eq!(house.post(&format!("/v2/ep1/cancel/{job}"), "{}").await.status, StatusCode::OK);
    assert_eq!(house.post("/v2/ep1/run", RUN).await.status, StatusCode::OK);
}
