//! `/health`, `/metrics` and `/requests`: an endpoint at a glance.

use axum::extract::State;
use axum::response::Response;
use runyard_domain::JobId;
use runyard_store::Filter;
use serde::Serialize;

use super::access::Reads;
use super::error::JobError;
use super::query::number;
use super::status::{Payloads, object};
use crate::splice::Splice;
use crate::{Gateway, WorkerCounts};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Jobs {
    completed: u64,
    failed: u64,
    in_progress: u64,
    in_queue: u64,
    retried: u64,
}

#[derive(Serialize)]
struct HealthWorkers {
    idle: u64,
    initializing: u64,
    ready: u64,
    running: u64,
    throttled: u64,
    unhealthy: u64,
}

#[derive(Serialize)]
struct MetricsWorkers {
    ready: u64,
    running: u64,
    idle: u64,
    initializing: u64,
    throttled: u64,
    unhealthy: u64,
}

/// `GET /health`.
pub(crate) async fn health(
    State(gateway): State<Gateway>,
    Reads(target): Reads,
) -> Result<Response, JobError> {
    let counts = gateway.engine().reader().counts(&target.endpoint.id)?;
    let jobs = Jobs {
        completed: counts.completed,
        failed: counts.failed,
        in_progress: counts.running,
        in_queue: counts.waiting,
        retried: counts.retried,
    };
    let WorkerCounts { idle, initializing, ready, running, throttled, unhealthy, .. } =
        gateway.reasons().workers(&target.endpoint.id);
    let workers = HealthWorkers { idle, initializing, ready, running, throttled, unhealthy };
    let mut splice = Splice::default();
    splice.text("{").field("jobs", &jobs).field("workers", &workers).text("}");
    Ok(splice.answer())
}

/// `GET /metrics`: what RunPod's Flash reads.
pub(crate) async fn metrics(
    State(gateway): State<Gateway>,
    Reads(target): Reads,
) -> Result<Response, JobError> {
    let WorkerCounts { idle, initializing, ready, running, throttled, unhealthy, ready_ids } =
        gateway.reasons().workers(&target.endpoint.id);
    let workers = MetricsWorkers { ready, running, idle, initializing, throttled, unhealthy };
    let mut splice = Splice::default();
    splice.text("{").field("readyWorkers", &ready_ids).field("workers", &workers).text("}");
    Ok(splice.answer())
}

/// `GET /requests?limit=&before=`: the newest jobs as status objects without their outputs. RunPod never
/// documented its form of this; the shape is ours.
pub(crate) async fn requests(
    State(gateway): State<Gateway>,
    Reads(target): Reads,
) -> Result<Response, JobError> {
    let query = target.query.as_deref();
    let limit = number(query, "limit")?.unwrap_or(100).clamp(1, 1_000) as usize;
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let before = pairs.into_iter().find(|(name, _)| *name == "before").map(|(_, id)| id);
    let before = match before.map(JobId::parse) {
        Some(Err(_)) => return Err(target.no_such_job(before.unwrap_or_default())),
        Some(Ok(id)) => Some(id),
        None => None,
    };
    let filter = Filter { endpoint: Some(target.endpoint.id.clone()), before, limit, ..Filter::default() };
    let mut splice = Splice::default();
    splice.text("{").key("requests").text("[");
    for (at, job) in gateway.engine().reader().jobs(&filter)?.iter().enumerate() {
        splice.text(if at == 0 { "" } else { "," });
        splice.append(object(&gateway, job, Payloads::Without).await?);
    }
    splice.text("]}");
    Ok(splice.answer())
}
