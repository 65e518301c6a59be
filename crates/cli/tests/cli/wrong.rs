//! How commands fail: the exit code, the lines on stderr, and the same as JSON.

use std::process::Stdio;

use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};

use crate::fake::{Fake, json as answer, problem, text};
use crate::sandbox::Sandbox;

fn refusing(status: u16, code: &'static str, detail: &'static str) -> Fake {
    Fake::start(Router::new().fallback(move || async move { problem(status, code, detail) }))
}

/// An address on this machine where nothing answers.
pub fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("it is bound"))
}

#[test]
fn each_refusal_has_its_exit_code() {
    for (status, code, exit) in [
        (401, "unauthorized", 4),
        (403, "forbidden", 4),
        (404, "not_found", 5),
        (409, "conflict", 1),
        (500, "internal", 1),
    ] {
        let fake = refusing(status, code, "because");
        let done = Sandbox::with(&fake.url).run(&["jobs"]).exits(exit);
        assert!(done.err.starts_with("error: because\n"), "{}", done.err);
        assert!(done.err.contains("  id     r-1\n"), "{}", done.err);
        assert!(done.out.is_empty(), "stdout is data");
    }
}

#[test]
fn a_refused_key_is_named_by_where_it_came_from() {
    let fake = refusing(401, "unauthorized", "this key opens nothing");
    let mut sandbox = Sandbox::with(&fake.url);
    let none = sandbox.run(&["jobs"]).exits(4).err.replace(&fake.url, "URL");
    insta::assert_snapshot!(none, @r"
    error: this key opens nothing
      cause  no key was given for URL
      try    runyard login URL
      id     r-1
    ");
    sandbox.set("RUNPOD_API_KEY", "rp_secret");
    let env = sandbox.run(&["jobs"]).exits(4).err;
    assert!(env.contains("refused the key from RUNPOD_API_KEY"), "{env}");
    sandbox.set("RUNYARD_TOKEN", "ry_secret");
    assert!(sandbox.run(&["jobs"]).err.contains("the key from RUNYARD_TOKEN"));
    sandbox.set("RUNYARD_API_KEY", "ry_secret");
    assert!(sandbox.run(&["jobs"]).err.contains("the key from RUNYARD_API_KEY"));
    let flag = sandbox.run(&["jobs", "--key", "k"]).err;
    assert!(flag.contains("the key from --key") && !flag.contains("secret"), "{flag}");
    let keys: Vec<_> = fake.asked().into_iter().map(|a| a.key.unwrap_or_default()).collect();
    assert_eq!(keys, ["", "Bearer rp_secret", "Bearer ry_secret", "Bearer ry_secret", "Bearer k"]);
}

#[test]
fn failures_with_json_are_json() {
    let fake = refusing(404, "not_found", "there is no endpoint 'x'");
    let done = Sandbox::with(&fake.url).run(&["ep", "show", "x", "--json"]).exits(5);
    let error: Value = serde_json::from_str(&done.err).expect("one document");
    assert_eq!(error["error"]["code"], "not_found");
    assert_eq!(error["error"]["message"], "there is no endpoint 'x'");
    assert_eq!(error["exit"], 5);
    assert!(done.out.is_empty());
}

#[test]
fn escapes_in_errors_do_not_reach_the_terminal() {
    let fake = refusing(400, "invalid", "bad \u{1b}]0;title\u{7}\u{1b}[2Jname");
    let done = Sandbox::with(&fake.url).run(&["jobs"]).exits(1);
    assert!(done.err.starts_with("error: bad name\n"), "{:?}", done.err);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let url = nobody();
    let done = Sandbox::with(&url).run(&["jobs"]).exits(1);
    assert!(done.err.starts_with(&format!("error: no server answers at {url}\n  cause  ")), "{}", done.err);
    assert!(done.err.contains("try    runyard up"), "{}", done.err);
}

#[test]
fn addresses_that_cannot_be_used_say_why() {
    let fake = Fake::start(Router::new());
    let url = fake.url.replace("http://", "https://");
    let plain = Sandbox::new().run(&["jobs", "--url", &url, "--cacert", "/nowhere/ca.pem"]).exits(1);
    assert!(plain.err.contains("/nowhere/ca.pem holds no certificates"), "{}", plain.err);
    let none = Sandbox::new().run(&["jobs", "--url", "gpu.lan"]).exits(2);
    assert!(none.err.contains("http://host:port"), "{}", none.err);
}

#[test]
fn something_else_that_answers_is_told() {
    let fake = Fake::start(Router::new().fallback(|| async { text(200, "text/html", "<html>".to_owned()) }));
    let done = Sandbox::with(&fake.url).run(&["jobs"]).exits(1);
    assert!(done.err.contains("makes no sense"), "{}", done.err);
}

#[test]
fn wrong_usage_exits_with_2() {
    let sandbox = Sandbox::with("http://127.0.0.1:1");
    for arguments in [
        ["nonsense"].as_slice(),
        &["jobs", "--since", "soon"],
        &["run", "t2i", "-i", "novalue"],
        &["run", "t2i", "-d", "{,}"],
        &["deploy", "/nowhere"],
        &["deploy", "--name", "Not A Name"],
        &["deploy", "--env", "1=2"],
        &["jobs", "--url", "http://x", "--data", "/tmp"],
    ] {
        sandbox.run(arguments).exits(2);
    }
}

#[test]
fn a_closed_pipe_ends_a_command_quietly() {
    let fake =
        Fake::start(Router::new().route("/api/v1/jobs", get(|| async { answer(&json!({"jobs": []})) })));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let sandbox = Sandbox::with(&fake.url);
    let output = sandbox.command(&["jobs", "--json"]).stdout(writer).stderr(Stdio::piped()).output();
    let output = output.expect("the binary runs");
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
}

#[test]
fn doctor_says_what_is_wrong_and_fails() {
    let done = Sandbox::with(&nobody()).run(&["doctor", "--json"]).exits(1);
    let report: Value = serde_json::from_str(&done.out).expect("one document");
    assert_eq!(
        (&report["checks"][0]["check"], &report["checks"][0]["verdict"]),
        (&json!("reached"), &json!("fail"))
    );
}

#[test]
fn doctor_looks_at_the_server() {
    let report = json!({"version": "0.0.1", "now": 0, "checks": [
        {"check": "agent", "verdict": "ok", "found": "process 7", "meaning": null, "advice": null},
        {"check": "boundary", "verdict": "warn", "found": "none", "meaning": "they can read it", "advice": "trust"},
        {"check": "disk", "verdict": "fail", "found": "full", "meaning": "no jobs", "advice": "make room"},
    ]});
    let router = Router::new().route("/api/v1/doctor", get(move || async move { answer(&report) }));
    let fake = Fake::start(router);
    let done = Sandbox::with(&fake.url).run(&["doctor"]).exits(1);
    for line in [
        "warn  reached  ",
        "      try   use the same version on both sides",
        "ok    key      none is needed here",
        "warn  time     the server's clock and this one differ by",
        "ok    agent    process 7",
        "warn  boundary none",
        "means they can read it",
        "fail  disk     full",
        "try   make room",
    ] {
        assert!(done.out.contains(line), "{line}\n{}", done.out);
    }
    assert!(done.err.contains("1 check failed"), "{}", done.err);
}
