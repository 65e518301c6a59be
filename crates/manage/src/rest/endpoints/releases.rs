//! The releases of an endpoint, newest first, each with what it changed.

use axum::Json;
use axum::extract::{Path, State};
use runyard_domain::{Access, Release};
use serde_json::{Value, json};

use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;
use crate::releases::differences;
use crate::rest::time;

pub(in crate::rest) async fn list(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
) -> Result<Json<Value>, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Read, &ep)?;
    let releases = manage.inner.engine.reader().releases(&endpoint.id)?;
    let workers = manage.inner.fleet.workers();
    let view = |(at, release): (usize, &Release)| {
        let before = releases.get(at + 1);
        let mine = workers.iter().filter(|w| w.endpoint == endpoint.id && w.release == release.number);
        json!({
            "id": format!("{}-{}", endpoint.id, release.number),
            "version": release.number,
            "source": if release.commit.is_some() { "GIT_BUILD" } else { "MANUAL" },
            "buildId": release.commit.as_ref().map(|commit| &commit.id),
            "createdByUserId": release.created_by,
            "workerCount": mine.count(),
            "createdAt": time(release.created_at),
            "diff": differences::fields(before, release),
        })
    };
    let views: Vec<Value> = releases.iter().enumerate().map(view).collect();
    let progress = manage.inner.fleet.progress(&endpoint);
    Ok(Json(json!({
        "endpointVersion": endpoint.serving,
        "rollout": {
            "inProgress": progress.in_progress,
            "workersOnLatest": progress.workers_on_latest,
            "workersTotal": progress.workers_total,
            "percentOnLatest": progress.percent(),
        },
        "releases": views,
    })))
}
