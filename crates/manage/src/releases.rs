//! Releases: list, compare, promote, roll back. What moves traffic is told line by line, like a deploy.

pub(crate) mod differences;

use std::cmp::Reverse;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use runyard_domain::rollout::Stage;
use runyard_domain::worker::WorkerState;
use runyard_domain::{Access, Endpoint, EndpointId, Release, ReleaseState};
use runyard_fleet::{Fleet, FleetError, Progress};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Auth;
use crate::deploy::move_to;
use crate::page::Paging;
use crate::problem::Problem;
use crate::stream::Body;
use crate::{Manage, views};

/// How traffic moves to a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Move {
    /// Worker by worker.
    Roll,
    /// So many of a hundred jobs first.
    Canary(u32),
    /// At once: another one takes nothing more.
    Back {
        /// Which.
        bad: u32,
        /// Why.
        why: String,
    },
}

/// How a deploy begins.
pub(crate) fn first_move(canary: Option<u32>) -> Result<Move, Problem> {
    match canary {
        None => Ok(Move::Roll),
        Some(percent @ 1..=99) => Ok(Move::Canary(percent)),
        Some(percent) => {
            Err(Problem::invalid(format!("canary is {percent}: it must be 1 to 99 of a hundred jobs")))
        }
    }
}

/// Moves traffic, and in the same write what else changes of the endpoint; says so in a sentence. What goes back
/// changes nothing else.
pub(crate) async fn make(
    fleet: &Fleet,
    id: &EndpointId,
    number: u32,
    how: &Move,
    change: impl FnOnce(&mut Endpoint),
) -> Result<String, FleetError> {
    match how {
        Move::Roll => fleet.promote_with(id, number, change).await?,
        Move::Canary(percent) => fleet.canary(id, number, *percent, change).await?,
        Move::Back { bad, why } => fleet.go_back(id, number, *bad, why).await?,
    }
    let endpoint = fleet.engine().endpoint_by_id(id);
    let canary = endpoint.filter(|endpoint| endpoint.serving != Some(number));
    Ok(match (canary, how) {
        (Some(_), Move::Canary(percent)) => format!("release {number} gets {percent} of 100 jobs"),
        _ => format!("release {number} serves"),
    })
}

/// `2 of 3 workers run release 5`.
pub(crate) fn progress_words(progress: Progress) -> String {
    let Progress { workers_on_latest: on, workers_total: total, latest, .. } = progress;
    format!("{on} of {total} workers run release {}", latest.unwrap_or_default())
}

pub(crate) async fn list(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
    paging: Paging,
) -> Result<Json<Value>, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Read, &ep)?;
    let releases = manage.inner.engine.reader().releases(&endpoint.id)?;
    let (releases, next) = paging.cut(releases, |release| Reverse(release.number))?;
    let workers = manage.inner.fleet.workers();
    let view = |release: &Release| {
        let mut view = views::release(release, endpoint.serving);
        let mine =
            |w: &&runyard_domain::WorkerRecord| w.endpoint == endpoint.id && w.release == release.number;
        view["workerCount"] = json!(workers.iter().filter(mine).count());
        view["canary"] = json!(is_canary(&endpoint, release.number));
        view["kept"] = json!(has_code(release));
        if let Some(gone) = endpoint.withdrawn(release.number) {
            view["withdrawn"] = json!({"at": gone.at.0, "why": gone.why});
        }
        view
    };
    let views: Vec<Value> = releases.iter().map(view).collect();
    let rollout = manage.rollout_view(&endpoint);
    Ok(Json(json!({"releases": views, "rollout": rollout, "nextCursor": next})))
}

fn is_canary(endpoint: &Endpoint, number: u32) -> bool {
    let canary = endpoint.rollout.as_ref().filter(|rollout| rollout.canary_percent().is_some());
    canary.is_some_and(|rollout| rollout.to == number)
}

impl Manage {
    /// How far a rollout is, by RunPod's fields and ours.
    pub(crate) fn rollout_view(&self, endpoint: &Endpoint) -> Value {
        let progress = self.inner.fleet.progress(endpoint);
        let mut view = json!({
            "inProgress": progress.in_progress,
            "workersOnLatest": progress.workers_on_latest,
            "workersTotal": progress.workers_total,
            "percentOnLatest": progress.percent(),
        });
        let Some(rollout) = &endpoint.rollout else { return view };
        let (stage, percent) = match rollout.stage {
            Stage::Canary { percent } => ("canary", Some(percent)),
            Stage::Rolling => ("rolling", None),
            Stage::Watched => ("watched", None),
        };
        view["stage"] = json!(stage);
        view["to"] = json!(rollout.to);
        view["from"] = json!(rollout.from);
        view["startedAt"] = json!(rollout.started_at.0);
        view["endsAt"] = json!(rollout.ends_at(&endpoint.settings.rollout).map(|at| at.0));
        view["canaryPercent"] = json!(percent);
        let workers = self.inner.fleet.workers();
        let workers = workers.iter().filter(|worker| worker.endpoint == endpoint.id);
        view["workers"] = workers
            .map(|worker| {
                let leaves = worker.state == WorkerState::Draining;
                json!({"id": worker.id.as_str(), "release": worker.release, "leaves": leaves})
            })
            .collect();
        view
    }
}

#[derive(Deserialize, Default)]
pub(crate) struct Target {
    to: Option<u32>,
}

pub(crate) async fn rollback(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
    body: Body<Target>,
) -> Result<Response, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Deploy, &ep)?;
    let request = body.read()?;
    let releases = manage.inner.engine.reader().releases(&endpoint.id)?;
    let number = request.to.or_else(|| before(&endpoint, &releases));
    let release =
        releases.iter().find(|release| Some(release.number) == number).cloned().ok_or_else(|| {
            let which = request
                .to
                .map_or_else(|| "earlier release that is ready".into(), |to| format!("release {to}"));
            Problem::not_found(format!("endpoint '{ep}' has no {which}"))
                .hint(format!("runyard releases {ep}"))
        })?;
    manage.check_ready(&release).await?;
    manage.check_references(&release.env)?;
    let why = format!("rolled back by {}", auth.0.name());
    let canary = endpoint.rollout.as_ref().filter(|rollout| rollout.canary_percent().is_some());
    let bad = canary.map(|rollout| rollout.to).or(endpoint.serving);
    let how = match bad {
        Some(bad) if request.to.is_none() || bad > release.number => Move::Back { bad, why },
        _ => Move::Roll,
    };
    move_to(manage, auth.0, &endpoint, release, how)
}

/// The release that a rollback goes to: the one that a rollout comes from, else the newest before the one that
/// serves that is ready and was not taken back itself.
fn before(endpoint: &Endpoint, releases: &[Release]) -> Option<u32> {
    let comes_from = endpoint.rollout.as_ref().and_then(|rollout| rollout.from.first().copied());
    let serving = endpoint.serving.unwrap_or(u32::MAX);
    let fits = |release: &&Release| {
        release.number < serving
            && release.state == ReleaseState::Ready
            && endpoint.withdrawn(release.number).is_none()
            && has_code(release)
    };
    comes_from.or_else(|| releases.iter().find(fits).map(|release| release.number))
}

/// Whether what a release runs is still there: old releases are pruned. What an image runs is in the image.
fn has_code(release: &Release) -> bool {
    release.launch.as_ref().is_some_and(|launch| {
        let mut dirs = std::iter::once(&launch.code_dir).chain(&launch.read_dirs);
        launch.image.is_some() || dirs.all(|dir| std::path::Path::new(dir).is_dir())
    })
}

impl Manage {
    #[cfg_attr(
        not(feature = "docker"),
        expect(clippy::unused_async, reason = "an engine is asked, where there is one")
    )]
    pub(crate) async fn check_ready(&self, release: &Release) -> Result<(), Problem> {
        let number = release.number;
        if release.state != ReleaseState::Ready {
            return Err(Problem::conflict(format!("release {number} never passed its tests")));
        }
        let what = match release.launch.as_ref().and_then(|launch| launch.image.as_ref()) {
            None if !has_code(release) => "code",
            #[cfg(feature = "docker")]
            Some(image) if !self.has_image(image).await => "image",
            _ => return Ok(()),
        };
        let detail = format!("the {what} of release {number} is no longer kept");
        Err(Problem::conflict(detail).hint("deploy it again"))
    }
}

pub(crate) async fn promote(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
    body: Body<Target>,
) -> Result<Response, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Deploy, &ep)?;
    let request = body.read()?;
    let canary = endpoint.rollout.as_ref().filter(|rollout| rollout.canary_percent().is_some());
    let number = request.to.or(canary.map(|rollout| rollout.to)).ok_or_else(|| {
        Problem::conflict(format!("no canary of '{ep}' waits to be promoted"))
            .hint(format!("runyard promote {ep} --to N"))
    })?;
    let releases = manage.inner.engine.reader().releases(&endpoint.id)?;
    let release = releases.into_iter().find(|release| release.number == number).ok_or_else(|| {
        Problem::not_found(format!("endpoint '{ep}' has no release {number}"))
            .hint(format!("runyard releases {ep}"))
    })?;
    manage.check_ready(&release).await?;
    manage.check_references(&release.env)?;
    move_to(manage, auth.0, &endpoint, release, Move::Roll)
}

#[derive(Deserialize, Default)]
pub(crate) struct Between {
    from: Option<u32>,
    to: Option<u32>,
}

pub(crate) async fn diff(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
    Query(between): Query<Between>,
) -> Result<Json<Value>, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Read, &ep)?;
    let releases = manage.inner.engine.reader().releases(&endpoint.id)?;
    let newest = releases.first().map(|release| release.number);
    let to = between.to.or(newest).unwrap_or_default();
    let ready = |release: &&Release| release.number < to && release.state == ReleaseState::Ready;
    let from = between.from.or_else(|| releases.iter().find(ready).map(|release| release.number));
    let find = |number: u32| {
        releases.iter().find(|release| release.number == number).ok_or_else(|| {
            Problem::not_found(format!("endpoint '{ep}' has no release {number}"))
                .hint(format!("runyard releases {ep}"))
        })
    };
    let (new, old) = (find(to)?, from.map(find).transpose()?);
    let fields = differences::fields(old, new);
    let (old_dir, new_dir) = (old.and_then(code_dir), code_dir(new));
    let files = match (old_dir, new_dir) {
        (Some(old), Some(new)) => {
            tokio::task::spawn_blocking(move || differences::files(&old, &new)).await.ok()
        }
        _ => None,
    };
    Ok(Json(json!({"from": from, "to": to, "diff": fields, "files": files})))
}

/// The folder of a release's code, where it is kept as it was.
fn code_dir(release: &Release) -> Option<std::path::PathBuf> {
    let launch = release.launch.as_ref().filter(|launch| !launch.in_place)?;
    let dir = std::path::PathBuf::from(&launch.code_dir);
    dir.is_dir().then_some(dir)
}
