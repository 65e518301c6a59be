//! Series over a range of time, beside the range before: of an endpoint, a worker, a GPU, or the server.

pub(crate) mod each;

use axum::Json;
use axum::extract::{Query, State};
use runyard_domain::{Access, Timestamp};
use runyard_metrics::range::{Line, Range, line};
use runyard_metrics::series::{self, Of, Series};
use runyard_metrics::{Histogram, Interval, Subject};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;

/// How far back a range goes where nothing else is asked for, in milliseconds.
const USUAL_MS: i64 = 3_600_000;

/// The shares of durations that are told, with their names.
const SHARES: [(&str, f64); 4] = [("p50", 0.5), ("p70", 0.7), ("p90", 0.9), ("p98", 0.98)];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    endpoint: Option<String>,
    worker: Option<String>,
    gpu: Option<u32>,
    series: Option<String>,
    since: Option<i64>,
    until: Option<i64>,
    step: Option<i64>,
}

pub(crate) async fn read(
    State(manage): State<Manage>,
    auth: Auth,
    Query(which): Query<Which>,
) -> Result<Json<Value>, Problem> {
    let subject = which.subject(&manage, &auth)?;
    let wanted = wanted(subject.of(), which.series.as_deref())?;
    let now = manage.inner.engine.now();
    let range = range_of(which.since, which.until, which.step, USUAL_MS, now)?;
    let before = range.before(now);
    let engine = manage.inner.engine.clone();
    let asked = subject.clone();
    let gathered = tokio::task::spawn_blocking(move || {
        let gather = |range: &Range| {
            let rows = engine.reader().intervals(&asked, range.grain, range.since, range.until)?;
            Ok::<_, runyard_store::StoreError>(range.gather(&rows))
        };
        Ok((gather(&range)?, before.as_ref().map(gather).transpose()?))
    });
    let gathered = gathered.await.map_err(|error| Problem::internal(&error))?;
    let (steps, steps_before): (Vec<Interval>, Option<Vec<Interval>>) =
        gathered.map_err(|error: runyard_store::StoreError| Problem::internal(&error))?;
    let views = wanted.into_iter().map(|series| {
        let mut view = view(series, line(&range, &steps, series, now));
        let earlier = before.as_ref().zip(steps_before.as_ref());
        view["before"] =
            earlier.map_or(Value::Null, |(range, steps)| whole(&line(range, steps, series, now)));
        view
    });
    let views: Vec<Value> = views.collect();
    let mut answer = manage.subject_view(&subject);
    answer["since"] = json!(range.since);
    answer["until"] = json!(range.until);
    answer["stepSeconds"] = json!(range.step_ms / 1_000);
    answer["at"] = json!(range.at());
    answer["before"] = json!(before.map(|range| json!({"since": range.since, "until": range.until})));
    answer["series"] = views.into();
    Ok(Json(answer))
}

/// The range that is asked for; `usual_ms` back from its end where no beginning is named.
fn range_of(
    since: Option<i64>,
    until: Option<i64>,
    step: Option<i64>,
    usual_ms: i64,
    now: Timestamp,
) -> Result<Range, Problem> {
    let until = Timestamp(until.unwrap_or(now.0).min(now.0));
    let since = since.map_or(until.plus(-usual_ms), Timestamp);
    if step.is_some_and(|step| !(1..=2_592_000).contains(&step)) {
        return Err(Problem::invalid("step is a number of seconds, 1 to 2592000"));
    }
    Range::new(since, until, step, now).map_err(|error| Problem::invalid(error.to_string()))
}

impl Which {
    /// Whose series are asked for. What is not an endpoint's needs a key for all of them.
    fn subject(&self, manage: &Manage, auth: &Auth) -> Result<Subject, Problem> {
        match (&self.endpoint, &self.worker, self.gpu) {
            (Some(endpoint), None, None) => {
                let endpoint = manage.endpoint(&auth.0, Access::Read, endpoint)?;
                Ok(Subject::Endpoint(endpoint.id.clone()))
            }
            (None, Some(worker), None) => {
                let record = manage.worker_of(auth, Access::Read, worker)?;
                Ok(Subject::Worker(record.endpoint, record.id))
            }
            (None, None, gpu) => {
                auth.0.may(Access::Read, None)?;
                Ok(gpu.map_or(Subject::Server, Subject::Gpu))
            }
            _ => Err(Problem::invalid("ask for one of endpoint, worker and gpu, or for none of them")),
        }
    }
}

/// The series of this kind of subject, or those of them that are named.
fn wanted(of: Of, names: Option<&str>) -> Result<Vec<&'static Series>, Problem> {
    let all = || series::ALL.iter().filter(move |series| series.of == of);
    let Some(names) = names else { return Ok(all().collect()) };
    let named = names.split(',').map(str::trim).filter(|name| !name.is_empty()).take(series::ALL.len());
    named
        .map(|name| {
            all().find(|series| series.name == name).ok_or_else(|| {
                let name: String = name.chars().take(60).collect();
                let known: Vec<&str> = all().map(|series| series.name).collect();
                let detail = format!("there is no series '{name}' of a {}", of.word());
                Problem::invalid(detail).hint(format!("one of {}", known.join(", ")))
            })
        })
        .collect()
}

/// `Series`.
fn view(series: &Series, line: Line) -> Value {
    let mut view = json!({
        "name": series.name,
        "kind": series.kind.word(),
        "unit": series.unit.word(),
        "help": series.help,
        "whole": whole(&line),
    });
    match line {
        Line::Counts(counts, _) => view["count"] = json!(counts),
        Line::Levels(levels, _) => {
            let part = |pick: fn((f64, f64)) -> f64| -> Vec<Value> {
                levels.iter().map(|level| json!(level.map(pick).map(tidy))).collect()
            };
            view["average"] = part(|(average, _)| average).into();
            view["max"] = part(|(_, max)| max).into();
        }
        Line::Times(times, _) => {
            view["count"] = times.iter().map(Histogram::count).collect();
            for (name, share) in SHARES {
                let of = |times: &Histogram| json!(times.quantile(share).map(tidy));
                view[name] = times.iter().map(of).collect();
            }
            view["max"] = times.iter().map(|times| json!(longest(times))).collect();
        }
    }
    view
}

/// A series over the whole of a range.
fn whole(line: &Line) -> Value {
    match line {
        Line::Counts(_, sum) => json!({"count": sum}),
        Line::Levels(_, level) => json!({
            "average": level.map(|(average, _)| tidy(average)),
            "max": level.map(|(_, max)| tidy(max)),
        }),
        Line::Times(_, times) => {
            let mut view = Map::new();
            view.insert("count".to_owned(), times.count().into());
            view.insert("sum".to_owned(), json!(tidy(times.sum())));
            for (name, share) in SHARES {
                view.insert(name.to_owned(), json!(times.quantile(share).map(tidy)));
            }
            view.insert("max".to_owned(), json!(longest(times)));
            Value::Object(view)
        }
    }
}

fn longest(times: &Histogram) -> Option<f64> {
    (times.count() > 0).then(|| tidy(times.max()))
}

/// Six places behind the point.
fn tidy(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

impl Manage {
    /// Whose series they are.
    fn subject_view(&self, subject: &Subject) -> Value {
        let mut view = json!({"of": subject.of().word()});
        if let Some(id) = subject.endpoint() {
            view["endpoint"] = json!(id);
            view["endpointName"] =
                json!(self.inner.engine.endpoint_by_id(id).map(|found| found.name.clone()));
        }
        match subject {
            Subject::Worker(_, worker) => view["worker"] = json!(worker),
            Subject::Gpu(index) => view["gpu"] = json!(index),
            Subject::Server | Subject::Endpoint(_) => {}
        }
        view
    }
}
