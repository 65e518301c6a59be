//! Workers: those that are there, then those that ended, newest first.

use axum::Json;
use axum::extract::{Query, State};
use runyard_domain::Access;
use runyard_domain::worker::WorkerState;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Manage;
use crate::auth::Auth;
use crate::page::Paging;
use crate::problem::Problem;

/// The most workers in one list.
const MOST: usize = 200;

#[derive(Deserialize)]
pub(crate) struct Which {
    endpoint: Option<String>,
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
    let mut records = manage.inner.fleet.workers();
    records.retain(|r| endpoint.as_ref().is_none_or(|e| r.endpoint == *e));
    let stored = manage.inner.engine.reader().workers(endpoint.as_ref(), MOST)?;
    for record in stored {
        if !records.iter().any(|r| r.id == record.id) {
            records.push(record);
        }
    }
    records.retain(|record| auth.0.sees(&record.endpoint));
    // Those that are there by age, then those that ended, the newest first.
    let (page, next) = paging.cut(records, |record| {
        let is_gone = record.state == WorkerState::Gone;
        let at = if is_gone { -record.created_at.0 } else { record.created_at.0 };
        (is_gone, at, record.id.to_string())
    })?;
    let views: Vec<Value> = page.iter().map(|record| manage.worker(record)).collect();
    Ok(Json(json!({"workers": views, "nextCursor": next})))
}
