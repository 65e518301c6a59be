//! Whole conversations against golden files: every operation of the job API, every kind of refusal, CORS, and
//! a worker's life.

use std::fmt::Write as _;

use axum::body::Body;
use http::{Method, Request};
use runyard_domain::{Access, Settings, WaitReason};
use runyard_gateway::{Options, WorkerCounts};

use crate::support::{Answer, House, quick};

/// What was said, in order.
#[derive(Default)]
struct Transcript(String);

/// Headers that belong to a golden answer.
const SHOWN: [&str; 13] = [
    "content-type",
    "content-length",
    "allow",
    "retry-after",
    "www-authenticate",
    "x-request-id",
    "x-runyard-jobs",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-expose-headers",
    "access-control-max-age",
    "vary",
];

impl Transcript {
    fn note(&mut self, text: &str) {
        writeln!(self.0, "# {text}").unwrap();
    }

    fn brief(&mut self, asked: &str, answer: &Answer) {
        writeln!(self.0, "> {asked}\n{} {}\n", answer.status.as_u16(), answer.text()).unwrap();
    }

    fn full(&mut self, asked: &str, answer: &Answer) {
        writeln!(self.0, "> {asked}\n{}", answer.status.as_u16()).unwrap();
        for name in SHOWN {
            for value in answer.headers.get_all(name) {
                writeln!(self.0, "{name}: {}", value.to_str().unwrap()).unwrap();
            }
        }
        writeln!(self.0, "{}\n", answer.text()).unwrap();
    }

    async fn call(&mut self, house: &House, method: Method, path: &str, body: &str) -> Answer {
        let answer = house.call(method.clone(), path, body.to_owned()).await;
        self.brief(format!("{method} {path} {body}").trim_end(), &answer);
        answer
    }

    async fn work(&mut self, house: &House, method: Method, path: &str, body: &str) -> Answer {
        let answer = house.work(method.clone(), path.to_owned(), body.to_owned()).await;
        self.brief(format!("{method} {path} {body}").trim_end(), &answer);
        answer
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_life_of_jobs() {
    let house = House::quick().await;
    let mut t = Transcript::default();
    let (get, post) = (Method::GET, Method::POST);

    t.note("a job waits, runs, tells its progress, completes");
    let run = t.call(&house, post.clone(), "/v2/hello/run", r#"{"input": {"n": 1}, "extra": 1}"#).await;
    let id = run.json()["id"].as_str().unwrap().to_owned();
    let status = format!("/v2/hello/status/{id}");
    *house.fleet.waiting.lock().unwrap() = WaitReason::Starting {
        worker: "w1".into(),
        phase: "load".into(),
        phase_ms: 900,
        phase_usual: None,
        for_ms: 1_200,
        usual: None,
    };
    t.call(&house, get.clone(), &status, "").await;
    house.advance(1_500);
    let worker = house.worker("w1");
    let base = worker.base.clone();
    let take = house.take(&worker).await;
    t.full("GET job-take/w1", &take);
    house.advance(250);
    t.call(&house, get.clone(), &status, "").await;
    let done = format!("{base}/job-done/w1/{id}?gpu=&isStream=false");
    t.work(&house, post.clone(), &done, r#"{"status": "IN_PROGRESS", "output": {"step":  3}}"#).await;
    t.call(&house, post.clone(), &status, "").await;
    house.advance(250);
    t.work(&house, post.clone(), &done, r#"{"output": {"b": 1, "a":  [1.0, 1e2]}}"#).await;
    t.call(&house, get.clone(), &status, "").await;
    t.call(&house, get.clone(), &format!("/v2/ep1/status-sync/{id}?wait=1000"), "").await;
    t.call(&house, post.clone(), &format!("/v2/ep1/cancel/{id}"), "{}").await;
    t.call(&house, post.clone(), &format!("/v2/ep1/retry/{id}"), "").await;

    t.note("one fails with an output, and is retried");
    let id = house.running(&worker, "2").await;
    house.advance(10);
    house.done(&worker, &id, r#"{"output": {"half": true}, "error": {"code": 7}}"#).await;
    t.call(&house, get.clone(), &format!("/v2/ep1/status/{id}"), "").await;
    t.call(&house, post.clone(), &format!("/v2/ep1/retry/{id}"), "").await;
    *house.fleet.waiting.lock().unwrap() =
        WaitReason::AllBusy { workers: 1, max: 3, position: 1, eta_ms: Some(250) };
    t.call(&house, get.clone(), &format!("/v2/ep1/status/{id}?ttl=20000"), "").await;

    t.note("one is cancelled in the queue, one while it runs");
    t.call(&house, post.clone(), &format!("/v2/ep1/cancel/{id}"), "").await;
    t.call(&house, get.clone(), &format!("/v2/ep1/status/{id}"), "").await;
    let id = house.running(&worker, "3").await;
    house.advance(40);
    t.call(&house, post.clone(), &format!("/v2/ep1/cancel/{id}"), "").await;
    t.call(&house, get.clone(), &format!("/v2/ep1/status/{id}"), "").await;
    let stop = format!("{base}/job-stop/w1?gpu=");
    t.work(&house, get.clone(), &stop, "").await;
    t.work(&house, get.clone(), &stop, "").await;
    t.work(&house, get.clone(), &format!("{base}/ping/w1?gpu=&job_id={id}&runpod_version=1.12.0"), "").await;

    t.note("a runsync that is not served in time, a purge, and the endpoint at a glance");
    t.call(&house, post.clone(), "/v2/ep1/runsync", r#"{"input": null}"#).await;
    t.call(&house, post.clone(), "/v2/ep1/run", r#"{"input": {}}"#).await;
    *house.fleet.counts.lock().unwrap() = WorkerCounts {
        idle: 1,
        ready: 1,
        running: 2,
        ready_ids: vec!["w1".into()],
        ..WorkerCounts::default()
    };
    t.call(&house, get.clone(), "/v2/ep1/health", "").await;
    t.call(&house, get.clone(), "/v2/ep1/metrics", "").await;
    t.call(&house, post.clone(), "/v2/ep1/purge-queue", "{}").await;
    t.call(&house, get.clone(), "/v2/ep1/requests?limit=3", "").await;

    t.note("one times out in the queue");
    house.endpoint("ep2", "hasty", Settings { ttl_ms: 0, ..Settings::default() }).await;
    let run = house.post("/v2/hasty/runsync", r#"{"input": 1}"#).await;
    t.brief("POST /v2/hasty/runsync", &run);
    insta::assert_snapshot!("the_life_of_jobs", t.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals() {
    let house = House::quick().await;
    let mut t = Transcript::default();
    let (get, post) = (Method::GET, Method::POST);
    let id = house.run("1").await;
    let bare = |method: &str, path: &str, key: Option<&str>| {
        let mut request = Request::builder().method(method).uri(path).header("x-request-id", "req-1");
        if let Some(key) = key {
            request = request.header("authorization", key);
        }
        request.body(Body::from(r#"{"input":1}"#)).unwrap()
    };
    t.full("POST /v2/ep1/run, no key", &house.send(bare("POST", "/v2/ep1/run", None)).await);
    t.full("POST /v2/ep1/run, unknown key", &house.send(bare("POST", "/v2/ep1/run", Some("ry_x"))).await);
    let (_, read) = house.key(Access::Read, &["ep1"], None);
    t.full("POST /v2/ep1/run, a key to look", &house.send(bare("POST", "/v2/ep1/run", Some(&read))).await);
    for path in
        ["/v2/nope/health", "/v2/ep1/nope", "/v2/ep1/status/nope", "/v2/ep1/stream/..%2F", "/v2/ep1/run"]
    {
        t.call(&house, get.clone(), path, "").await;
    }
    let wrong = format!("/v2/ep1/cancel/{id}");
    t.call(&house, get.clone(), &wrong, "").await;
    for query in ["ttl=1", "ttl=x", "ttl=604800001"] {
        t.call(&house, get.clone(), &format!("/v2/ep1/status/{id}?{query}"), "").await;
    }
    t.call(&house, post.clone(), "/v2/ep1/runsync?wait=soon", r#"{"input":1}"#).await;
    t.call(&house, post.clone(), &format!("/v2/ep1/retry/{id}"), "").await;
    house.engine.close_submissions();
    let draining = house.post("/v2/ep1/run", r#"{"input":1}"#).await;
    t.full("POST /v2/ep1/run, shutting down", &draining);
    assert_eq!(house.all_jobs().len(), 1, "no refused request makes a job");

    t.note("workers");
    let worker = house.worker("w1");
    for path in ["/w/nope/v2/ep1/job-take/w1", "/w/x/y"] {
        t.work(&house, get.clone(), path, "").await;
    }
    t.work(&house, get.clone(), &format!("{}/job-take/w2", worker.base), "").await;
    insta::assert_snapshot!("refusals", t.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cors() {
    let house = House::quick().await;
    let mut t = Transcript::default();
    let ask = |method: &str, origin: Option<&str>, asked: Option<&str>| {
        let mut request =
            Request::builder().method(method).uri("/v2/ep1/run").header("host", "localhost:8080");
        request = request.header("x-request-id", "req-1");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        if let Some(asked) = asked {
            request = request
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", asked);
        }
        request.body(Body::from(r#"{"input":1}"#)).unwrap()
    };
    t.note("keys are required: any origin may ask, no key is needed for that, nor to read a refusal");
    let page = Some("https://app.example");
    t.full(
        "OPTIONS, a page",
        &house.send(ask("OPTIONS", page, Some("Authorization, X-Mine,bad header"))).await,
    );
    t.full("OPTIONS, no page", &house.send(ask("OPTIONS", None, None)).await);
    t.full("POST without a key, a page", &house.send(ask("POST", page, None)).await);

    t.note("no key is needed: pages of this machine only");
    let house = House::new(Options { open: true, timing: quick(), ..Options::default() }).await;
    let local = Some("http://localhost:3000");
    t.full("OPTIONS, a local page", &house.send(ask("OPTIONS", local, Some("content-type"))).await);
    t.full("OPTIONS, a page", &house.send(ask("OPTIONS", page, Some("content-type"))).await);
    t.full("POST, a local page", &house.send(ask("POST", local, None)).await);
    t.full("POST, a page", &house.send(ask("POST", page, None)).await);
    insta::assert_snapshot!("cors", t.0);
}
