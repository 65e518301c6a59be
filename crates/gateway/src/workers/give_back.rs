//! `POST /agent/give-back`: the agent returns jobs that it was given for a worker and could not hand over.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use runyard_domain::{Access, JobId, WorkerId};
use runyard_store::Which;
use runyard_vault::{Caller, Denied};
use serde::Deserialize;

use super::error::WorkerError;
use crate::Gateway;
use crate::body::Limits;
use crate::splice::Splice;

#[derive(Deserialize)]
struct Wire {
    worker: String,
    jobs: Vec<String>,
}

/// Only for a caller whom the socket proves: no key and no token opens it.
pub(crate) async fn give_back(
    State(gateway): State<Gateway>,
    caller: Option<Extension<Caller>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, WorkerError> {
    let Some(Extension(caller)) = caller else { return Err(WorkerError::Denied(Denied::NoKey)) };
    caller.may(Access::Admin, None)?;
    let timing = gateway.timing();
    let limits = Limits::new(timing, 1 << 20);
    let held = gateway.results().read(&headers, body, limits).await.map_err(WorkerError::Body)?;
    let wire: Wire = serde_json::from_slice(&held.bytes).map_err(|_| WorkerError::GiveBack)?;
    let worker = WorkerId::parse(&wire.worker).map_err(|_| WorkerError::GiveBack)?;
    let jobs: Result<Vec<JobId>, _> = wire.jobs.iter().map(|job| JobId::parse(job)).collect();
    let jobs = jobs.map_err(|_| WorkerError::GiveBack)?;
    let given = gateway.engine().give_back(&worker, Which::Jobs(jobs)).await?;
    let mut splice = Splice::default();
    splice.text("{").field("returned", &given.len()).text("}");
    Ok(splice.answer())
}
