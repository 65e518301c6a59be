//! Webhooks: what became of them, once more, and the secret.

use axum::Router;
use axum::routing::{get, post};
use serde_json::json;

use crate::fake::{Fake, json as answer};
use crate::sandbox::Sandbox;

const JOB: &str = "3f2c9a1e-0000-4000-8000-123456789abc-u1";

fn ago(seconds: i64) -> i64 {
    jiff::Timestamp::now().as_millisecond() - seconds * 1_000 - 500
}

fn router() -> Router {
    Router::new()
        .route("/api/v1/jobs/{id}/webhooks", get(|| async { answer(&json!({"webhooks": [
            {"id": "msg_a-1", "url": "https://h/x", "state": "given_up", "tried": 3, "nextAt": null, "endedAt": ago(90),
                "tries": [{"at": 0, "status": 500, "error": null, "ms": 3}]},
            {"id": "msg_a-2", "url": "https://h/x", "state": "pending", "tried": 1, "nextAt": ago(-100), "endedAt": null,
                "tries": [{"at": 0, "status": null, "error": "refused\u{1b}[2J", "ms": 3}]},
        ]})) }))
        .route("/api/v1/jobs/{id}/webhooks/redeliver", post(|| async { answer(&json!(
            {"id": "msg_a-2", "url": "https://h/x", "state": "pending", "tried": 0, "nextAt": 1, "tries": []})) }))
        .route("/api/v1/webhooks/secret", get(|| async { answer(&json!({"secret": "whsec_x", "replaced": null})) }))
        .route("/api/v1/webhooks/secret/rotate", post(|| async {
            answer(&json!({"secret": "whsec_y", "replaced": {"secret": "whsec_x", "endsAt": 86_400_000}}))
        }))
}

fn shown(arguments: &[&str]) -> String {
    let fake = Fake::start(router());
    let done = Sandbox::with(&fake.url).run(arguments).exits(0);
    done.out + &done.err
}

#[test]
fn webhooks_as_a_table() {
    insta::assert_snapshot!(shown(&["webhooks", "list", JOB]));
}

#[test]
fn the_help_of_webhooks() {
    insta::assert_snapshot!(shown(&["webhooks", "--help"]));
}

#[test]
fn a_webhook_is_delivered_again() {
    let fake = Fake::start(router());
    let sandbox = Sandbox::with(&fake.url);
    let done = sandbox.run(&["webhooks", "redeliver", JOB]).exits(0);
    assert_eq!(done.out, "msg_a-2  delivering again to https://h/x\n");
    let path = format!("POST /api/v1/jobs/{JOB}/webhooks/redeliver");
    assert_eq!(fake.request(&path).json(), json!({}));
    sandbox.run(&["webhooks", "redeliver", JOB, "--id", "msg_a-1"]).exits(0);
    assert_eq!(fake.asked().last().expect("it asked").json(), json!({"id": "msg_a-1"}));
}

#[test]
fn the_secret_is_alone_on_stdout_and_replaced_with_a_yes() {
    let fake = Fake::start(router());
    let sandbox = Sandbox::with(&fake.url);
    assert_eq!(sandbox.run(&["webhooks", "secret"]).exits(0).out, "whsec_x\n");
    sandbox.run(&["webhooks", "secret", "--rotate"]).exits(2);
    let done = sandbox.run(&["webhooks", "secret", "--rotate", "--yes"]).exits(0);
    assert_eq!(done.out, "whsec_y\n");
    assert!(done.err.contains("the one before it signs too, until 1970-01-02"), "{}", done.err);
}
