//! Batches, from a file to their results.

use axum::Router;
use axum::extract::Query;
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::fake::{Fake, json as answer, problem};
use crate::sandbox::Sandbox;

fn ago(seconds: i64) -> i64 {
    jiff::Timestamp::now().as_millisecond() - seconds * 1_000 - 500
}

fn batch(status: &str, ended_at: Option<i64>) -> Value {
    json!({"id": "batch_k3j9", "endpointId": "ep", "status": status, "requestTotal": 4, "requestInProgress": 1,
        "requestCompleted": 2, "requestFailed": 1, "createdAt": ago(150), "requestQueued": 0, "requestCancelled": 1,
        "name": "night\u{1b}[31mly", "endedAt": ended_at})
}

#[derive(serde::Deserialize)]
struct Page {
    offset: usize,
}

fn router() -> Router {
    let results = |Query(page): Query<Page>| async move {
        let ids: Vec<Value> = (page.offset..page.offset + 2)
            .map(|n| json!({"id": n, "status": "COMPLETED", "output": 1.0}))
            .collect();
        answer(
            &json!({"requests": ids, "total": 4, "offset": page.offset, "limit": 2, "hasMore": page.offset < 2}),
        )
    };
    Router::new()
        .route("/v2/t2i/batch", post(|| async { answer(&batch("DRAFT", None)) }))
        .route(
            "/v2/t2i/batch",
            get(|| async {
                answer(&json!({"batches": [batch("FINALIZED", None), batch("COMPLETED", Some(ago(20)))]}))
            }),
        )
        .route("/v2/t2i/batch/batch_k3j9", get(|| async { answer(&batch("FINALIZED", None)) }))
        .route("/v2/t2i/batch/batch_k3j9/finalize", post(|| async { answer(&batch("FINALIZED", None)) }))
        .route(
            "/v2/t2i/batch/batch_k3j9/cancel",
            post(|| async { answer(&batch("CANCELLED", Some(ago(100)))) }),
        )
        .route(
            "/v2/t2i/batch/batch_k3j9/requests",
            get(results).post(|| async { problem(400, "batch_limit", "a batch has at most 5000 requests") }),
        )
}

fn shown(arguments: &[&str]) -> String {
    let fake = Fake::start(router());
    let done = Sandbox::with(&fake.url).run(arguments).exits(0);
    done.out + &done.err
}

#[test]
fn a_file_becomes_a_batch_whose_id_is_alone_on_stdout() {
    let fake = Fake::start(router());
    let sandbox = Sandbox::with(&fake.url);
    sandbox.file("r.jsonl", "{\"prompt\": \"a\", \"n\": 1.50}\n{\"input\": 2, \"policy\": {}}\n");
    let done = sandbox.run(&["batch", "create", "t2i", "r.jsonl", "--name", "n", "--finalize"]).exits(0);
    assert_eq!(done.out, "batch_k3j9\n");
    assert!(done.err.contains("added 2 requests: runyard batch status t2i batch_k3j9"), "{}", done.err);
    let sent = String::from_utf8(fake.request("POST /v2/t2i/batch").body).expect("UTF-8");
    let expected =
        r#"{"name":"n","requests":[{"input":{"prompt": "a", "n": 1.50}},{"input": 2, "policy": {}}]}"#;
    assert_eq!(sent, expected);
    fake.request("POST /v2/t2i/batch/batch_k3j9/finalize");
    let draft = sandbox.run_with(&["batch", "create", "t2i", "-"], "1\n").exits(0);
    assert!(
        draft.err.contains("a draft; runyard batch finalize t2i batch_k3j9 lets it run"),
        "{}",
        draft.err
    );
}

#[test]
fn what_could_not_be_added_is_told_with_what_is_there() {
    let fake = Fake::start(router());
    let sandbox = Sandbox::with(&fake.url);
    sandbox.file("bad.jsonl", "1\n{");
    let bad = sandbox.run(&["batch", "create", "t2i", "bad.jsonl"]).exits(2);
    assert!(bad.err.contains("line 2 is not valid JSON"), "{}", bad.err);
    assert!(fake.asked().is_empty(), "nothing is sent before all of it was read");
    sandbox.file("many.jsonl", "1\n".repeat(1_001));
    let cut = sandbox.run(&["batch", "create", "t2i", "many.jsonl"]).exits(1);
    assert!(cut.err.contains("the draft batch_k3j9 has 4 requests so far"), "{}", cut.err);
}

#[test]
fn results_are_lines_page_after_page() {
    let lines = shown(&["batch", "results", "t2i", "batch_k3j9"]);
    let expected: Vec<String> =
        (0..4).map(|n| format!("{{\"id\":{n},\"output\":1.0,\"status\":\"COMPLETED\"}}\n")).collect();
    assert_eq!(lines, expected.concat());
    let fake = Fake::start(router());
    let sandbox = Sandbox::with(&fake.url);
    let done = sandbox.run(&["batch", "results", "t2i", "batch_k3j9", "-o", "out.jsonl"]).exits(0);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("", "wrote 4 results to out.jsonl\n"));
    assert_eq!(std::fs::read_to_string(sandbox.work().join("out.jsonl")).expect("written"), lines);
}

#[test]
fn batches_as_a_table() {
    insta::assert_snapshot!(shown(&["batch", "list", "t2i"]));
}

#[test]
fn one_batch() {
    insta::assert_snapshot!(shown(&["batch", "cancel", "t2i", "batch_k3j9"]));
    assert!(shown(&["batch", "status", "t2i", "batch_k3j9"]).starts_with("batch_k3j9  FINALIZED\n"));
}

#[test]
fn the_help_of_batches() {
    insta::assert_snapshot!(shown(&["batch", "--help"]));
}
