//! Which server a command talks to, and with which key: `login`, the credentials file, data directories.

use std::os::unix::fs::PermissionsExt;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
use serde_json::json;

use crate::fake::{Fake, json as answer, problem};
use crate::sandbox::Sandbox;
use crate::wrong::nobody;

/// A server with one key.
fn locked() -> Fake {
    let guarded = |headers: HeaderMap| async move {
        match headers.get("authorization").and_then(|v| v.to_str().ok()) {
            Some("Bearer ry_good") => answer(&json!({"endpoints": [], "jobs": [], "open": false})),
            _ => problem(401, "unauthorized", "a key is needed"),
        }
    };
    Fake::start(Router::new().fallback(guarded))
}

fn open() -> Router {
    Router::new()
        .route("/api/v1/info", get(|| async { answer(&json!({"version": "1", "open": true})) }))
        .route("/api/v1/endpoints", get(|| async { answer(&json!({"endpoints": []})) }))
        .route("/api/v1/jobs", get(|| async { answer(&json!({"jobs": [], "mark": "here"})) }))
}

#[test]
fn login_keeps_a_key_that_works() {
    let fake = locked();
    let sandbox = Sandbox::new();
    let done = sandbox.run_with(&["login", &fake.url, "--key-stdin"], "ry_good\n").exits(0);
    assert!(!(done.out + &done.err).contains("ry_good"), "a key is never printed");

    let file = sandbox.home().join(".config/runyard/credentials.toml");
    let text = std::fs::read_to_string(&file).expect("it is written");
    assert_eq!(text, format!("current = \"{0}\"\n\n[servers.\"{0}\"]\nkey = \"ry_good\"\n", fake.url));
    let mode = |path: &std::path::Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().expect("it has one")), 0o700);

    sandbox.run(&["jobs"]).exits(0);
    sandbox.run(&["jobs", "--url", &fake.url]).exits(0);
}

#[test]
fn a_stored_key_wins_over_the_one_for_runpod() {
    let fake = locked();
    let mut sandbox = Sandbox::new();
    sandbox.run(&["login", &fake.url, "--key", "ry_good"]).exits(0);
    sandbox.set("RUNPOD_API_KEY", "rpa_of_the_cloud");
    sandbox.run(&["jobs"]).exits(0);
    // An address given by hand comes with the environment's key.
    sandbox.run(&["jobs", "--url", &fake.url]).exits(4);
}

#[test]
fn login_keeps_no_key_that_does_not_work() {
    let fake = locked();
    let sandbox = Sandbox::new();
    sandbox.run_with(&["login", &fake.url, "--key-stdin"], "ry_bad\n").exits(4);
    let asked = sandbox.run(&["login", &fake.url]).exits(4);
    assert!(asked.err.contains("--key-stdin"), "{}", asked.err);
    assert!(!sandbox.home().join(".config").exists());
}

#[test]
fn login_to_an_open_server_needs_no_key() {
    let fake = Fake::start(open());
    let sandbox = Sandbox::new();
    sandbox.run(&["login", &fake.url]).exits(0);
    sandbox.run(&["jobs"]).exits(0);
    assert!(fake.asked().iter().all(|a| a.key.is_none()));
}

#[test]
fn a_data_directory_is_reached_through_its_socket() {
    let mut sandbox = Sandbox::new();
    let data = sandbox.home().join("data");
    let fake = Fake::on_data(open(), &data);
    sandbox.set("RUNYARD_API_KEY", "not-needed-there");
    let done = sandbox.run(&["jobs", "--json", "--data", data.to_str().expect("UTF-8")]).exits(0);
    assert!(done.out.contains("\"mark\": \"here\""), "{}", done.out);
    assert_eq!(fake.request("GET /api/v1/jobs").key, None);

    sandbox.set("RUNYARD_URL", &nobody());
    sandbox.run(&["jobs", "--data", data.to_str().expect("UTF-8")]).exits(0);
    sandbox.run(&["jobs", "--data", "/nowhere"]).exits(5);
}

#[test]
fn where_nothing_answers_the_last_data_directory_does() {
    let sandbox = Sandbox::new();
    let data = sandbox.home().join("data");
    let _fake = Fake::on_data(open(), &data);
    let write = |path: &str, text: String| {
        let path = sandbox.home().join(path);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        std::fs::write(path, text).expect("it is written");
    };
    write(".config/runyard/credentials.toml", format!("current = \"{}\"\n", nobody()));
    sandbox.run(&["jobs"]).exits(1);
    write(".local/state/runyard/last.json", json!({"data": data, "url": "http://127.0.0.1:1"}).to_string());
    assert!(sandbox.run(&["jobs", "--json"]).exits(0).out.contains("here"));
}
