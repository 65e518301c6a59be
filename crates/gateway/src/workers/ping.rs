//! `ping`: a worker's sign of life, or its word that it is not fit to work. The SDK sends it from a process of
//! its own, which may outlive the worker; so a ping never proves more than that somebody pings.

use axum::extract::State;
use axum::response::Response;
use runyard_domain::JobId;

use super::access::{Worker, is_version};
use crate::Gateway;
use crate::splice::Splice;

/// `GET ping/{worker}?job_id=a,b&runpod_version=1.12.0`, or `?status=unhealthy&check=…&reason=…`.
pub(crate) async fn ping(State(gateway): State<Gateway>, worker: Worker) -> Response {
    let engine = gateway.engine();
    let ids = worker.parameter("job_id").unwrap_or_default().split(',');
    let jobs: Vec<JobId> = ids.filter_map(|id| JobId::parse(id.trim()).ok()).collect();
    let sdk = worker.parameter("runpod_version").filter(|version| is_version(version));
    engine.ping(&worker.who, &jobs, sdk);
    if worker.parameter("status") == Some("unhealthy") {
        let check = worker.parameter("check").unwrap_or("unnamed");
        let reason = worker.parameter("reason").unwrap_or("no reason given");
        let message = format!("check '{}' failed: {}", clean(check, 100), clean(reason, 400));
        tracing::info!(worker.id = %worker.who.worker(), message, "a worker says that it is not fit to work");
        engine.unfit(&worker.who, message);
    }
    let mut splice = Splice::default();
    splice.text("{}");
    splice.answer()
}

/// A worker's words on one line of bounded length.
fn clean(text: &str, most: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
}
