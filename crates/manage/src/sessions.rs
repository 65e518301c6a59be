//! Commands beside workers, and what workers use. A command's bytes pass through here unread, in both directions, for as
//! long as it runs: its route stands outside of the limits that bodies otherwise have.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use runyard_domain::{Access, WorkerId, WorkerRecord};
use runyard_runtime::session::CONTENT_TYPE;
use runyard_runtime::stats::Stats;
use runyard_runtime::{RuntimeError, Whose};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;

#[derive(Deserialize)]
pub(crate) struct Which {
    endpoint: Option<String>,
    worker: Option<String>,
}

/// What workers use.
pub(crate) async fn stats(
    State(manage): State<Manage>,
    auth: Auth,
    Query(which): Query<Which>,
) -> Result<Json<Value>, Problem> {
    let endpoint = match &which.endpoint {
        Some(ep) => Some(manage.endpoint(&auth.0, Access::Read, ep)?.id.clone()),
        None => None,
    };
    let worker = match &which.worker {
        Some(id) => Some(manage.worker_of(&auth, Access::Read, id)?.id),
        None => None,
    };
    let mut all = manage.inner.fleet.runtime().stats().await.map_err(|error| problem(&error))?;
    all.retain(|stats| {
        auth.0.sees(&stats.endpoint)
            && endpoint.as_ref().is_none_or(|id| stats.endpoint == *id)
            && worker.as_ref().is_none_or(|id| stats.worker == *id)
    });
    let views: Vec<Value> = all.iter().map(|stats| manage.stats_view(stats)).collect();
    Ok(Json(json!({"stats": views})))
}

/// Runs a command beside a worker.
pub(crate) async fn exec(
    State(manage): State<Manage>,
    auth: Auth,
    Path(worker): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let record = manage.worker_of(&auth, Access::Deploy, &worker)?;
    if record.ended_at.is_some() {
        return Err(Problem::conflict(format!("worker '{worker}' has ended")).hint("runyard workers"));
    }
    let input = request.into_body().map_err(std::io::Error::other).boxed_unsync();
    tracing::info!(by = auth.0.name(), worker.id = %record.id, "a command is run beside a worker");
    let output =
        manage.inner.fleet.runtime().exec(&record.id, input).await.map_err(|error| problem(&error))?;
    let headers = [(header::CONTENT_TYPE, CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::new(output)).into_response())
}

/// What is the asker's to change is told as it is.
fn problem(error: &RuntimeError) -> Problem {
    match error.whose {
        Whose::User | Whose::Image => Problem::conflict(error.to_string()),
        Whose::Ours | Whose::Engine => Problem::internal(error),
    }
}

impl Manage {
    /// A worker, if the caller may do this with it. One that the caller may not even see is answered like one that is
    /// not there.
    pub(crate) fn worker_of(&self, auth: &Auth, access: Access, id: &str) -> Result<WorkerRecord, Problem> {
        let missing = || {
            let id: String = id.chars().take(80).collect();
            Problem::not_found(format!("there is no worker '{id}'")).hint("runyard workers")
        };
        let id = WorkerId::parse(id).map_err(|_| missing())?;
        let live = self.inner.fleet.workers().into_iter().find(|record| record.id == id);
        let record = match live {
            Some(record) => Some(record),
            None => self.inner.engine.reader().worker(&id)?,
        };
        let record = record.filter(|record| auth.0.sees(&record.endpoint)).ok_or_else(missing)?;
        auth.0.may(access, Some(&record.endpoint))?;
        Ok(record)
    }

    /// `Stats`.
    fn stats_view(&self, stats: &Stats) -> Value {
        let name = self.inner.engine.endpoint_by_id(&stats.endpoint).map(|endpoint| endpoint.name.clone());
        let mut view = serde_json::to_value(stats).unwrap_or_default();
        view["endpointName"] = json!(name);
        view
    }
}
