//! What the operator of a server calls: whether it lives and is ready, which need no key and tell nothing secret, its
//! own examination, backups, and what Prometheus reads. Everything else about running it is in `sweep` and in the command line.

mod backup;
mod doctor;
mod health;
mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use axum::routing::{MethodRouter, get, post};
use runyard_domain::Access;
use runyard_engine::Engine;
use runyard_listener::{OpenFiles, Tls};
use runyard_manage::{Problem, wrong_method};
use runyard_runtime::{Paths, Runtime};
use runyard_store::Blobs;
use runyard_vault::{Caller, Denied};
use tokio::sync::Mutex;

use crate::config::Config;
pub use crate::telemetry::Latest;

/// What the operator's calls look at.
#[derive(Clone)]
pub struct Operator {
    pub(crate) inner: Arc<Options>,
    /// Held while a backup is made.
    backing_up: Arc<Mutex<()>>,
}

/// The same, to be put together.
pub struct Options {
    /// Jobs and records.
    pub engine: Engine,
    /// Workers.
    pub runtime: Arc<dyn Runtime>,
    /// The data directory.
    pub paths: Paths,
    /// Its payload files.
    pub blobs: Blobs,
    /// The configuration in force.
    pub config: Config,
    /// The certificate of the listener.
    pub tls: Option<Tls>,
    /// Where the server listens; `None`: it does not.
    pub address: Option<SocketAddr>,
    /// Files that this process may have open.
    pub files: OpenFiles,
    /// What was measured last.
    pub latest: Latest,
}

impl Operator {
    /// The calls over these parts.
    pub fn new(options: Options) -> Self {
        Self { inner: Arc::new(options), backing_up: Arc::default() }
    }

    /// Their routes.
    pub fn routes(&self) -> Router {
        let table = table().into_iter();
        table
            .fold(Router::new(), |routes, (path, answers)| routes.route(path, answers))
            .method_not_allowed_fallback(wrong_method)
            .with_state(self.clone())
    }
}

/// Their paths, for tests that go over all of them.
pub fn paths() -> Vec<&'static str> {
    table().into_iter().map(|(path, _)| path).collect()
}

fn table() -> Vec<(&'static str, MethodRouter<Operator>)> {
    vec![
        ("/healthz", get(health::alive)),
        ("/readyz", get(health::ready)),
        ("/metrics", get(metrics::show)),
        ("/api/v1/doctor", get(doctor::examine)),
        ("/api/v1/backup", post(backup::create)),
    ]
}

/// Whoever may do everything.
struct Admin;

impl FromRequestParts<Operator> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, operator: &Operator) -> Result<Self, Problem> {
        let caller = if let Some(caller) = parts.extensions.get::<Caller>() {
            caller.clone()
        } else {
            let value = parts.headers.get(header::AUTHORIZATION).ok_or(Denied::NoKey)?;
            let value = value.to_str().map_err(|_| Denied::UnknownKey)?;
            operator.inner.engine.vault().key_caller(value)?
        };
        caller.may(Access::Admin, None)?;
        Ok(Self)
    }
}
