//! What the server says of itself.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};

use crate::auth::Auth;
use crate::{Manage, Problem};

/// One configuration value and where it came from.
#[derive(Debug, Clone, Serialize)]
pub struct ConfigValue {
    /// Its key in `server.toml`.
    pub key: String,
    /// The value in force.
    pub value: String,
    /// `default`, `file`, `environment` or `flag`.
    pub source: &'static str,
}

/// What does not change while the server runs.
#[derive(Debug, Clone)]
pub struct Info {
    /// The data directory.
    pub data: String,
    /// The address it listens on.
    pub listen: String,
    /// The base URL users call.
    pub url: String,
    /// What keeps workers away from the data directory.
    pub boundary: String,
    /// The configuration in force.
    pub config: Vec<ConfigValue>,
    /// When it started, in milliseconds since the Unix epoch.
    pub started_at: i64,
    /// Whether the job API needs no key.
    pub open: bool,
    /// Whether the data directory is only looked at, without workers.
    pub offline: bool,
}

pub(crate) async fn show(State(manage): State<Manage>, _auth: Auth) -> Json<Value> {
    let info = &manage.inner.info;
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "data": info.data,
        "listen": info.listen,
        "url": info.url,
        "open": info.open,
        "offline": info.offline,
        "draining": manage.inner.engine.is_draining(),
        "boundary": info.boundary,
        "gpus": manage.inner.fleet.gpus().len(),
        "disk": disk(&manage),
        "startedAt": info.started_at,
    }))
}

/// Whether new jobs are refused for want of room, and what is free and kept, in bytes.
fn disk(manage: &Manage) -> Value {
    let engine = &manage.inner.engine;
    let room = engine.room();
    json!({
        "full": engine.is_disk_full(),
        "freeBytes": room.map(|room| room.free),
        "reserveBytes": room.map(|room| room.wanted),
        "reserveLeftBytes": room.map(|room| room.kept),
    })
}

pub(crate) async fn config(State(manage): State<Manage>, auth: Auth) -> Result<Json<Value>, Problem> {
    auth.0.may(runyard_domain::Access::Admin, None)?;
    Ok(Json(json!({"values": manage.inner.info.config})))
}
