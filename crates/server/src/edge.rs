//! What stands around every route: request ids, and who comes over the data directory's socket. That socket can
//! be reached by workers of the same user, so being there proves nothing: the agent and the owner show a key
//! that only they can read.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use axum::body::HttpBody as _;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use runyard_domain::{Access, KeyId, KeyRecord, Rates};
use runyard_engine::Engine;
use runyard_gateway::{Failed, Gateway};
use runyard_manage::Problem;
use runyard_runtime::Paths;
use runyard_runtime::wire::KEY_HEADER;

use crate::ServerError;

/// What it takes to know the agent.
#[derive(Clone)]
pub struct AgentGate {
    /// For the caller that the agent becomes.
    pub engine: Engine,
    /// Where the agent wrote its key.
    pub key_file: PathBuf,
}

/// Puts `x-request-id` on answers that have none yet: the routes outside the job API.
pub async fn with_request_id(State(engine): State<Engine>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if !response.headers().contains_key("x-request-id")
        && let Ok(id) = HeaderValue::from_str(&engine.env().uuid())
    {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

/// Keeps the bodies of the management API within the pace and the budget of the job API's.
pub async fn watch_body(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let (body, watched) = gateway.watch_body(body);
    let response = next.run(Request::from_parts(parts, body)).await;
    match watched.failed() {
        Some(Failed::Slow) => Problem::body_timeout().into_response(),
        Some(Failed::NoRoom) => Problem::overloaded().into_response(),
        None => response,
    }
}

/// Lets the agent's own calls in.
pub async fn admit_agent(State(gate): State<AgentGate>, mut request: Request, next: Next) -> Response {
    let own_call = request.uri().path().starts_with("/agent/");
    if own_call && let Some(shown) = request.headers().get(KEY_HEADER) {
        let key = std::fs::read_to_string(&gate.key_file).unwrap_or_default();
        if !key.trim().is_empty() && shown.as_bytes() == key.trim().as_bytes() {
            request.extensions_mut().insert(gate.engine.vault().local_caller());
        }
    }
    next.run(request).await
}

/// Writes a key that lives as long as this server, for the owner's command line.
pub fn write_owner_key(engine: &Engine, paths: &Paths) -> Result<(), ServerError> {
    let key = engine.env().token(40);
    let vault = engine.vault();
    vault.learn(KeyRecord {
        id: KeyId::new(runyard_vault::OWNER),
        name: "the owner of the data directory".to_owned(),
        hash: runyard_vault::hash(&key),
        access: Access::Admin,
        endpoints: Vec::new(),
        created_at: engine.now(),
        expires_at: None,
        revoked_at: None,
        rates: Rates::default(),
        grants: std::collections::BTreeMap::new(),
        disabled_at: None,
        used_at: None,
        page: None,
        member: None,
        session: None,
    });
    let path = paths.owner_key();
    let fail = |source| ServerError::File { operation: "write", path: path.clone(), source };
    let _ = std::fs::remove_file(&path);
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(fail)?;
    std::io::Write::write_all(&mut file, key.as_bytes()).map_err(fail)
}
