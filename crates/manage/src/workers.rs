//! Workers: those that are there, then those that ended, newest first; and how one is stopped.

use std::collections::HashSet;

use axum::Json;
use axum::extract::{Path, Query, State};
use runyard_domain::worker::WorkerState;
use runyard_domain::{Access, EndpointId, WorkerId, WorkerRecord};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Manage;
use crate::auth::Auth;
use crate::page::Paging;
use crate::problem::Problem;
use crate::stream::Body;

/// The most workers in one list.
const MOST: usize = 200;

#[derive(Deserialize)]
pub(crate) struct Which {
    endpoint: Option<String>,
    state: Option<String>,
}

/// How a worker is stopped.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Stop {
    /// Before its jobs are done: they return to the queue.
    now: bool,
}

/// What a worker is doing, as it is told.
const STATES: [&str; 5] = ["starting", "idle", "running", "draining", "gone"];

/// The workers that are there, and those that ended lately, as far as the caller sees them.
pub(crate) fn records(
    manage: &Manage,
    auth: &Auth,
    endpoint: Option<&EndpointId>,
) -> Result<Vec<WorkerRecord>, Problem> {
    let mut records = manage.inner.fleet.workers();
    records.retain(|record| endpoint.is_none_or(|id| record.endpoint == *id));
    let known: HashSet<WorkerId> = records.iter().map(|record| record.id.clone()).collect();
    let stored = manage.inner.engine.reader().workers(endpoint, MOST)?;
    records.extend(stored.into_iter().filter(|record| !known.contains(&record.id)));
    records.retain(|record| auth.0.sees(&record.endpoint));
    Ok(records)
}

/// Where a worker stands in lists: those that are there by age, then those that ended, the newest first.
pub(crate) fn place(record: &WorkerRecord) -> (bool, i64, String) {
    let is_gone = record.state == WorkerState::Gone;
    let at = if is_gone { -record.created_at.0 } else { record.created_at.0 };
    (is_gone, at, record.id.to_string())
}

pub(crate) async fn list(
    State(manage): State<Manage>,
    auth: Auth,
    Query(which): Query<Which>,
    paging: Paging,
) -> Result<Json<Value>, Problem> {
    let endpoint = match &which.endpoint {
        Some(ep) => Some(manage.endpoint(&auth.0, Access::Read, ep)?.id.clone()),
        None => None,
    };
    let mut records = records(&manage, &auth, endpoint.as_ref())?;
    if let Some(state) = &which.state {
        if !STATES.contains(&state.as_str()) {
            return Err(Problem::invalid(format!("'state' is one of {}", STATES.join(", "))));
        }
        records.retain(|record| manage.state_of(record).0 == state);
    }
    let (page, next) = paging.cut(records, place)?;
    let views: Vec<Value> = page.iter().map(|record| manage.worker(record)).collect();
    Ok(Json(json!({"workers": views, "nextCursor": next})))
}

/// Stops one; others start as they are needed.
pub(crate) async fn stop(
    State(manage): State<Manage>,
    auth: Auth,
    Path(worker): Path<String>,
    body: Body<Stop>,
) -> Result<Json<Value>, Problem> {
    let record = manage.worker_of(&auth, Access::Deploy, &worker)?;
    let now = body.read()?.now;
    if record.ended_at.is_some() {
        return Err(Problem::conflict(format!("worker '{worker}' has ended")).hint("runyard workers"));
    }
    tracing::info!(by = auth.0.name(), worker.id = %record.id, now, "a worker is stopped");
    let jobs = manage.inner.fleet.stop(&record.id, now).await;
    Ok(Json(json!({"id": record.id, "jobs": jobs})))
}
