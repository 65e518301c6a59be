//! GPU types: those that this machine has, real or fake.

use axum::Json;
use axum::extract::{Path, Query, State};
use runyard_domain::Gpu;
use runyard_domain::gpu::by_type;
use serde_json::{Value, json};

use super::{Parameters, availability, check, level, values};
use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;
use crate::rest::reader::is_version;

const PRODUCTS: [&str; 3] = ["POD", "CLUSTER", "SERVERLESS"];

fn view(manage: &Manage, gpu: &Gpu, all: &[u32], wanted: Option<u32>) -> Value {
    let (name, count) = (gpu.name.as_str(), all.len() as u32);
    let price = manage.inner.rest.options.price_of_gpu(name).unwrap_or_default();
    let upper = name.to_uppercase();
    let manufacturer = match () {
        () if gpu.pool().is_some() || upper.contains("NVIDIA") => "NVIDIA",
        () if upper.contains("AMD") || upper.contains("INSTINCT") => "AMD",
        () => "UNKNOWN",
    };
    let mut view = json!({
        "id": name,
        "name": name.strip_prefix("NVIDIA ").unwrap_or(name),
        "pool": gpu.pool(),
        "manufacturer": manufacturer,
        "memory": gpu.memory_gb,
        "secure": true,
        "community": false,
        "price": {"secure": price, "community": 0.0, "serverless": price},
        "maxCount": {"secure": count, "community": 0},
    });
    if let Some(wanted) = wanted {
        let level = level(wanted, manage.free_of(all), count);
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

pub(crate) async fn list(
    State(manage): State<Manage>,
    _auth: Auth,
    Query(query): Query<Parameters>,
) -> Result<Json<Value>, Problem> {
    let (wanted, fits) = asked(&manage, &query)?;
    let types = by_type(manage.inner.fleet.gpus()).into_iter().filter(|_| fits);
    let all: Vec<Value> = types.map(|(gpu, all)| view(&manage, gpu, &all, wanted)).collect();
    Ok(Json(json!({"gpus": all})))
}

pub(crate) async fn show(
    State(manage): State<Manage>,
    _auth: Auth,
    Path(id): Path<String>,
    Query(query): Query<Parameters>,
) -> Result<Json<Value>, Problem> {
    let (wanted, _) = asked(&manage, &query)?;
    let types = by_type(manage.inner.fleet.gpus());
    let (gpu, all) = types.iter().find(|(gpu, _)| gpu.name == id).ok_or_else(|| {
        let id: String = id.chars().take(60).collect();
        Problem::not_found(format!("this machine has no GPU '{id}'"))
    })?;
    Ok(Json(view(&manage, gpu, all, wanted)))
}
