//! Flavours of processors: RunPod's names, as far as this machine's processors go.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde_json::{Value, json};

use super::{Parameters, availability, level};
use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;

/// Id, name, GB of memory for each processor.
const FLAVOURS: [(&str, &str, u32); 6] = [
    ("cpu3c", "Compute-Optimized", 2),
    ("cpu3g", "General Purpose", 4),
    ("cpu3m", "Memory-Optimized", 8),
    ("cpu5c", "Compute-Optimized", 2),
    ("cpu5g", "General Purpose", 4),
    ("cpu5m", "Memory-Optimized", 8),
];

/// Memory in GB of so many processors of a flavour; `None` where there is no such flavour.
pub(in crate::rest) fn memory_of(id: &str, vcpus: u32) -> Option<u32> {
    FLAVOURS.iter().find(|(flavour, ..)| *flavour == id).map(|(.., ram)| ram.saturating_mul(vcpus))
}

/// The most processors of one worker: a power of two that the machine has, and 2 at least.
pub(in crate::rest) fn most(manage: &Manage) -> u32 {
    let cpus = manage.inner.fleet.cpus().max(2);
    1 << cpus.ilog2()
}

fn view(manage: &Manage, flavour: &(&str, &str, u32), wanted: Option<u32>) -> Value {
    let (id, name, ram) = flavour;
    let (most, price) = (most(manage), manage.inner.rest.options.vcpu_hour.unwrap_or_default());
    let mut view = json!({
        "id": id,
        "name": name,
        "group": if id.starts_with("cpu5") { "Gen 5" } else { "Gen 3" },
        "vcpu": {"min": 2, "max": most},
        "ramGbPerVcpu": ram,
        "price": {"securePerVcpu": price, "serverlessPerVcpu": price},
    });
    if let Some(wanted) = wanted {
        let level = level(wanted, most, most);
        view["availability"] = json!(level);
        view["dataCenters"] = manage.here(level);
    }
    view
}

fn wanted(query: &Parameters) -> Result<Option<u32>, Problem> {
    availability(query, &["POD", "SERVERLESS"], "vcpuCount", 2)
}

pub(crate) async fn list(
    State(manage): State<Manage>,
    _auth: Auth,
    Query(query): Query<Parameters>,
) -> Result<Json<Value>, Problem> {
    let wanted = wanted(&query)?;
    let all: Vec<Value> = FLAVOURS.iter().map(|flavour| view(&manage, flavour, wanted)).collect();
    Ok(Json(json!({"cpus": all})))
}

pub(crate) async fn show(
    State(manage): State<Manage>,
    _auth: Auth,
    Path(id): Path<String>,
    Query(query): Query<Parameters>,
) -> Result<Json<Value>, Problem> {
    let wanted = wanted(&query)?;
    let found = FLAVOURS.iter().find(|(flavour, ..)| *flavour == id).ok_or_else(|| {
        let id: String = id.chars().take(60).collect();
        Problem::not_found(format!("there is no flavour of processors '{id}'"))
    })?;
    Ok(Json(view(&manage, found, wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_with_processors() {
        assert_eq!(memory_of("cpu3g", 4), Some(16));
        assert_eq!(memory_of("cpu9x", 4), None);
    }
}
