//! The workers of an endpoint that are there, in this wire's words.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use runyard_domain::worker::WorkerState;
use runyard_domain::{Access, Release, WorkerRecord};
use runyard_engine::Presence;
use serde_json::{Value, json};

use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;
use crate::rest::time;

pub(in crate::rest) async fn list(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
) -> Result<Json<Value>, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Read, &ep)?;
    let releases = manage.inner.engine.reader().releases(&endpoint.id)?;
    let images: BTreeMap<u32, Option<String>> =
        releases.iter().map(|release| (release.number, image_of(release))).collect();
    let mut workers = manage.inner.fleet.workers();
    workers.retain(|worker| worker.endpoint == endpoint.id);
    let mut counts = BTreeMap::from(["RUNNING", "IDLE", "INITIALIZING"].map(|status| (status, 0u64)));
    let view = |worker: &WorkerRecord| {
        let status = manage.status_of(worker);
        *counts.entry(status).or_default() += 1;
        let ran = worker.started_at.map(|at| manage.inner.engine.now().since(at) / 1000);
        let stale = worker.state == WorkerState::Draining
            || endpoint.serving.is_some_and(|serving| worker.release < serving);
        json!({
            "id": worker.id,
            "status": status,
            "isStale": stale,
            "version": worker.release,
            "gpuCount": worker.gpus.len(),
            "image": images.get(&worker.release).cloned().flatten(),
            "uptimeSeconds": ran.map(|seconds| seconds.max(0)),
            "gpuTypeId": manage.inner.fleet.gpu_of(worker).map(|gpu| &gpu.name),
            "dataCenterId": manage.inner.rest.options.data_center,
            "startedAt": worker.started_at.map(time),
        })
    };
    let views: Vec<Value> = workers.iter().map(view).collect();
    let more = manage.inner.fleet.counts(&endpoint.id);
    Ok(Json(json!({
        "endpointVersion": endpoint.serving,
        "summary": {
            "running": counts["RUNNING"], "idle": counts["IDLE"], "initializing": counts["INITIALIZING"],
            "throttled": more.throttled, "unhealthy": more.unhealthy, "total": views.len(),
        },
        "workers": views,
    })))
}

/// The image of a release, or the name that stands for one.
fn image_of(release: &Release) -> Option<String> {
    release.launch.as_ref()?.image_name().map(str::to_owned)
}

impl Manage {
    fn status_of(&self, worker: &WorkerRecord) -> &'static str {
        match self.inner.engine.live_worker(&worker.id).map(|live| live.presence) {
            Some(Presence::Busy) => "RUNNING",
            Some(Presence::Idle(_)) => "IDLE",
            _ => "INITIALIZING",
        }
    }
}
