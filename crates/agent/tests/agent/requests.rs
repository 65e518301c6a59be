//! Workers' requests on their way to the server and back, while both are there.

use runyard_domain::JobId;
use runyard_runtime::{Runtime as _, Stop};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Harness, within};
use crate::server::Server;

async fn pair() -> (Harness, Server) {
    let h = Harness::new().await;
    h.sh("w1", "echo ready; exec sleep 1000").await;
    let server = Server::start(&h.paths);
    (h, server)
}

#[tokio::test]
async fn requests_and_answers_pass_unchanged() {
    let (h, mut server) = pair().await;
    let played = async {
        let seen = server.next().await;
        assert_eq!((seen.method.as_str(), seen.body.as_str()), ("GET", ""));
        assert_eq!(seen.path, "/w/token-w1/v2/ep/job-take/w1?job_in_progress=0");
        assert_eq!(seen.header("authorization"), "the-sdks-key");
        assert_eq!(seen.header("x-runyard-spoof"), "");
        assert!(!seen.header("x-runyard-agent").is_empty());
        seen.answer(204, &[("x-other", "kept")], "");
    };
    let sent = h.open("GET", "/w/token-w1/v2/ep/job-take/w1&job_in_progress=0", "");
    let (response, ()) = tokio::join!(sent, played);
    assert_eq!((response.status().as_u16(), response.headers()["x-other"].to_str().unwrap()), (204, "kept"));

    let played = async {
        let seen = server.next().await;
        assert_eq!((seen.method.as_str(), seen.body.as_str()), ("POST", r#"{"output":1}"#));
        assert_eq!(seen.path, "/w/token-w1/v2/ep/job-done/w1/j-u1?gpu=X&isStream=false");
        seen.answer(404, &[], "gone");
    };
    let sent = h.send("POST", "/w/token-w1/v2/ep/job-done/w1/j-u1?gpu=X&isStream=false", r#"{"output":1}"#);
    let (answer, ()) = tokio::join!(sent, played);
    assert_eq!((answer.0.as_u16(), answer.1.as_str()), (404, "gone"));
}

#[tokio::test]
async fn unknown_tokens_are_refused_slowly() {
    let (h, mut server) = pair().await;
    let begun = std::time::Instant::now();
    let (status, _) = h.send("GET", "/w/other/v2/ep/job-take/w1?x", "").await;
    assert_eq!(status.as_u16(), 401);
    assert!(begun.elapsed().as_millis() >= 1900);
    assert!(server.is_idle());
}

#[tokio::test]
async fn the_dead_get_no_work() {
    let (h, mut server) = pair().await;
    h.runtime.stop(&runyard_domain::WorkerId::new("w1"), Stop::Kill).await.unwrap();
    h.exit("w1").await;
    let (status, _) = h.send("GET", "/w/token-w1/v2/ep/ping/w1?job_id=j-u1", "").await;
    assert_eq!(status.as_u16(), 401);
    assert!(server.is_idle());
}

#[tokio::test]
async fn delivered_jobs_are_held_until_their_result() {
    let (h, mut server) = pair().await;
    let played = async {
        let jobs = [
            ("x-runyard-jobs", "a-u1, b-u1"),
            ("x-runyard-attempts", "2,1"),
            ("content-type", "application/json"),
        ];
        server.next().await.answer(200, &jobs, r#"[{"id":"a-u1"},{"id":"b-u1"}]"#);
    };
    let (response, ()) = tokio::join!(h.open("GET", "/w/token-w1/v2/ep/job-take/w1?x", ""), played);
    assert!(!response.headers().keys().any(|name| name.as_str().starts_with("x-runyard")));
    assert_eq!(response.headers()["content-length"], "29");
    let both = [JobId::new("a-u1"), JobId::new("b-u1")];
    h.see("w1", "both jobs", |worker| worker.holds == both).await;

    for (body, left) in [(r#"{"status":"IN_PROGRESS","output":1}"#, 2), (r#"{"output":1}"#, 1)] {
        let played = async { server.next().await.answer(200, &[], "") };
        let (answer, ()) = tokio::join!(h.send("POST", "/w/token-w1/v2/ep/job-done/w1/a-u1?x", body), played);
        assert_eq!(answer.0.as_u16(), 200);
        assert_eq!(h.observed("w1").await.unwrap().holds.len(), left);
    }
}

#[tokio::test]
async fn chunks_are_numbered_per_job() {
    let (h, mut server) = pair().await;
    for (job, number) in [("a-u1", "1"), ("a-u1", "2"), ("b-u1", "1")] {
        let played = async {
            let seen = server.next().await;
            assert_eq!(seen.header("x-runyard-chunk"), number);
            seen.answer(200, &[], "");
        };
        let path = format!("/w/token-w1/v2/ep/job-stream/w1/{job}?isStream=false");
        let (answer, ()) = tokio::join!(h.send("POST", &path, r#"{"output":1}"#), played);
        assert_eq!(answer.0.as_u16(), 200);
    }
}

#[tokio::test]
async fn a_worker_that_leaves_ends_its_poll() {
    let (h, mut server) = pair().await;
    let seen = tokio::select! {
        _ = h.open("GET", "/w/token-w1/v2/ep/job-take/w1?x", "") => panic!("nobody answered"),
        seen = server.next() => seen,
    };
    // The worker's connection is dropped here.
    seen.broken_off().await;
}

#[tokio::test]
async fn jobs_that_do_not_reach_their_worker_go_back() {
    let (h, mut server) = pair().await;
    let url = h.runtime.worker_url().await.unwrap();
    let mut worker = tokio::net::TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    worker.write_all(b"GET /w/token-w1/v2/ep/job-take/w1?x HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    // An answer too large for the connection's buffers, of which the worker reads only the beginning.
    let job = format!("[{}]", "1,".repeat(16 * 1024 * 1024));
    server.next().await.answer(200, &[("x-runyard-jobs", "a-u1")], &job);
    let mut head = [0; 12];
    within("the head", worker.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    assert!(h.observed("w1").await.unwrap().holds.is_empty());
    drop(worker);
    let back = server.next().await;
    assert_eq!((back.method.as_str(), back.path.as_str()), ("POST", "/agent/give-back"));
    assert_eq!(back.body, r#"{"worker":"w1","jobs":["a-u1"]}"#);
    back.answer(500, &[], "");
    server.next().await.answer(200, &[], "");
    assert!(h.observed("w1").await.unwrap().holds.is_empty());
}

#[tokio::test]
async fn output_is_attributed_to_the_one_job_that_runs() {
    let h = Harness::new().await;
    let mut server = Server::start(&h.paths);
    h.sh("w1", "echo ready; while ! [ -e $TMPDIR/go ]; do sleep 0.01; done; echo working; exec sleep 1000")
        .await;
    let played = async { server.next().await.answer(200, &[("x-runyard-jobs", "a-u1")], "{}") };
    tokio::join!(h.open("GET", "/w/token-w1/v2/ep/job-take/w1?x", ""), played);
    h.see("w1", "the job", |worker| !worker.holds.is_empty()).await;
    std::fs::write(h.paths.work().join("w1/tmp/go"), "").unwrap();
    h.line("w1", "working").await;
    let record = h.records().into_iter().find(|record| record.message == "working").unwrap();
    assert_eq!((record.job, record.inferred), (Some(JobId::new("a-u1")), true));
}

#[tokio::test]
async fn a_result_that_the_sdk_cannot_send_is_refused_in_its_place() {
    let h = Harness::new().await;
    let mut server = Server::start(&h.paths);
    let says = |job: &str, message: &str| {
        format!(r#"{{"requestId": "{job}", "message": "{message}", "level": "ERROR"}}"#)
    };
    let unsent = "Error while returning job result. | Object of type bytes is not JSON serializable";
    // Of b-u1 a part could not be sent, and its result comes all the same; a-u1 never gets one.
    let lines = [says("b-u1", unsent), says("a-u1", unsent), says("a-u1", "Finished."), "over".into()];
    h.sh("w1", "echo ready; while ! [ -e $TMPDIR/go ]; do sleep 0.01; done; cat $TMPDIR/go; exec sleep 1000")
        .await;
    let played = async { server.next().await.answer(200, &[("x-runyard-jobs", "a-u1,b-u1")], "[]") };
    tokio::join!(h.open("GET", "/w/token-w1/v2/ep/job-take/w1?x", ""), played);
    h.see("w1", "the jobs", |worker| worker.holds.len() == 2).await;
    let tmp = h.paths.work().join("w1/tmp");
    std::fs::write(tmp.join("all"), lines.join("\n") + "\n").unwrap();
    std::fs::rename(tmp.join("all"), tmp.join("go")).unwrap();
    let refused = server.next().await;
    assert_eq!((refused.method.as_str(), refused.header("x-runyard-refused")), ("POST", "1"));
    assert_eq!(refused.path, "/w/token-w1/v2/ep/job-done/w1/a-u1");
    let why = r#"{"error":"its SDK could not send it: Object of type bytes is not JSON serializable"}"#;
    assert_eq!(refused.body, why);
    refused.answer(200, &[], "");
    h.see("w1", "only the other", |worker| worker.holds == [JobId::new("b-u1")]).await;
    h.line("w1", "over").await;
    assert!(server.is_idle());
}

#[tokio::test]
async fn a_result_says_when_its_worker_began_to_send_it() {
    let (h, mut server) = pair().await;
    let played = async {
        let seen = server.next().await;
        let posted: i64 = seen.header("x-runyard-posted").parse().unwrap();
        assert!(posted > 1_000_000_000_000, "{posted}");
        assert_eq!(seen.header("x-runyard-refused"), "");
        seen.answer(200, &[], "");
    };
    tokio::join!(h.open("POST", "/w/token-w1/v2/ep/job-done/w1/a-u1", "{}"), played);
}
