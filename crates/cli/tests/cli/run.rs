//! `runyard run`: what is submitted, how it waits, and how each end of a job looks.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::fake::{Fake, json as answer, problem, text};
use crate::sandbox::{Done, Sandbox};

const ID: &str = "3f2c9a1e-0000-4000-8000-123456789abc-u1";

/// The answers of a poll, one after the other; the last one stays.
#[derive(Clone)]
struct Script(Arc<(Vec<Value>, AtomicUsize)>);

impl Script {
    fn new(answers: Vec<Value>) -> Self {
        Self(Arc::new((answers, AtomicUsize::new(0))))
    }

    async fn next(self) -> Response {
        let (answers, asked) = &*self.0;
        let index = asked.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        match &answers[index] {
            Value::String(word) if word == "hold" => std::future::pending().await,
            Value::String(_) => problem(503, "draining", "the server is shutting down"),
            value => answer(value),
        }
    }
}

fn server(statuses: Vec<Value>, chunks: Vec<Value>) -> Fake {
    let (statuses, chunks) = (Script::new(statuses), Script::new(chunks));
    Fake::start(
        Router::new()
            .route("/v2/t2i/run", post(|| async { answer(&json!({"id": ID, "status": "IN_QUEUE"})) }))
            .route("/v2/t2i/status-sync/{id}", get(move || statuses.next()))
            .route("/v2/t2i/stream/{id}", get(move || chunks.next())),
    )
}

fn completed(output: &Value) -> Value {
    json!({"id": ID, "status": "COMPLETED", "delayTime": 5, "executionTime": 7, "output": output})
}

fn run(statuses: Vec<Value>, flags: &[&str]) -> (Done, Fake) {
    let fake = server(statuses, vec![json!(null)]);
    let done = Sandbox::with(&fake.url).run(&[&["run", "t2i"], flags].concat());
    (done, fake)
}

#[test]
fn the_output_goes_to_stdout() {
    let waiting = json!({"id": ID, "status": "IN_QUEUE", "reason": {"code": "all_busy", "message": "busy"}});
    let (done, fake) =
        run(vec![waiting, completed(&json!({"a": [1, 2.0]}))], &["-i", "prompt=a boat", "-i", "n=7"]);
    let done = done.exits(0);
    assert_eq!(done.out, "{\n  \"a\": [\n    1,\n    2.0\n  ]\n}\n");
    assert!(done.err.is_empty(), "nobody watches: {}", done.err);
    let sent = String::from_utf8(fake.request("POST /v2/t2i/run").body).expect("UTF-8");
    assert_eq!(sent, r#"{"input":{"prompt":"a boat","n":7}}"#);
    fake.request(&format!("GET /v2/t2i/status-sync/{ID}?wait=20000"));
}

#[test]
fn text_is_printed_as_text() {
    let (done, _) = run(vec![completed(&json!("hello\nworld"))], &[]);
    assert_eq!(done.exits(0).out, "hello\nworld\n");
}

#[test]
fn with_json_the_whole_answer_is_printed() {
    let (done, _) = run(vec![completed(&json!(5))], &["--json"]);
    let document: Value = serde_json::from_str(&done.exits(0).out).expect("one document");
    assert_eq!(document, completed(&json!(5)));
}

#[test]
fn async_prints_the_id_and_does_not_wait() {
    let (done, fake) = run(vec![json!("hold")], &["--async"]);
    assert_eq!(done.exits(0).out, format!("{ID}\n"));
    assert_eq!(fake.asked().len(), 1);
    let (done, _) = run(vec![json!("hold")], &["--async", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&done.out).expect("JSON")["id"], ID);
}

#[test]
fn pictures_are_written_as_files() {
    let png = b"\x89PNG\r\n\x1a\n and the rest";
    let output = json!({"statusCode": 200, "body": STANDARD.encode(png)});
    let fake = server(vec![completed(&output)], vec![json!(null)]);
    let sandbox = Sandbox::with(&fake.url);
    let done = sandbox.run(&["run", "t2i", "-o", "boat.png"]).exits(0);
    assert_eq!(std::fs::read(sandbox.work().join("boat.png")).expect("it is written"), png);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("", "wrote boat.png (PNG, 21 B)\n"));
}

#[test]
fn a_failed_job_exits_with_3_and_its_error() {
    let packed = json!({"error_type": "<class 'ValueError'>", "error_message": "bad\u{1b}[2J seed",
        "error_traceback": "Traceback (most recent call last):\n  File \"handler.py\", line 3\nValueError: bad seed"});
    let failed = json!({"id": ID, "status": "FAILED", "error": packed.to_string(),
        "reason": {"code": "handler_exception", "message": "ValueError: bad seed (handler.py:3)"}});
    let (done, _) = run(vec![failed], &[]);
    let done = done.exits(3);
    assert!(done.out.is_empty());
    insta::assert_snapshot!(done.err);
}

#[test]
fn every_end_but_success_exits_with_3() {
    for (status, said) in [("TIMED_OUT", "timed out"), ("CANCELLED", "was cancelled"), ("FAILED", "failed")] {
        let (done, _) = run(vec![json!({"id": ID, "status": status})], &["--json"]);
        let done = done.exits(3);
        assert_eq!(serde_json::from_str::<Value>(&done.out).expect("JSON")["status"], status);
        assert!(done.err.contains(said), "{}", done.err);
    }
}

#[test]
fn pieces_are_printed_as_they_come() {
    let chunks = vec![
        json!({"status": "IN_QUEUE", "stream": []}),
        json!({"status": "IN_PROGRESS", "stream": [{"output": "Hel"}, {"output": "lo"}]}),
        json!({"status": "IN_PROGRESS", "stream": [{"output": {"n": 1}}]}),
        json!({"status": "COMPLETED", "stream": [{"output": "end"}]}),
    ];
    let fake = server(vec![completed(&json!(["Hel", "lo"]))], chunks);
    let sandbox = Sandbox::with(&fake.url);
    let done = sandbox.run(&["run", "t2i", "--stream", "-d", "{\"x\":1}"]).exits(0);
    assert_eq!(done.out, "Hello\n{\"n\":1}\nend\n");
}

#[test]
fn pieces_with_json_are_lines() {
    let chunks = vec![json!({"status": "FAILED", "stream": [{"output": "a"}, {"output": {"b": 1}}]})];
    let fake = server(vec![json!({"id": ID, "status": "FAILED", "error": "boom"})], chunks);
    let done = Sandbox::with(&fake.url).run(&["run", "t2i", "--stream", "--json"]).exits(3);
    let lines: Vec<&str> = done.out.lines().collect();
    assert_eq!(lines[..2], [r#"{"output":"a"}"#, r#"{"output":{"b":1}}"#]);
    assert_eq!(serde_json::from_str::<Value>(lines[2]).expect("JSON")["status"], "FAILED");
}

#[test]
fn waiting_has_an_end_and_the_work_goes_on() {
    let (done, _) = run(vec![json!("hold")], &["--timeout", "200ms"]);
    let done = done.exits(7);
    assert!(done.err.starts_with(&format!("error: waiting timed out; job {ID} goes on\n")), "{}", done.err);
    assert!(done.err.contains(&format!("try    runyard cancel {ID}")), "{}", done.err);
}

#[test]
fn an_interrupt_ends_the_waiting_and_names_the_job() {
    let fake = server(vec![json!("hold")], vec![json!(null)]);
    let sandbox = Sandbox::with(&fake.url);
    let mut command = sandbox.command(&["run", "t2i"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    fake.wait_for("GET /v2/t2i/status-sync/");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .expect("it is there");
    let done = Done::from(child.wait_with_output().expect("it ends")).exits(130);
    assert!(done.err.contains(&format!("job {ID} goes on")), "{}", done.err);
}

#[test]
fn a_server_that_restarts_ends_no_waiting() {
    let (done, fake) = run(vec![json!("away"), json!("away"), completed(&json!(1))], &[]);
    assert_eq!(done.exits(0).out, "1\n");
    assert_eq!(fake.asked().len(), 4);
}

#[test]
fn refusals_in_runpods_shape_are_understood() {
    let fake = Fake::start(Router::new().fallback(|| async {
        text(400, "application/json", r#"{"error":"exceeded max body size of 10MiB"}"#.to_owned())
    }));
    let done = Sandbox::with(&fake.url).run(&["run", "t2i"]).exits(1);
    assert!(done.err.starts_with("error: exceeded max body size of 10MiB\n"), "{}", done.err);
}

#[test]
fn input_comes_from_stdin_too() {
    let fake = server(vec![completed(&json!(1))], vec![json!(null)]);
    Sandbox::with(&fake.url)
        .run_with(&["run", "t2i", "-d", "-"], r#"{"input": {"x": 1.0}, "policy": {}}"#)
        .exits(0);
    let sent = String::from_utf8(fake.request("POST /v2/t2i/run").body).expect("UTF-8");
    assert_eq!(sent, r#"{"input": {"x": 1.0}, "policy": {}}"#);
}
