//! The OpenAPI document of this API: made from the table of its operations in [`calls`] and the objects in [`objects`].
//! A test holds that the table and the routers have the same calls, that a body's schema names what its handler reads,
//! and that answers are as their schemas say; so a call without a row here does not pass.

mod calls;
mod objects;
mod operation;
mod settings;
mod shape;

use axum::Json;
use axum::extract::State;
use runyard_domain::Settings;
use serde_json::{Map, Value, json};

use crate::Manage;

pub use operation::{Door, Operation};

/// Where the document lies.
pub(crate) const PATH: &str = "/api/v1/openapi.json";
const CALL: &str = "GET /api/v1/openapi.json";

/// What the calls are about, in words, in the order of the document.
const TAGS: [(&str, &str); 9] = [
    ("endpoints", "Endpoints, their settings and releases"),
    ("plans", "Plans: what a file asks of an endpoint"),
    ("git", "Endpoints that follow a repository"),
    ("jobs", "Jobs, and the webhooks that tell of their ends"),
    ("workers", "Workers and what they print"),
    ("resources", "What endpoints share: templates, network volumes, SSH keys"),
    ("catalogue", "What this machine has, what it costs, and what was used"),
    ("access", "Keys, secrets, registry logins, and who changed what"),
    ("server", "The server itself"),
];

/// Every operation, with its tag.
pub fn operations() -> Vec<(&'static str, Operation)> {
    calls::all()
}

/// The names of endpoints' settings: those of the document, and those that there are.
pub fn setting_names() -> (Vec<String>, Vec<String>) {
    let names =
        |object: &Value| object.as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default();
    let there = serde_json::to_value(Settings::default()).unwrap_or_default();
    (names(&settings::answer()["properties"]), names(&there))
}

/// The document. `url`: where the server is reached, where that is known.
pub fn document(url: Option<&str>) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for (tag, operation) in operations() {
        let of_path = paths.entry(operation.path).or_insert_with(|| json!({}));
        of_path[operation.method.to_ascii_lowercase()] = operation.document(tag);
    }
    let tags: Vec<Value> =
        TAGS.iter().map(|(name, words)| json!({"name": name, "description": words})).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "runyard",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The management API. Times are milliseconds since the Unix epoch and end in `At`; durations \
                            end in `Ms`. Errors are problem documents (RFC 9457) with a stable `code`.",
        },
        "servers": [{"url": url.unwrap_or("http://127.0.0.1:8080")}],
        "tags": tags,
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "a key of this server"}},
            "schemas": objects::all(),
        },
    })
}

/// The document of this server; whoever asks gets it, without a key.
pub(crate) async fn show(State(manage): State<Manage>) -> Json<Value> {
    let url = manage.inner.info.url.as_str();
    Json(document(Some(url).filter(|url| !url.is_empty())))
}
