//! `runyard logs -f`: lines as they come, across a restart of the server.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::Response;
use axum::routing::get;
use futures_util::StreamExt;
use serde_json::json;

use crate::fake::Fake;
use crate::sandbox::Sandbox;

fn record(at: i64, message: &str) -> Bytes {
    format!("{}\n", json!({"at": at, "seq": at, "worker": "w1", "source": "stdout", "message": message}))
        .into()
}

/// Lines, and then the end of the stream or its silence.
fn stream(lines: Vec<Bytes>, ends: bool) -> Response {
    let lines = futures_util::stream::iter(lines.into_iter().map(Ok::<_, std::io::Error>));
    let body = if ends {
        Body::from_stream(lines)
    } else {
        Body::from_stream(lines.chain(futures_util::stream::pending()))
    };
    Response::new(body)
}

#[test]
fn following_goes_on_after_a_restart_without_repeating() {
    let times = Arc::new(AtomicUsize::new(0));
    let fake = Fake::start(Router::new().route(
        "/api/v1/logs",
        get(move || {
            let first = times.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                if first {
                    stream(vec![record(1_000, "one"), record(2_000, "two")], true)
                } else {
                    stream(vec![record(2_000, "two"), record(2_000, "three")], false)
                }
            }
        }),
    ));
    let sandbox = Sandbox::with(&fake.url);
    let mut command = sandbox.command(&["logs", "t2i", "-f"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary runs");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let got: Vec<String> = lines.take(3).map(|l| l.expect("a line")).collect();
    child.kill().expect("it runs on");
    child.wait().expect("it ends");
    let ends = |line: &str, word: &str| assert!(line.ends_with(word), "{line}");
    ends(&got[0], " one");
    ends(&got[1], " two");
    ends(&got[2], " three");
    fake.request("GET /api/v1/logs?endpoint=t2i&since=2000&limit=200&follow=true");
}
