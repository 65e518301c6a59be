//! GPU types: the one that this machine has, real or fake.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde_json::{Value, json};

use super::types::{memory_of, pool_of};
use super::{Parameters, availability, check, level, values};
use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;
use crate::rest::reader::is_version;

const PRODUCTS: [&str; 3] = ["POD", "CLUSTER", "SERVERLESS"];

fn view(manage: &Manage, wanted: Option<u32>) -> Value {
    let (name, count) = (manage.inner.fleet.gpu_name(), manage.inner.fleet.gpus());
    let price = manage.inner.rest.options.gpu_hour;
    let upper = name.to_uppercase();
    let manufacturer = match () {
        () if pool_of(name).is_some() || upper.contains("NVIDIA") => "NVIDIA",
        () if upper.contains("AMD") || upper.contains("INSTINCT") => "AMD",
        () => "UNKNOWN",
    };
    let mut view = json!({
        "id": name,
        "name": name.strip_prefix("NVIDIA ").unwrap_or(name),
        "pool": pool_of(name),
        "manufacturer": manufacturer,
        "memory": memory_of(name),
        "secure": true,
        "community": false,
        "price": {"secure": price, "community": 0.0, "serverless": price},
        "maxCount": {"secure": count, "community": 0},
    });
    if let Some(wanted) = wanted {
        let level = level(wanted, manage.free_gpus(), count);
        view["availability"] = json!(level);
        view["dataCenters"] = manage.here(level);
        let cuda = manage.cuda();
        view["cudaVersions"] = cuda
            .map(|(major, minor)| json!({"version": format!("{major}.{minor}"), "available": true}))
            .into_iter()
            .collect();
    }
    view
}

/// What a query asks of types: how many GPUs availability is asked for, and whether this machine's is meant at all.
fn asked(manage: &Manage, query: &Parameters) -> Result<(Option<u32>, bool), Problem> {
    let wanted = availability(query, &PRODUCTS, "count", 1)?;
    let mut fits = true;
    for cloud in values(query, "cloud") {
        check(cloud, &["SECURE", "COMMUNITY"], "cloud")?;
        fits &= cloud == "SECURE";
    }
    for code in values(query, "countryCodes") {
        if code.len() != 2 || !code.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(Problem::invalid("countryCodes must be two capital letters each"));
        }
    }
    let own = manage.cuda();
    let mut any = None;
    for version in values(query, "cudaVersions") {
        if !is_version(version) {
            return Err(Problem::invalid("cudaVersions must be versions as 12.8"));
        }
        let same = own.is_none_or(|(major, minor)| format!("{major}.{minor}") == version);
        any = Some(any.unwrap_or(false) || same);
    }
    for version in values(query, "minCudaVersion") {
        let least = number(version)
            .ok_or_else(|| Problem::invalid("minCudaVersion must be a version as 12.8 or 12"))?;
        fits &= own.is_none_or(|own| own >= least);
    }
    Ok((wanted, fits && any.unwrap_or(true)))
}

fn number(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !plain(major) || !plain(minor) {
        return None;
    }
    Some((major.parse().unwrap_or(u32::MAX), minor.parse().unwrap_or(u32::MAX)))
}

impl Manage {
    /// The newest CUDA of the driver, where it is known.
    fn cuda(&self) -> Option<(u32, u32)> {
        self.inner.rest.options.cuda
    }
}

pub(in crate::rest) async fn list(
    State(manage): State<Manage>,
    _auth: Auth,
    Query(query): Query<Parameters>,
) -> Result<Json<Value>, Problem> {
    let (wanted, fits) = asked(&manage, &query)?;
    let there = fits && manage.inner.fleet.gpus() > 0;
    let all: Vec<Value> = there.then(|| view(&manage, wanted)).into_iter().collect();
    Ok(Json(json!({"gpus": all})))
}

pub(in crate::rest) async fn show(
    State(manage): State<Manage>,
    _auth: Auth,
    Path(id): Path<String>,
    Query(query): Query<Parameters>,
) -> Result<Json<Value>, Problem> {
    let (wanted, _) = asked(&manage, &query)?;
    if manage.inner.fleet.gpus() == 0 || id != manage.inner.fleet.gpu_name() {
        let id: String = id.chars().take(60).collect();
        return Err(Problem::not_found(format!("this machine has no GPU '{id}'")));
    }
    Ok(Json(view(&manage, wanted)))
}
