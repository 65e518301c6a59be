//! Pods: there are none yet. Lists are empty, and making one is refused in words after its body was read.

use axum::Json;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use runyard_domain::Access;
use serde_json::{Value, json};

use super::catalog::{Parameters, check, values};
use super::config::Fields;
use super::reader::{Object, Raw};
use super::templates::persistent;
use crate::auth::Auth;
use crate::problem::Problem;

pub(super) async fn list(_auth: Auth, Query(query): Query<Parameters>) -> Result<Json<Value>, Problem> {
    for word in values(&query, "includeClusterPods") {
        check(word, &["true", "false"], "includeClusterPods")?;
    }
    Ok(Json(json!({"pods": []})))
}

pub(super) async fn create(auth: Auth, body: Raw) -> Result<StatusCode, Problem> {
    auth.0.may(Access::Deploy, None)?;
    body.read(read)?;
    Err(Problem::invalid("pods cannot be made here yet; endpoints can").hint("POST /v2/serverless makes one"))
}

/// Reads what a pod would be.
pub(super) fn read(body: &Object<'_>) -> Option<()> {
    let _ = Fields::read(body);
    let name = body.required("name", body.name("name"));
    let _ = body.word("cloud", &[("SECURE", ()), ("COMMUNITY", ())]);
    let _ = body.texts("dataCenterIds", "a string", |_| true);
    for flag in ["globalNetworking", "startJupyter", "startSsh"] {
        let _ = body.flag(flag);
    }
    let _ = body.name("templateId");
    if !body.has("templateId") && !body.has("image") {
        body.wrong("missing property 'image'");
    }
    let gpu = |gpu: &Object<'_>| {
        let _ = (gpu.whole("count", 1..=64), gpu.text("minCudaVersion"));
        let _ = gpu.texts("allowedCudaVersions", "a string", |_| true);
        gpu.required("id", gpu.name("id")).map(drop)
    };
    let cpu = |cpu: &Object<'_>| {
        let _ = cpu.required("vcpuCount", cpu.whole("vcpuCount", 2..=1024));
        cpu.required("id", cpu.name("id")).map(drop)
    };
    let _ = (body.object("gpu", gpu), body.object("cpu", cpu));
    let network = |mount: &Object<'_>| {
        let _ = mount.required("path", mount.text("path"));
        mount.required("volumeId", mount.text("volumeId")).map(drop)
    };
    let _ = body.object("mounts", |mounts| {
        let _ = (mounts.object("persistent", persistent), mounts.objects("network", network));
        Some(())
    });
    name.map(drop)
}

/// There is none of any id.
pub(super) async fn show(auth: Auth, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Read, None)?;
    let id: String = id.chars().take(60).collect();
    Err(Problem::not_found(format!("there is no pod '{id}'")))
}
