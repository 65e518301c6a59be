//! What an endpoint sets for itself: whose pages may read its answers, and how large inputs and outputs may be.

use axum::body::Body;
use http::{Method, Request};
use runyard_domain::Settings;
use runyard_gateway::Options;

use crate::support::*;

async fn from(house: &House, method: Method, path: &str, origin: Option<&str>) -> Answer {
    let mut request = Request::builder().method(&method).uri(path).header("authorization", &house.key);
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    if method == Method::OPTIONS {
        request = request.header("access-control-request-method", "POST");
    }
    house.send(request.body(Body::from(r#"{"input": 1}"#)).unwrap()).await
}

fn pages(origins: &[&str]) -> Settings {
    let cors = origins.iter().map(|origin| origin.parse().unwrap()).collect();
    Settings { cors, ..Settings::default() }
}

#[tokio::test]
async fn pages_of_the_endpoints_origins_may_read_its_answers() {
    let house = House::quick().await;
    house.endpoint("ep1", "hello", pages(&["https://app.example", "http://localhost:3000"])).await;
    let own = "https://app.example";
    for path in ["/v2/ep1/run", "/v2/hello/run", "/v2/hello/openai/v1/models"] {
        let asked = from(&house, Method::OPTIONS, path, Some(own)).await;
        assert_eq!(
            (asked.status.as_u16(), asked.header("access-control-allow-origin")),
            (204, own),
            "{path}"
        );
        assert!(asked.header("access-control-allow-methods").contains("POST"));
        assert!(asked.headers.get_all("vary").iter().any(|value| value == "origin"), "{asked:?}");
        let other = from(&house, Method::OPTIONS, path, Some("https://other.example")).await;
        assert_eq!(
            (other.header("access-control-allow-origin"), other.header("access-control-allow-methods")),
            ("", "")
        );
    }
    let run = from(&house, Method::POST, "/v2/ep1/run", Some(own)).await;
    assert_eq!((run.status.as_u16(), run.header("access-control-allow-origin")), (200, own));
    let refused = from(&house, Method::GET, "/v2/ep1/status/x", Some("http://localhost:3000")).await;
    assert_eq!(refused.status, 404);
    assert_eq!(
        refused.header("access-control-allow-origin"),
        "http://localhost:3000",
        "errors can be read too"
    );
    for origin in [None, Some("https://other.example"), Some("null")] {
        let run = from(&house, Method::POST, "/v2/ep1/run", origin).await;
        assert_eq!((run.status.as_u16(), run.header("access-control-allow-origin")), (200, ""), "{origin:?}");
    }
}

#[tokio::test]
async fn any_page_may_where_nothing_is_said_and_none_where_none_is_named() {
    let house = House::quick().await;
    let usual = from(&house, Method::OPTIONS, "/v2/ep1/run", Some("https://app.example")).await;
    assert_eq!(
        (usual.header("access-control-allow-origin"), usual.headers.get("vary").is_some()),
        ("*", true)
    );
    house.endpoint("ep1", "hello", pages(&[])).await;
    let none = from(&house, Method::OPTIONS, "/v2/ep1/run", Some("https://app.example")).await;
    assert_eq!(none.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn on_a_server_without_keys_only_pages_of_this_machine_may() {
    let house = House::new(Options { open: true, timing: quick(), ..Options::default() }).await;
    house.endpoint("ep1", "hello", pages(&["https://app.example"])).await;
    for (origin, allowed) in [("https://app.example", ""), ("http://localhost:5173", "http://localhost:5173")]
    {
        let asked = from(&house, Method::OPTIONS, "/v2/ep1/run", Some(origin)).await;
        assert_eq!(asked.header("access-control-allow-origin"), allowed);
    }
}

#[tokio::test]
async fn an_input_above_the_endpoints_limit_is_refused_by_every_door() {
    let house = House::quick().await;
    house.endpoint("ep1", "hello", Settings { input_limit_bytes: 1_024, ..Settings::default() }).await;
    let fits = format!("\"{}\"", "x".repeat(1_022));
    house.run(&fits).await;
    let large = "x".repeat(1_023);
    for (path, body) in [
        ("/v2/ep1/run", format!(r#"{{"input":"{large}"}}"#)),
        ("/v2/ep1/runsync", format!(r#"{{"input":"{large}"}}"#)),
        ("/v2/ep1/run", format!(r#"{{"input":"{}"}}"#, "x".repeat(300 << 10))),
        ("/v2/ep1/batch", format!(r#"{{"requests":[{{"input":1}},{{"input":"{large}"}}]}}"#)),
    ] {
        let refused = house.post(path, body).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.json()["code"]),
            (413, &"input_too_large".into()),
            "{path}"
        );
        let said = refused.json()["error"].as_str().unwrap().to_owned();
        assert!(said.contains("takes 1024 at most") && said.contains("--max-input"), "{said}");
    }
    let openai = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{large}"}}]}}"#);
    let refused = house.post("/v2/ep1/openai/v1/chat/completions", openai).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (413, &"input_too_large".into()));
    assert_eq!(house.all_jobs().len(), 1, "nothing of them was kept");
}

#[tokio::test]
async fn an_output_above_the_endpoints_limit_fails_its_job() {
    let house = House::quick().await;
    let settings = Settings { output_limit_bytes: 2_048, ..Settings::default() };
    house.endpoint("ep1", "hello", settings).await;
    let worker = house.worker("w1");
    let job = house.running(&worker, "1").await;
    assert_eq!(
        house.done(&worker, &job, format!(r#"{{"output":"{}"}}"#, "x".repeat(2_046))).await.status,
        200
    );
    assert_eq!(house.status(&job).await["status"], "COMPLETED");
    for large in [2_047, 3 << 20] {
        let job = house.running(&worker, "1").await;
        let body = format!(r#"{{"output":"{}"}}"#, "x".repeat(large));
        assert_eq!(house.done(&worker, &job, body).await.status, 200, "what a worker posts is never refused");
        let failed = house.status(&job).await;
        let reason = &failed["reason"];
        assert_eq!(
            (&failed["status"], &reason["code"]),
            (&"FAILED".into(), &"result_rejected".into()),
            "{failed}"
        );
        let said = reason["message"].as_str().unwrap();
        assert!(said.contains("at most 2048 bytes") && said.contains("--max-output"), "{said}");
    }
    let job = house.running(&worker, "1").await;
    assert_eq!(house.chunk(&worker, &job, &format!("\"{}\"", "x".repeat(3_000))).await.status, 200);
    assert_eq!(house.status(&job).await["status"], "FAILED", "a stream with a hole would be wrong");
}
