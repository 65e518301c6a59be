//! The management API `/api/v1` (reference: `docs/api.md`): endpoints, releases, jobs, workers, logs, secrets, keys.
//! A handler extracts, gets a `Caller`, calls one function of the engine or the fleet, and maps the reply.

mod audit;
mod auth;
mod bundles;
mod container;
mod deploy;
mod disk;
mod endpoints;
mod entries;
mod events;
mod examples;
mod failures;
mod fields;
mod git;
mod gpus;
#[cfg(feature = "docker")]
mod images;
mod info;
mod jobs;
mod keys;
mod local;
mod logs;
mod members;
mod metrics;
pub mod openapi;
mod page;
mod patience;
mod plan;
#[doc(hidden)]
pub mod probe;
mod problem;
mod registries;
mod releases;
mod rest;
mod secrets;
mod sessions;
mod sign_in;
mod stream;
mod timeline;
mod try_login;
mod version;
mod views;
mod webhooks;
mod why;
mod workers;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::routing::{MethodRouter, any, get, post, put};
use axum::{Router, middleware};
use runyard_build::environment::Confine;
use runyard_domain::EndpointId;
use runyard_engine::Engine;
use runyard_fleet::Fleet;
use runyard_webhooks::Reach;

pub use audit::Peer;
pub use container::Containers;
pub use deploy::{asked_of, fail_interrupted};
pub use disk::{DiskAccount, DiskItem, DiskKeeper};
pub use git::Follower;
pub use info::{ConfigValue, Info};
pub use local::LocalImage;
pub use problem::{Problem, nothing_there, wrong_method};
pub use rest::Options as RestOptions;
pub use rest::build::Builder;
pub use sign_in::{Oidc, SignInOptions};

/// Where commands are run beside workers.
const EXEC: &str = "/api/v1/workers/{worker}/exec";

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
    /// What holds installers and Git; nothing does without.
    pub confine: Option<Confine>,
    /// Logs.
    pub logs: PathBuf,
    /// Repositories that are pushed here, and what is fetched of others for a while.
    pub git: PathBuf,
    /// Which addresses repositories may be read from.
    pub git_reach: Reach,
    /// Containers.
    pub containers: Containers,
    /// What the server says of itself.
    pub info: Info,
    /// Who keeps house over the data directory.
    pub disk: Arc<dyn DiskKeeper>,
    /// Folders with entries of the catalogue, beside those that come with the binary.
    pub catalogue: Vec<PathBuf>,
    /// What REST v2 says and allows.
    pub rest: RestOptions,
    /// How people sign in.
    pub sign_in: SignInOptions,
}

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) fleet: Fleet,
    pub(crate) bundles: PathBuf,
    pub(crate) envs: PathBuf,
    pub(crate) tools: PathBuf,
    pub(crate) confine: Option<Confine>,
    pub(crate) logs: PathBuf,
    #[cfg(feature = "docker")]
    pub(crate) containers: Containers,
    #[cfg(feature = "docker")]
    pub(crate) container_engine: tokio::sync::Mutex<Option<runyard_runtime::docker::Engine>>,
    pub(crate) info: Info,
    pub(crate) disk: Arc<dyn DiskKeeper>,
    pub(crate) deploying: Mutex<HashSet<EndpointId>>,
    pub(crate) git: git::Git,
    pub(crate) catalogue: Vec<PathBuf>,
    pub(crate) rest: rest::State,
    pub(crate) sign_in: sign_in::SignIn,
    /// One change of members after the other.
    pub(crate) member_turn: tokio::sync::Mutex<()>,
    /// Turns of those who search logs.
    pub(crate) searches: tokio::sync::Semaphore,
    /// One change of secrets after the other.
    pub(crate) secret_turn: tokio::sync::Mutex<()>,
    /// One change of keys and logins after the other.
    pub(crate) record_turn: tokio::sync::Mutex<()>,
}

/// The API's state. Cheap to clone.
#[derive(Clone)]
pub struct Manage {
    pub(crate) inner: Arc<Inner>,
}

impl Manage {
    /// The API over these parts.
    pub fn new(options: Options) -> Self {
        let Options {
            engine,
            fleet,
            bundles,
            envs,
            tools,
            confine,
            logs,
            git,
            git_reach,
            containers,
            info,
            disk,
            catalogue,
            rest,
            sign_in,
        } = options;
        #[cfg(not(feature = "docker"))]
        drop(containers);
        let keeper = confine.as_ref().map(Confine::keeper);
        let inner = Inner {
            engine,
            fleet,
            bundles,
            envs,
            tools,
            confine,
            logs,
            #[cfg(feature = "docker")]
            containers,
            #[cfg(feature = "docker")]
            container_engine: tokio::sync::Mutex::default(),
            info,
            disk,
            deploying: Mutex::default(),
            git: git::Git::new(git, git_reach, keeper),
            catalogue,
            rest: rest::State::new(rest),
            sign_in: sign_in::SignIn::new(sign_in),
            member_turn: tokio::sync::Mutex::default(),
            searches: tokio::sync::Semaphore::new(logs::SEARCHES),
            secret_turn: tokio::sync::Mutex::default(),
            record_turn: tokio::sync::Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The routes of forges, Git clients and editors, which bring no keys in headers.
    pub fn doors(&self) -> Router {
        Router::new()
            .route(git::HOOK, post(git::hook::receive))
            .route(git::PUSH, any(git::push::serve))
            .route(plan::SCHEMA, get(plan::schema))
            .route(openapi::PATH, get(openapi::show))
            .with_state(self.clone())
            .merge(sign_in::routes(self))
    }

    /// The routes whose bodies go on for as long as somebody works: what bounds other bodies does not bound theirs.
    pub fn sessions(&self) -> Router {
        Router::new()
            .route(EXEC, post(sessions::exec))
            .method_not_allowed_fallback(wrong_method)
            .layer(middleware::from_fn_with_state(self.clone(), audit::record))
            .layer(middleware::from_fn_with_state(self.clone(), sign_in::from_cookie))
            .layer(middleware::map_response(problem::in_shape))
            .with_state(self.clone())
    }

    /// The routes of another API, whose changes are in the same audit log.
    pub fn recorded(&self, routes: Router) -> Router {
        routes
            .layer(middleware::from_fn_with_state(self.clone(), audit::record))
            .layer(middleware::from_fn_with_state(self.clone(), sign_in::from_cookie))
    }

    /// Its routes.
    pub fn routes(&self) -> Router {
        let routes =
            table().into_iter().fold(Router::new(), |routes, (path, answers)| routes.route(path, answers));
        routes
            .method_not_allowed_fallback(wrong_method)
            .layer(middleware::from_fn_with_state(self.clone(), audit::record))
            .layer(middleware::from_fn_with_state(self.clone(), sign_in::from_cookie))
            .layer(middleware::map_response(problem::in_shape))
            .with_state(self.clone())
    }

    /// The routes of REST v2.
    pub fn rest_routes(&self) -> Router {
        rest::routes(self)
    }

    /// What makes releases of endpoints that REST v2 described.
    pub fn builder(&self) -> Builder {
        Builder(self.clone())
    }
}

/// The paths of REST v2, for tests that go over all of them.
pub fn rest_paths() -> Vec<&'static str> {
    rest::paths()
}

/// The paths that are opened by something else than a key in a header, or by nothing: messages of forges, Git clients,
/// the schema of a file, the document of this API.
pub fn doors() -> Vec<&'static str> {
    [git::HOOK, git::PUSH, plan::SCHEMA, openapi::PATH].into_iter().chain(sign_in::PATHS).collect()
}

/// The paths of the management API, for tests that go over all of them.
pub fn paths() -> Vec<&'static str> {
    table().into_iter().map(|(path, _)| path).chain([EXEC]).collect()
}

/// Every path and what answers there.
fn table() -> Vec<(&'static str, MethodRouter<Manage>)> {
    vec![
        ("/api/v1/info", get(info::show)),
        ("/api/v1/config", get(info::config)),
        ("/api/v1/endpoints", get(endpoints::list).post(endpoints::create)),
        (
            "/api/v1/endpoints/{ep}",
            get(endpoints::show).patch(endpoints::change::change).delete(endpoints::remove),
        ),
        ("/api/v1/endpoints/{ep}/why", get(why::endpoint)),
        ("/api/v1/endpoints/{ep}/failures", get(failures::list)),
        ("/api/v1/endpoints/{ep}/purge", post(endpoints::purge)),
        ("/api/v1/endpoints/{ep}/restart", post(endpoints::restart)),
        ("/api/v1/endpoints/{ep}/plan", post(plan::plan)),
        ("/api/v1/endpoints/{ep}/apply", post(plan::apply)),
        ("/api/v1/endpoints/{ep}/releases", get(releases::list).post(deploy::create)),
        ("/api/v1/endpoints/{ep}/rollback", post(releases::rollback)),
        ("/api/v1/endpoints/{ep}/promote", post(releases::promote)),
        ("/api/v1/endpoints/{ep}/diff", get(releases::diff)),
        (
            "/api/v1/endpoints/{ep}/git",
            get(git::connections::show).post(git::connections::connect).delete(git::connections::disconnect),
        ),
        ("/api/v1/endpoints/{ep}/git/sync", post(git::connections::sync)),
        ("/api/v1/git", get(git::connections::list)),
        ("/api/v1/endpoints/{ep}/examples", get(examples::list)),
        (
            "/api/v1/endpoints/{ep}/examples/{name}",
            get(examples::show).put(examples::save).delete(examples::remove),
        ),
        ("/api/v1/bundles/{sha}", put(bundles::upload).get(bundles::exists)),
        ("/api/v1/disk", get(disk::show)),
        ("/api/v1/disk/prune", post(disk::prune)),
        ("/api/v1/gpus", get(gpus::list)),
        ("/api/v1/workers", get(workers::list)),
        ("/api/v1/workers/stats", get(sessions::stats)),
        ("/api/v1/workers/{worker}/stop", post(workers::stop)),
        ("/api/v1/jobs", get(jobs::list)),
        ("/api/v1/jobs/{id}", get(jobs::show)),
        ("/api/v1/jobs/{id}/why", get(why::job)),
        ("/api/v1/jobs/{id}/timeline", get(timeline::job)),
        ("/api/v1/jobs/{id}/stream", get(jobs::stream)),
        ("/api/v1/jobs/{id}/cancel", post(jobs::cancel)),
        ("/api/v1/jobs/{id}/retry", post(jobs::retry)),
        ("/api/v1/jobs/{id}/token", post(jobs::token)),
        ("/api/v1/jobs/{id}/webhooks", get(webhooks::list)),
        ("/api/v1/jobs/{id}/webhooks/redeliver", post(webhooks::redeliver)),
        ("/api/v1/webhooks/secret", get(webhooks::secret)),
        ("/api/v1/webhooks/secret/rotate", post(webhooks::rotate)),
        ("/api/v1/logs", get(logs::read)),
        ("/api/v1/logs/counts", get(logs::counts::read)),
        ("/api/v1/metrics", get(metrics::read)),
        ("/api/v1/metrics/each", get(metrics::each::read)),
        ("/api/v1/endpoints/{ep}/env", post(endpoints::change::variables)),
        ("/api/v1/secrets", get(secrets::list)),
        ("/api/v1/secrets/rotate-key", post(secrets::rotate_key)),
        ("/api/v1/secrets/{name}", get(secrets::show).put(secrets::set).delete(secrets::delete)),
        ("/api/v1/audit", get(audit::list)),
        ("/api/v1/me", get(members::me)),
        ("/api/v1/members", get(members::list).post(members::add)),
        ("/api/v1/members/{member}", get(members::show).patch(members::change).delete(members::remove)),
        ("/api/v1/keys", get(keys::list).post(keys::create)),
        ("/api/v1/keys/{id}", get(keys::show).patch(keys::change).delete(keys::revoke)),
        ("/api/v1/registries", get(registries::list).post(registries::add)),
        ("/api/v1/registries/{name}", get(registries::show).delete(registries::remove)),
        ("/api/v1/events", get(events::watch)),
        ("/api/v1/templates", get(rest::templates::page).post(rest::templates::create)),
        (
            "/api/v1/templates/{id}",
            get(rest::templates::show).patch(rest::templates::change).delete(rest::templates::remove),
        ),
        ("/api/v1/volumes", get(rest::volumes::page).post(rest::volumes::create)),
        (
            "/api/v1/volumes/{id}",
            get(rest::volumes::show_used).patch(rest::volumes::change).delete(rest::volumes::remove),
        ),
        ("/api/v1/ssh-keys", get(rest::ssh_keys::list).put(rest::ssh_keys::replace)),
        ("/api/v1/catalog/gpus", get(rest::catalog::gpus::list)),
        ("/api/v1/catalog/gpus/{id}", get(rest::catalog::gpus::show)),
        ("/api/v1/catalog/cpus", get(rest::catalog::cpus::list)),
        ("/api/v1/catalog/cpus/{id}", get(rest::catalog::cpus::show)),
        ("/api/v1/catalog/datacenters", get(rest::catalog::centers::list)),
        ("/api/v1/catalog/datacenters/{id}", get(rest::catalog::centers::show)),
        ("/api/v1/catalog/entries", get(entries::list)),
        ("/api/v1/catalog/entries/{entry}", get(entries::show)),
        ("/api/v1/catalog/entries/{entry}/deploy", post(entries::deploy)),
        ("/api/v1/billing", get(rest::billing::all)),
        ("/api/v1/billing/serverless", get(rest::billing::serverless)),
        ("/api/v1/billing/volumes", get(rest::billing::volumes)),
        ("/api/v1/{*rest}", any(problem::no_such_call)),
    ]
}
