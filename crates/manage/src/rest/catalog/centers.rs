//! Data centres: this machine is the only one.

use axum::Json;
use axum::extract::{Path, Query, State};
use runyard_domain::gpu::by_type;
use serde_json::{Value, json};

use super::{Parameters, check, level, values};
use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;

const REGIONS: [&str; 9] = [
    "NORTH_AMERICA",
    "SOUTH_AMERICA",
    "EUROPE",
    "ASIA",
    "MIDDLE_EAST",
    "AFRICA",
    "OCEANIA",
    "ANTARCTICA",
    "UNKNOWN",
];

const COMPLIANCE: [&str; 12] = [
    "GDPR",
    "ISO_IEC_27001",
    "ISO_14001",
    "PCI_DSS",
    "HITRUST",
    "SOC_1_TYPE_2",
    "SOC_2_TYPE_2",
    "SOC_3_TYPE_2",
    "ITAR",
    "FISMA_HIGH",
    "HIPAA",
    "RENEWABLE",
];

fn view(manage: &Manage, query: &Parameters) -> Result<Value, Problem> {
    let id = &manage.inner.rest.options.data_center;
    let mut view = json!({
        "id": id,
        "name": id,
        "region": "UNKNOWN",
        "globalNetwork": false,
        "networkVolumeTypes": ["STANDARD"],
        "compliance": [],
    });
    for word in values(query, "include") {
        check(word, &["GPU_AVAILABILITY", "CPU_AVAILABILITY"], "include")?;
        if word == "GPU_AVAILABILITY" {
            let types = by_type(manage.inner.fleet.gpus()).into_iter();
            let here = types.map(|(gpu, all)| {
                let level = level(1, manage.free_of(&all), all.len() as u32);
                json!({"id": gpu.name, "name": gpu.name, "availability": level})
            });
            view["gpuAvailability"] = here.collect();
        } else {
            view["cpuAvailability"] = ["cpu3c", "cpu3g", "cpu3m", "cpu5c", "cpu5g", "cpu5m"]
                .into_iter()
                .map(|id| json!({"id": id, "name": id, "availability": "HIGH"}))
                .collect();
        }
    }
    Ok(view)
}

/// Whether what is asked for is said of this machine.
fn fits(query: &Parameters) -> Result<bool, Problem> {
    let mut fits = true;
    for (name, words, own) in [
        ("regions", &REGIONS[..], &["UNKNOWN"][..]),
        ("networkVolumeTypes", &["STANDARD", "HIGH_PERFORMANCE"][..], &["STANDARD"][..]),
        ("compliance", &COMPLIANCE[..], &[][..]),
    ] {
        let mut asked = values(query, name).peekable();
        let any = asked.peek().is_none();
        let mut found = any;
        for word in asked {
            check(word, words, name)?;
            found |= own.contains(&word);
        }
        fits &= found;
    }
    for word in values(query, "globalNetwork") {
        check(word, &["true", "false"], "globalNetwork")?;
        fits &= word == "false";
    }
    Ok(fits)
}

pub(crate) async fn list(
    State(manage): State<Manage>,
    _auth: Auth,
    Query(query): Query<Parameters>,
) -> Result<Json<Value>, Problem> {
    let here = view(&manage, &query)?;
    let all: Vec<Value> = fits(&query)?.then_some(here).into_iter().collect();
    Ok(Json(json!({"dataCenters": all})))
}

pub(crate) async fn show(
    State(manage): State<Manage>,
    _auth: Auth,
    Path(id): Path<String>,
    Query(query): Query<Parameters>,
) -> Result<Json<Value>, Problem> {
    let here = view(&manage, &query)?;
    if id != manage.inner.rest.options.data_center {
        let id: String = id.chars().take(60).collect();
        return Err(Problem::not_found(format!("there is no data centre '{id}'")));
    }
    Ok(Json(here))
}
