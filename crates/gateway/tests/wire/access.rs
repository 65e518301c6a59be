//! Every route refuses who may not, and a refused request changes nothing.

use axum::body::Body;
use http::{Method, Request, StatusCode};
use runyard_domain::{Access, KeyRecord, Timestamp};

use crate::support::House;

/// Every job route with the access it needs.
fn job_routes(job: &str) -> Vec<(Method, String, Access)> {
    let (get, post) = (Method::GET, Method::POST);
    vec![
        (post.clone(), "/v2/ep1/run".into(), Access::Run),
        (post.clone(), "/v2/ep1/runsync".into(), Access::Run),
        (get.clone(), format!("/v2/ep1/status/{job}"), Access::Read),
        (post.clone(), format!("/v2/ep1/status/{job}"), Access::Read),
        (get.clone(), format!("/v2/ep1/status-sync/{job}"), Access::Read),
        (post.clone(), format!("/v2/ep1/status-sync/{job}"), Access::Read),
        (get.clone(), format!("/v2/ep1/stream/{job}"), Access::Read),
        (post.clone(), format!("/v2/ep1/stream/{job}"), Access::Read),
        (post.clone(), format!("/v2/ep1/cancel/{job}"), Access::Run),
        (post.clone(), format!("/v2/ep1/retry/{job}"), Access::Run),
        (post.clone(), "/v2/ep1/purge-queue".into(), Access::Run),
        (get.clone(), "/v2/ep1/health".into(), Access::Read),
        (get.clone(), "/v2/ep1/metrics".into(), Access::Read),
        (get, "/v2/ep1/requests".into(), Access::Read),
    ]
}

async fn knock(house: &House, method: &Method, path: &str, authorization: Option<&str>) -> StatusCode {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    let answer = house.send(request.body(Body::from(r#"{"input":1}"#)).unwrap()).await;
    if answer.status != 200 {
        let body = answer.json();
        if answer.status == 404 {
            return answer.status;
        }
        for key in ["error", "code", "detail", "title", "requestId"] {
            assert!(body[key].is_string(), "{method} {path}: {body}");
        }
        assert_eq!(body["status"], answer.status.as_u16());
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert_eq!(answer.header("x-request-id"), body["requestId"].as_str().unwrap());
    }
    answer.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_route_refuses_who_may_not() {
    let house = House::quick().await;
    let job = house.run("1").await;
    let (record, revoked) = house.key(Access::Admin, &[], None);
    house.engine.vault().learn(KeyRecord { revoked_at: Some(Timestamp(1)), ..record });
    let (_, expired) = house.key(Access::Admin, &[], Some(1));
    let (_, foreign) = house.key(Access::Run, &["ep2"], None);
    let (_, reader) = house.key(Access::Read, &["ep1"], None);
    let (_, runner) = house.key(Access::Run, &["ep1"], None);
    let table = [
        (None, 401),
        (Some(""), 401),
        (Some("Bearer "), 401),
        (Some("ry_unknown"), 401),
        (Some("Basic YTpi"), 401),
        (Some(revoked.as_str()), 401),
        (Some(expired.as_str()), 401),
        (Some(foreign.as_str()), 404),
    ];
    for (method, path, access) in job_routes(&job) {
        for (key, expected) in &table {
            let status = knock(&house, &method, &path, *key).await;
            assert_eq!(status.as_u16(), *expected, "{method} {path} {key:?}");
        }
        if access == Access::Run {
            assert_eq!(knock(&house, &method, &path, Some(&reader)).await, 403, "{method} {path}");
        } else {
            let bearer = format!("Bearer {reader}");
            assert_eq!(knock(&house, &method, &path, Some(&bearer)).await, 200, "{method} {path}");
        }
    }
    assert_eq!(house.all_jobs().len(), 1);
    assert_eq!(house.status(&job).await["status"], "IN_QUEUE");
    // A bare key, as curl users send it, and a new time to live, which is a change.
    assert_eq!(knock(&house, &Method::POST, "/v2/ep1/run", Some(&runner)).await, 200);
    let ttl = format!("/v2/ep1/status/{job}?ttl=20000");
    assert_eq!(knock(&house, &Method::GET, &ttl, Some(&runner)).await, 200);
    assert_eq!(knock(&house, &Method::GET, &ttl, Some(&reader)).await, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_found_under_its_own_endpoint_only() {
    let house = House::quick().await;
    house.endpoint("ep2", "other", runyard_domain::Settings::default()).await;
    let job = house.run("1").await;
    for (method, operation) in [("GET", "status"), ("GET", "stream"), ("POST", "cancel"), ("POST", "retry")] {
        let path = format!("/v2/ep2/{operation}/{job}");
        let answer = house.call(method.parse().unwrap(), &path, Body::empty()).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json()["code"], "job_not_found");
    }
    assert_eq!(house.status(&job).await["status"], "IN_QUEUE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_worker_route_refuses_strangers() {
    let house = House::quick().await;
    let own = house.worker("w1");
    let other = house.worker("w2");
    let foreign = house.worker_of("w3", "ep2");
    let job = house.running(&own, "1").await;
    let waiting = house.run("2").await;
    let routes = [
        (Method::GET, "job-take", ""),
        (Method::GET, "job-take-batch", ""),
        (Method::GET, "job-stop", ""),
        (Method::GET, "ping", ""),
        (Method::POST, "job-done", job.as_str()),
        (Method::POST, "job-stream", job.as_str()),
    ];
    for (method, route, job) in routes {
        let tail = if job.is_empty() { String::new() } else { format!("/{job}") };
        let cases = [
            (format!("/w/nope/v2/ep1/{route}/w1{tail}"), 401),
            (format!("/w/{}/v2/ep1/{route}/w1{tail}", house.key), 401),
            (format!("{}/{route}/w1{tail}", other.base), 403),
            (format!("{}/{route}/w2{tail}", own.base), 403),
            (format!("/w/{}/v2/ep2/{route}/w1{tail}", own.token), 403),
            (format!("/w/{}/v2/ep1/{route}/w1{tail}", foreign.token), 403),
        ];
        for (path, expected) in cases {
            let asked = std::time::Instant::now();
            let answer = house.work(method.clone(), path.clone(), r#"{"output":"stolen"}"#).await;
            assert_eq!(answer.status.as_u16(), expected, "{method} {path}");
            let pause = if expected == 401 { 60 } else { 30 };
            assert!(asked.elapsed().as_millis() >= pause, "{path} was refused at once");
        }
    }
    // The token does not open a key's routes, and a key no worker's.
    let with_token = knock(&house, &Method::GET, "/v2/ep1/health", Some(&own.token)).await;
    assert_eq!(with_token, 401);
    // Another worker's job: 200, as always, and nothing changes.
    for body in
        [r#"{"output":"stolen"}"#, r#"{"error":"x"}"#, "not json", r#"{"status":"IN_PROGRESS","output":1}"#]
    {
        assert_eq!(house.done(&other, &job, body).await.status, 200);
        assert_eq!(house.done(&other, &waiting, body).await.status, 200);
    }
    assert_eq!(house.chunk(&other, &job, "1").await.status, 200);
    assert_eq!(house.done(&other, "no-such-job", "{}").await.status, 200);
    assert_eq!(house.done(&other, "%2e%2e", "{}").await.status, 200);
    let status = house.status(&job).await;
    assert_eq!(status["status"], "IN_PROGRESS");
    assert_eq!(status.get("output"), None);
    assert_eq!(house.status(&waiting).await["status"], "IN_QUEUE");
    let stream = house.get(&format!("/v2/ep1/stream/{job}?wait=1000")).await;
    assert_eq!(stream.text(), r#"{"status":"IN_PROGRESS","stream":[]}"#);
    // A dismissed worker's token opens nothing.
    house.engine.vault().dismiss_worker(&runyard_vault::hash(&own.token));
    assert_eq!(house.done(&own, &job, "{}").await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_owners_socket_returns_jobs() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let job = house.running(&worker, "1").await;
    let body = format!(r#"{{"worker":"w1","jobs":["{job}"]}}"#);
    let refused = house.post("/agent/give-back", body.clone()).await;
    assert_eq!(refused.status, 401);
    assert_eq!(house.status(&job).await["status"], "IN_PROGRESS");
    let mut request = Request::post("/agent/give-back").body(Body::from(body)).unwrap();
    request.extensions_mut().insert(house.engine.vault().local_caller());
    let answer = house.send(request).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, r#"{"returned":1}"#));
    let status = house.status(&job).await;
    assert_eq!(status["status"], "IN_QUEUE");
    assert_eq!(status.get("retries"), None, "an attempt that never was costs nothing");
    let taken = house.take(&worker).await;
    assert_eq!(taken.json()["id"], job.as_str(), "the same worker may have it again");
}
