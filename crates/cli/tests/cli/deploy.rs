//! `runyard deploy` and `rollback`: what is uploaded, what is asked, what is shown, and how a failure reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::fake::{Fake, json as answer, ndjson, problem};
use crate::sandbox::{Done, Sandbox};

/// A server whose deploys go like `script`.
fn server(script: Vec<Value>) -> Fake {
    let known = Arc::new(AtomicBool::new(false));
    let (look, put) = (known.clone(), known);
    let stream = move || async move { ndjson(&script) };
    let releases = || async {
        answer(&json!({"releases": [
            {"number": 15, "state": "failed", "env": {"A": "1"}, "envRead": ["A", "MODE_TO_RUN"]},
        ]}))
    };
    Fake::start(
        Router::new()
            .route(
                "/api/v1/bundles/{sha}",
                get(move || async move {
                    if look.load(Ordering::SeqCst) {
                        answer(&json!({}))
                    } else {
                        problem(404, "not_found", "no")
                    }
                })
                .put(move || async move {
                    put.store(true, Ordering::SeqCst);
                    answer(&json!({"bundle": "x", "files": 2, "bytes": 1}))
                }),
            )
            .route("/api/v1/endpoints/{ep}/releases", post(stream.clone()).get(releases))
            .route("/api/v1/endpoints/{ep}/promote", post(stream.clone()))
            .route("/api/v1/endpoints/{ep}/rollback", post(stream))
            .route("/api/v1/info", get(|| async { answer(&json!({"version": "1", "open": false})) })),
    )
}

fn good() -> Vec<Value> {
    vec![
        json!({"step": "environment", "state": "running", "message": "resolving", "ms": 0}),
        json!({"step": "environment", "state": "output", "message": "Downloading torch"}),
        json!({"step": "environment", "state": "done", "message": "python 3.12 · 14 packages (cached)", "ms": 200}),
        json!({"step": "release", "state": "done", "message": "#15  handler.py", "ms": 3}),
        json!({"step": "test", "state": "done", "message": "1/1 tests  (cold start 3.4 s, exec 0.8 s)", "ms": 4_200}),
        json!({"step": "traffic", "state": "done", "message": "moved to #15", "ms": 1}),
        json!({"step": "rollout", "state": "skipped", "message": "no worker to replace"}),
        json!({"done": true, "ok": true, "release": 15, "url": "http://here/v2/whisper", "reason": null}),
    ]
}

fn bad(code: &str, message: &str, lines: &[&str], serving: Option<u32>) -> Vec<Value> {
    vec![
        json!({"step": "environment", "state": "output", "message": "the installer's last words"}),
        json!({"step": "test", "state": "failed", "message": message, "ms": 2_100}),
        json!({"done": true, "ok": false, "release": 15, "serving": serving,
            "reason": {"code": code, "message": message, "lastLines": lines}}),
    ]
}

fn folder(sandbox: &Sandbox) {
    sandbox.file("Whisper/handler.py", "import runpod\nrunpod.serverless.start({'handler': print})\n");
    sandbox.file("Whisper/test_input.json", r#"{"input": {"prompt": "it's"}}"#);
}

/// The text without what differs from run to run: the address, the bundle's packed size, and the times that this
/// side measured.
fn steady(text: &str, url: &str) -> String {
    let lines: Vec<String> = text.lines().map(steady_line).collect();
    lines.join("\n").replace(url, "SERVER") + if text.is_empty() { "" } else { "\n" }
}

fn steady_line(line: &str) -> String {
    if line.contains("✓ bundle") {
        return line.split(", ").next().unwrap_or(line).to_owned();
    }
    match line.strip_prefix("live in ").and_then(|rest| rest.split_once("   ")) {
        Some((_, url)) => format!("live in TIME   {url}"),
        None => line.to_owned(),
    }
}

fn deploy(fake: &Fake, sandbox: &Sandbox, flags: &[&str]) -> Done {
    let mut done = sandbox.run(&[&["deploy", "Whisper"], flags].concat());
    done.err = steady(&done.err, &fake.url);
    done.out = steady(&done.out, &fake.url);
    done
}

#[test]
fn a_deploy_shows_its_steps_and_how_to_call_it() {
    let fake = server(good());
    let sandbox = Sandbox::with(&fake.url);
    folder(&sandbox);
    let done = deploy(&fake, &sandbox, &[]).exits(0);
    insta::assert_snapshot!(format!("{}---\n{}", done.err, done.out));
}

#[test]
fn a_bundle_is_uploaded_once() {
    let fake = server(good());
    let sandbox = Sandbox::with(&fake.url);
    folder(&sandbox);
    deploy(&fake, &sandbox, &[]).exits(0);
    deploy(&fake, &sandbox, &[]).exits(0);
    let puts: Vec<_> = fake.asked().into_iter().filter(|a| a.line.starts_with("PUT ")).collect();
    assert_eq!(puts.len(), 1);
    let digest = runyard_build::bundle::digest(&puts[0].body);
    assert_eq!(puts[0].line, format!("PUT /api/v1/bundles/{digest}"));
    let sent = fake.request("POST /api/v1/endpoints/whisper/releases").json();
    assert_eq!(sent, json!({"bundle": digest, "create": true}));
}

#[test]
fn flags_go_along_with_a_deploy() {
    let fake = server(good());
    let mut sandbox = Sandbox::with(&fake.url);
    sandbox.set("FROM_HERE", "yes");
    folder(&sandbox);
    let flags = [
        "--name",
        "w2",
        "--handler",
        "handler.py",
        "--min",
        "1",
        "--gpus",
        "2",
        "--scaler",
        "request-count",
        "--env",
        "A=1",
        "--env",
        "FROM_HERE",
        "--note",
        "faster",
    ];
    deploy(&fake, &sandbox, &flags).exits(0);
    let mut sent = fake.request("POST /api/v1/endpoints/w2/releases").json();
    sent["bundle"] = Value::Null;
    assert_eq!(
        sent,
        json!({"bundle": null, "create": true, "handler": "handler.py", "env": {"A": "1", "FROM_HERE": "yes"},
            "settings": {"workers_min": 1, "gpus": 2, "scaler": {"type": "REQUEST_COUNT", "value": 4}}, "note": "faster"})
    );
}

#[test]
fn a_handler_alone_is_packed_alone() {
    let fake = server(good());
    let sandbox = Sandbox::with(&fake.url);
    folder(&sandbox);
    sandbox.run(&["deploy", "Whisper/handler.py"]).exits(0);
    let sent = fake.request("POST /api/v1/endpoints/whisper/releases").json();
    assert_eq!(sent["handler"], "handler.py");
}

#[test]
fn a_failed_start_names_the_cause_and_what_still_serves() {
    let lines = [
        "Traceback (most recent call last):",
        "\u{1b}[31mModuleNotFoundError: No module named 'av'\u{1b}[0m",
    ];
    let fake = server(bad(
        "start_failed",
        "the worker exited with code 1 before it asked for a job",
        &lines,
        Some(14),
    ));
    let sandbox = Sandbox::with(&fake.url);
    folder(&sandbox);
    let done = deploy(&fake, &sandbox, &[]).exits(3);
    assert!(done.out.is_empty());
    insta::assert_snapshot!(done.err);
}

#[test]
fn a_worker_that_waits_for_a_variable_is_given_a_hint() {
    let fake =
        server(bad("start_failed", "the worker ended with code 0 before it asked for a job", &[], None));
    let sandbox = Sandbox::with(&fake.url);
    folder(&sandbox);
    let err = deploy(&fake, &sandbox, &[]).exits(3).err;
    assert!(err.contains("error: release #15 was not promoted; nothing is serving yet\n"), "{err}");
    assert!(err.contains("try    runyard deploy --env MODE_TO_RUN=…\n"), "{err}");
}

#[test]
fn a_failed_environment_shows_what_the_installer_said() {
    let fake = server(bad("environment_failed", "pip exited with code 1", &[], None));
    let sandbox = Sandbox::with(&fake.url);
    folder(&sandbox);
    let err = deploy(&fake, &sandbox, &[]).exits(3).err;
    assert!(err.contains("| the installer's last words\n"), "{err}");
    assert!(err.contains("try    runyard logs whisper --build 15\n"), "{err}");
}

#[test]
fn with_json_the_stream_is_passed_on() {
    let script = bad("test_failed", "test 'a' did not pass", &[], Some(14));
    let fake = server(script.clone());
    let sandbox = Sandbox::with(&fake.url);
    folder(&sandbox);
    let done = sandbox.run(&["deploy", "Whisper", "--json"]).exits(3);
    let lines: Vec<Value> = done.out.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(lines, script);
    let error: Value = serde_json::from_str(&done.err).expect("one document on stderr");
    assert_eq!((&error["error"]["code"], &error["exit"]), (&json!("test_failed"), &json!(3)));
}

#[test]
fn a_stream_that_ends_early_is_a_failure() {
    let fake = server(good().into_iter().take(3).collect());
    let sandbox = Sandbox::with(&fake.url);
    folder(&sandbox);
    let err = deploy(&fake, &sandbox, &[]).exits(1).err;
    assert!(err.contains("try    runyard releases whisper"), "{err}");
}

#[test]
fn rollbacks_speak_like_deploys() {
    let fake = server(vec![
        json!({"step": "traffic", "state": "done", "message": "moved to #13", "ms": 1}),
        json!({"done": true, "ok": true, "release": 13, "url": "http://here/v2/whisper", "reason": null}),
    ]);
    let sandbox = Sandbox::with(&fake.url);
    let done = sandbox.run(&["rollback", "whisper", "--to", "#13"]).exits(0);
    assert_eq!(done.out, "serving release #13 of whisper\n");
    assert_eq!(fake.request("POST /api/v1/endpoints/whisper/rollback").json(), json!({"to": 13}));
    sandbox.run(&["rollback", "whisper"]).exits(0);
    assert_eq!(fake.asked()[1].json(), json!({}));
}

#[test]
fn a_canary_says_how_it_goes_on() {
    let mut lines = good();
    lines.pop();
    lines.push(
        json!({"done": true, "ok": true, "release": 15, "serving": 14, "url": "http://here/v2/whisper"}),
    );
    let fake = server(lines);
    let sandbox = Sandbox::with(&fake.url);
    folder(&sandbox);
    let done = deploy(&fake, &sandbox, &["--canary", "10", "--canary-jobs", "50", "--surge", "2"]).exits(0);
    assert_eq!(done.out, "release #15 gets 10 % of the jobs of whisper\n");
    assert!(done.err.contains("runyard promote whisper"), "{}", done.err);
    let body = fake.request("POST /api/v1/endpoints/whisper/releases").json();
    assert_eq!(body["canary"], json!(10));
    assert_eq!(body["settings"], json!({"rollout": {"canary_jobs": 50, "surge": 2}}));
    let done = sandbox.run(&["promote", "whisper"]).exits(0);
    assert!(done.out.contains("serving release #15"), "{}", done.out);
    assert_eq!(fake.request("POST /api/v1/endpoints/whisper/promote").json(), json!({}));
}

#[test]
fn a_release_that_was_taken_back_is_told_so() {
    let fake = server(bad("rolled_back", "8 of its 10 jobs failed", &[], Some(14)));
    let sandbox = Sandbox::with(&fake.url);
    folder(&sandbox);
    let done = deploy(&fake, &sandbox, &[]).exits(3);
    assert!(done.err.contains("release #15 was taken back; release #14 serves again"), "{}", done.err);
}
