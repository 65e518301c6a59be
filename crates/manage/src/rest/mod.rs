//! RunPod's REST v2 (`/v2/serverless`, `/v2/templates`, …) over the same engine, fleet and deploys that `/api/v1`
//! uses. The words of that wire stop here: each file reads one kind of body, calls what both APIs share, and shows the
//! record in that wire's shape. Codes and shapes are those of the specification that `tests/rest` checks them with.

pub(crate) mod billing;
pub(crate) mod build;
pub(crate) mod catalog;
mod config;
mod endpoints;
mod limits;
mod pods;
pub(crate) mod reader;
mod registries;
mod shape;
pub(crate) mod ssh_keys;
pub(crate) mod templates;
mod used;
pub(crate) mod volumes;

pub(crate) use endpoints::Shown;

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::routing::{MethodRouter, delete, get, post};
use axum::{Router, middleware};
use runyard_domain::{Resource, Timestamp};

use crate::Manage;
use crate::local::LocalImage;

/// What REST v2 says of this machine, and what it allows.
#[derive(Debug, Clone)]
pub struct Options {
    /// Images that are run as local commands, by name.
    pub images: BTreeMap<String, LocalImage>,
    /// Where network volumes lie, one folder each.
    pub volumes: PathBuf,
    /// What this machine is called as a data centre.
    pub data_center: String,
    /// What an hour of a GPU costs, where a price is configured.
    pub gpu_hour: Option<f64>,
    /// The same of types of GPUs, by their names.
    pub gpu_prices: BTreeMap<String, f64>,
    /// What an hour of a processor costs, where a price is configured.
    pub vcpu_hour: Option<f64>,
    /// The newest CUDA of the GPUs' driver, where it is known.
    pub cuda: Option<(u32, u32)>,
    /// How many calls one key has in a minute, and in an hour.
    pub rate: (u32, u32),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            images: BTreeMap::new(),
            volumes: PathBuf::new(),
            data_center: "LOCAL-1".to_owned(),
            gpu_hour: None,
            gpu_prices: BTreeMap::new(),
            vcpu_hour: None,
            cuda: None,
            rate: (3_000, 100_000),
        }
    }
}

impl Options {
    /// What an hour of a GPU of this type costs, where a price is configured.
    pub(crate) fn price_of_gpu(&self, name: &str) -> Option<f64> {
        let short = |name: &str| name.strip_prefix("NVIDIA ").unwrap_or(name).to_ascii_lowercase();
        let of_type = self.gpu_prices.iter().find(|(known, _)| short(known) == short(name));
        of_type.map(|(_, price)| *price).or(self.gpu_hour)
    }
}

/// What REST v2 keeps while the server runs.
pub(crate) struct State {
    pub(crate) options: Options,
    meter: limits::Meter,
    used: used::Gauge,
    /// Held while something is looked for and changed: one write after the other.
    turn: tokio::sync::Mutex<()>,
    /// Rings when an endpoint may need a release.
    behind: tokio::sync::Notify,
}

impl State {
    pub(crate) fn new(options: Options) -> Self {
        let meter = limits::Meter::new(options.rate);
        Self {
            options,
            meter,
            used: used::Gauge::default(),
            turn: tokio::sync::Mutex::default(),
            behind: tokio::sync::Notify::default(),
        }
    }
}

/// The paths of REST v2, for tests that go over all of them.
pub(crate) fn paths() -> Vec<&'static str> {
    table().into_iter().map(|(path, _)| path).collect()
}

/// Its routes.
pub(crate) fn routes(manage: &Manage) -> Router {
    let routes =
        table().into_iter().fold(Router::new(), |routes, (path, answers)| routes.route(path, answers));
    routes
        .method_not_allowed_fallback(crate::problem::wrong_method)
        .route_layer(middleware::from_fn_with_state(manage.clone(), crate::audit::record))
        .route_layer(middleware::from_fn_with_state(manage.clone(), limits::enter))
        .layer(middleware::map_response(shape::of_dialect))
        .with_state(manage.clone())
}

fn table() -> Vec<(&'static str, MethodRouter<Manage>)> {
    vec![
        ("/v2/account/ssh-keys", get(ssh_keys::list).put(ssh_keys::replace)),
        ("/v2/serverless", get(endpoints::list).post(endpoints::create::create)),
        (
            "/v2/serverless/{ep}",
            get(endpoints::show).patch(endpoints::change::change).delete(endpoints::remove),
        ),
        ("/v2/serverless/{ep}/workers", get(endpoints::workers::list)),
        ("/v2/serverless/{ep}/releases", get(endpoints::releases::list)),
        ("/v2/serverless/{ep}/workers/{workerId}/logs", get(endpoints::logs::stream)),
        ("/v2/templates", get(templates::list).post(templates::create)),
        ("/v2/templates/{id}", get(templates::show).patch(templates::change).delete(templates::remove)),
        ("/v2/network-volumes", get(volumes::list).post(volumes::create)),
        ("/v2/network-volumes/{id}", get(volumes::show).patch(volumes::change).delete(volumes::remove)),
        ("/v2/registries", get(registries::list).post(registries::create)),
        ("/v2/registries/{id}", get(registries::show).delete(registries::remove)),
        ("/v2/registries/delegations", get(registries::delegations).post(registries::delegate)),
        ("/v2/registries/delegations/{id}", delete(registries::revoke)),
        ("/v2/catalog/gpus", get(catalog::gpus::list)),
        ("/v2/catalog/gpus/{id}", get(catalog::gpus::show)),
        ("/v2/catalog/cpus", get(catalog::cpus::list)),
        ("/v2/catalog/cpus/{id}", get(catalog::cpus::show)),
        ("/v2/catalog/datacenters", get(catalog::centers::list)),
        ("/v2/catalog/datacenters/{id}", get(catalog::centers::show)),
        ("/v2/catalog/templates", get(templates::public)),
        ("/v2/billing", get(billing::all)),
        ("/v2/billing/pods", get(billing::pods)),
        ("/v2/billing/serverless", get(billing::serverless)),
        ("/v2/billing/endpoints", get(billing::endpoints)),
        ("/v2/billing/network-volumes", get(billing::volumes)),
        ("/v2/pods", get(pods::list).post(pods::create)),
        ("/v2/pods/{id}", get(pods::show).patch(pods::show).delete(pods::show)),
        ("/v2/pods/{id}/action", post(pods::show)),
        ("/v2/pods/{id}/logs", get(pods::show)),
    ]
}

/// What each of the calls with a body makes of a text: nothing, or why it is refused. For the fuzz targets.
pub(crate) fn refusals(text: &[u8]) -> Vec<crate::Problem> {
    let answers = [
        reader::read(text, |body| Some(endpoints::body::Body::read(body, true))).map(drop),
        reader::read(text, |body| Some(endpoints::body::Body::read(body, false))).map(drop),
        reader::read(text, |body| Some(templates::Body::read(body))).map(drop),
        reader::read(text, pods::read),
        config::command_of(&String::from_utf8_lossy(text)).map(drop),
    ];
    answers.into_iter().filter_map(Result::err).collect()
}

/// Where a record stands in a list of its kind: the oldest first.
fn place(resource: &Resource) -> (i64, String) {
    (resource.created_at.0, resource.id.to_string())
}

/// A time as this wire has it: RFC 3339.
fn time(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).unwrap_or_default().to_string()
}
