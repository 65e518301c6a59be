//! A server from a script: an axum router on a free port or on a Unix socket, that remembers what it was asked.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use serde_json::Value;

/// One request that came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `GET /api/v1/jobs?limit=20`
    pub line: String,
    /// The `Authorization` header.
    pub key: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Asked {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

type Memory = Arc<(Mutex<Vec<Asked>>, Condvar)>;

/// The server; it ends with the value.
pub struct Fake {
    pub url: String,
    memory: Memory,
    _runtime: tokio::runtime::Runtime,
}

impl Fake {
    /// Serves `router` on a free port.
    pub fn start(router: Router) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (router, memory) = remembering(router);
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { url, memory, _runtime: runtime }
    }

    /// Serves `router` on the socket of the data directory `data`.
    pub fn on_data(router: Router, data: &Path) -> Self {
        let socket = runyard_runtime::Paths::new(data).server_socket();
        std::fs::create_dir_all(socket.parent().expect("it has one")).expect("a folder");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let (router, memory) = remembering(router);
        let guard = runtime.enter();
        let listener = tokio::net::UnixListener::bind(&socket).expect("a socket");
        drop(guard);
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { url: String::new(), memory, _runtime: runtime }
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.memory.0.lock().expect("no test panics with it").clone()
    }

    /// The first request whose line begins so; it must have come.
    pub fn request(&self, beginning: &str) -> Asked {
        let asked = self.asked();
        let found = asked.iter().find(|a| a.line.starts_with(beginning)).cloned();
        found.unwrap_or_else(|| panic!("nobody asked '{beginning}', only {:#?}", lines(&asked)))
    }

    /// Waits for a request whose line begins so.
    pub fn wait_for(&self, beginning: &str) {
        let came = |asked: &mut Vec<Asked>| !asked.iter().any(|a| a.line.starts_with(beginning));
        let asked = self.memory.0.lock().expect("no test panics with it");
        let (asked, late) =
            self.memory.1.wait_timeout_while(asked, Duration::from_secs(30), came).expect("nor here");
        assert!(!late.timed_out(), "nobody asked '{beginning}', only {:#?}", lines(&asked));
    }
}

fn lines(asked: &[Asked]) -> Vec<&str> {
    asked.iter().map(|a| a.line.as_str()).collect()
}

fn remembering(router: Router) -> (Router, Memory) {
    let memory: Memory = Arc::default();
    let notes = memory.clone();
    let router = router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let notes = notes.clone();
        async move {
            let request = note(&notes, request).await;
            next.run(request).await
        }
    }));
    (router, memory)
}

async fn note(memory: &Memory, request: Request) -> Request {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("the body comes whole");
    let key = parts.headers.get("authorization").map(|v| v.to_str().expect("ASCII").to_owned());
    let line = format!("{} {}", parts.method, parts.uri);
    memory.0.lock().expect("no test panics with it").push(Asked { line, key, body: body.to_vec() });
    memory.1.notify_all();
    Request::from_parts(parts, Body::from(body))
}

/// An answer with a JSON body.
pub fn json(body: &Value) -> Response {
    text(200, "application/json", body.to_string())
}

/// A refusal as RFC 9457 has it.
pub fn problem(status: u16, code: &str, detail: &str) -> Response {
    let body = serde_json::json!({"status": status, "code": code, "detail": detail, "requestId": "r-1"});
    text(status, "application/problem+json", body.to_string())
}

/// Lines of JSON, and then the end.
pub fn ndjson(lines: &[Value]) -> Response {
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    text(200, "application/x-ndjson", lines.join("\n") + "\n")
}

/// Any answer.
pub fn text(status: u16, content_type: &str, body: String) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(Body::from(body))
        .expect("a valid answer")
}
