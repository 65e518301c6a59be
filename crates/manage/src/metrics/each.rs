//! The same series of many at once: of every endpoint, of the workers of one, of every GPU, a page of them in one answer.
//! Lists with a small chart in each row, and charts with a line for each worker, are made of it.

use std::collections::{BTreeMap, HashSet};

use axum::Json;
use axum::extract::{Query, State};
use runyard_domain::worker::WorkerState;
use runyard_domain::{Access, EndpointId, Timestamp};
use runyard_metrics::range::{Range, line};
use runyard_metrics::series::{Of, Series};
use runyard_metrics::{Interval, Subject};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{USUAL_MS, range_of, view, wanted};
use crate::Manage;
use crate::auth::Auth;
use crate::page::Paging;
use crate::problem::Problem;
use crate::workers;

/// The most workers that one call names.
const MOST_NAMED: usize = 200;

/// The most steps of one answer, of all its subjects together.
const MOST_STEPS: usize = 240_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    of: Option<String>,
    endpoint: Option<String>,
    worker: Option<String>,
    series: Option<String>,
    since: Option<i64>,
    until: Option<i64>,
    step: Option<i64>,
    /// Read by [`Paging`].
    #[serde(rename = "limit")]
    _limit: Option<IgnoredAny>,
    #[serde(rename = "cursor")]
    _cursor: Option<IgnoredAny>,
}

pub(crate) async fn read(
    State(manage): State<Manage>,
    auth: Auth,
    Query(which): Query<Which>,
    paging: Paging,
) -> Result<Json<Value>, Problem> {
    let of = which.of()?;
    let wanted = wanted(of, which.series.as_deref())?;
    let now = manage.inner.engine.now();
    let range = range_of(which.since, which.until, which.step, USUAL_MS, now)?;
    if range.steps() * paging.limit() > MOST_STEPS {
        let detail = format!("{} steps of {} are too many at once", range.steps(), paging.limit());
        return Err(Problem::invalid(detail).hint("a smaller 'limit', or a longer 'step'"));
    }
    let (subjects, next) = which.subjects(&manage, &auth, of, &range, &paging)?;
    let engine = manage.inner.engine.clone();
    let gathered = tokio::task::spawn_blocking(move || {
        let gather = |subject: Subject| {
            let rows = engine.reader().intervals(&subject, range.grain, range.since, range.until)?;
            let steps = range.gather(&rows);
            Ok((subject, steps))
        };
        subjects.into_iter().map(gather).collect::<Result<Vec<_>, runyard_store::StoreError>>()
    });
    let gathered = gathered.await.map_err(|error| Problem::internal(&error))?;
    let gathered = gathered.map_err(|error| Problem::internal(&error))?;
    let each: Vec<Value> = gathered
        .iter()
        .map(|(subject, steps)| manage.one_of_many(subject, &range, steps, &wanted, now))
        .collect();
    Ok(Json(json!({
        "of": of.word(),
        "since": range.since,
        "until": range.until,
        "stepSeconds": range.step_ms / 1_000,
        "at": range.at(),
        "each": each,
        "nextCursor": next,
    })))
}

impl Which {
    fn of(&self) -> Result<Of, Problem> {
        if self.worker.is_some() && self.of.as_deref() != Some("worker") {
            return Err(Problem::invalid("'worker' names workers: ask for it with of=worker"));
        }
        match self.of.as_deref() {
            None | Some("endpoint") => Ok(Of::Endpoint),
            Some("worker") => Ok(Of::Worker),
            Some("gpu") => Ok(Of::Gpu),
            Some(_) => Err(Problem::invalid("'of' is one of endpoint, worker and gpu")),
        }
    }

    /// The workers that are asked for, where they are named.
    fn named(&self) -> Result<Option<HashSet<&str>>, Problem> {
        let Some(ids) = &self.worker else { return Ok(None) };
        let named: HashSet<&str> = ids.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
        if named.len() > MOST_NAMED {
            let detail = format!("{} workers are too many at once", named.len());
            return Err(Problem::invalid(detail).hint(format!("'worker' names {MOST_NAMED} at most")));
        }
        Ok(Some(named))
    }

    /// The page of those whose series are asked for, and where the next one begins. GPUs need a key for all endpoints.
    fn subjects(
        &self,
        manage: &Manage,
        auth: &Auth,
        of: Of,
        range: &Range,
        paging: &Paging,
    ) -> Result<(Vec<Subject>, Option<String>), Problem> {
        let endpoint = match &self.endpoint {
            Some(ep) => Some(manage.endpoint(&auth.0, Access::Read, ep)?.id.clone()),
            None => None,
        };
        match of {
            Of::Worker => {
                let mut records = workers::records(manage, auth, endpoint.as_ref())?;
                records.retain(|record| record.ended_at.is_none_or(|at| at >= range.since));
                if let Some(named) = self.named()? {
                    records.retain(|record| named.contains(record.id.as_str()));
                }
                let (page, next) = paging.cut(records, workers::place)?;
                Ok((page.into_iter().map(|r| Subject::Worker(r.endpoint, r.id)).collect(), next))
            }
            Of::Gpu => {
                auth.0.may(Access::Read, None)?;
                let held = gpus_of(manage, endpoint.as_ref());
                let (page, next) = paging.cut(held, |index| *index)?;
                Ok((page.into_iter().map(Subject::Gpu).collect(), next))
            }
            _ => {
                let all = manage.inner.engine.endpoints();
                let seen = all.into_iter().filter(|one| auth.0.sees(&one.id));
                let named: BTreeMap<(String, String), EndpointId> = seen
                    .filter(|one| endpoint.as_ref().is_none_or(|id| one.id == *id))
                    .map(|one| ((one.name.clone(), one.id.to_string()), one.id.clone()))
                    .collect();
                let (page, next) = paging.cut(named.into_iter().collect(), |(place, _)| place.clone())?;
                Ok((page.into_iter().map(|(_, id)| Subject::Endpoint(id)).collect(), next))
            }
        }
    }
}

/// The GPUs of the machine; of an endpoint those that its workers hold.
fn gpus_of(manage: &Manage, endpoint: Option<&EndpointId>) -> Vec<u32> {
    let Some(endpoint) = endpoint else { return (0..manage.inner.fleet.gpus().len() as u32).collect() };
    let workers = manage.inner.fleet.workers();
    let own = workers.iter().filter(|r| r.endpoint == *endpoint && r.state != WorkerState::Gone);
    let mut held: Vec<u32> = own.flat_map(|record| record.gpus.iter().copied()).collect();
    held.sort_unstable();
    held.dedup();
    held
}

impl Manage {
    /// `Metrics` of one of many: what each series says is told where one subject is asked for.
    fn one_of_many(
        &self,
        subject: &Subject,
        range: &Range,
        steps: &[Interval],
        wanted: &[&'static Series],
        now: Timestamp,
    ) -> Value {
        let mut answer = self.subject_view(subject);
        let views = wanted.iter().map(|series| {
            let mut view = view(series, line(range, steps, series, now));
            if let Some(fields) = view.as_object_mut() {
                fields.remove("help");
            }
            view
        });
        answer["series"] = views.collect();
        answer
    }
}
