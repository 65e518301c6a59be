//! The management API `/api/v1` (reference: `docs/api.md`): endpoints, releases, jobs, workers, logs, keys.
//! A handler extracts, gets a `Caller`, calls one function of the engine or the fleet, and maps the reply.

mod auth;
mod bundles;
mod deploy;
mod endpoints;
mod info;
mod jobs;
mod keys;
mod logs;
#[doc(hidden)]
pub mod probe;
mod problem;
mod stream;
mod views;
mod webhooks;
mod why;
mod workers;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post, put};
use runyard_build::environment::Confine;
use runyard_domain::EndpointId;
use runyard_engine::Engine;
use runyard_fleet::Fleet;

pub use deploy::fail_interrupted;
pub use info::{ConfigValue, Info};
pub use problem::{Problem, nothing_there};

/// The largest bundle, packed, in bytes.
pub const MAX_BUNDLE: usize = 512 * 1024 * 1024;

/// How the API is made.
pub struct Options {
    /// Jobs and records.
    pub engine: Engine,
    /// Workers and releases.
    pub fleet: Fleet,
    /// Unpacked bundles.
    pub bundles: PathBuf,
    /// Python environments.
    pub envs: PathBuf,
    /// Tools the server installed for itself.
    pub tools: PathBuf,
    /// What holds installers; nothing does without.
    pub confine: Option<Confine>,
    /// Logs.
    pub logs: PathBuf,
    /// What the server says of itself.
    pub info: Info,
}

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) fleet: Fleet,
    pub(crate) bundles: PathBuf,
    pub(crate) envs: PathBuf,
    pub(crate) tools: PathBuf,
    pub(crate) confine: Option<Confine>,
    pub(crate) logs: PathBuf,
    pub(crate) info: Info,
    pub(crate) deploying: Mutex<HashSet<EndpointId>>,
}

/// The API's state. Cheap to clone.
#[derive(Clone)]
pub struct Manage {
    pub(crate) inner: Arc<Inner>,
}

impl Manage {
    /// The API over these parts.
    pub fn new(options: Options) -> Self {
        let Options { engine, fleet, bundles, envs, tools, confine, logs, info } = options;
        let deploying = Mutex::default();
        let inner = Inner { engine, fleet, bundles, envs, tools, confine, logs, info, deploying };
        Self { inner: Arc::new(inner) }
    }

    /// Its routes.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/api/v1/info", get(info::show))
            .route("/api/v1/config", get(info::config))
            .route("/api/v1/endpoints", get(endpoints::list).post(endpoints::create))
            .route(
                "/api/v1/endpoints/{ep}",
                get(endpoints::show).patch(endpoints::change).delete(endpoints::remove),
            )
            .route("/api/v1/endpoints/{ep}/why", get(why::endpoint))
            .route("/api/v1/endpoints/{ep}/purge", post(endpoints::purge))
            .route("/api/v1/endpoints/{ep}/restart", post(endpoints::restart))
            .route("/api/v1/endpoints/{ep}/releases", get(deploy::list).post(deploy::create))
            .route("/api/v1/endpoints/{ep}/rollback", post(deploy::rollback))
            .route(
                "/api/v1/bundles/{sha}",
                put(bundles::upload).get(bundles::exists).layer(DefaultBodyLimit::max(MAX_BUNDLE)),
            )
            .route("/api/v1/workers", get(workers::list))
            .route("/api/v1/jobs", get(jobs::list))
            .route("/api/v1/jobs/{id}", get(jobs::show))
            .route("/api/v1/jobs/{id}/why", get(why::job))
            .route("/api/v1/jobs/{id}/cancel", post(jobs::cancel))
            .route("/api/v1/jobs/{id}/retry", post(jobs::retry))
            .route("/api/v1/webhooks/secret", get(webhooks::secret))
            .route("/api/v1/logs", get(logs::read))
            .route("/api/v1/keys", get(keys::list).post(keys::create))
            .route("/api/v1/keys/{id}", axum::routing::delete(keys::revoke))
            .route("/api/v1/{*rest}", axum::routing::any(problem::no_such_call))
            .method_not_allowed_fallback(problem::wrong_method)
            .with_state(self.clone())
    }
}
