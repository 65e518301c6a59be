//! What was used, by time: the shapes are there, and every figure is zero until use is metered.

use axum::Json;
use axum::extract::{Query, State};
use runyard_domain::Timestamp;
use serde_json::{Map, Value, json};

use super::time;
use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;

/// Bucket sizes, with their days.
const BUCKETS: [(&str, i64); 5] = [("hour", 0), ("day", 1), ("week", 7), ("month", 30), ("year", 365)];

const DAY_MS: i64 = 86_400_000;

/// How far back one looks where nothing is said, in days.
const USUAL_DAYS: i64 = 30;

/// The furthest that `lastN` reaches back, in buckets.
const MOST_BUCKETS: i64 = 10_000;

type Parameters = Vec<(String, String)>;

/// `GET /v2/billing`.
pub(crate) async fn all(
    State(manage): State<Manage>,
    auth: Auth,
    query: Query<Parameters>,
) -> Result<Json<Value>, Problem> {
    let amounts = [
        "podGpu",
        "podCpu",
        "podDisk",
        "serverlessGpu",
        "serverlessCpu",
        "serverlessDisk",
        "serverlessFee",
        "storageStandard",
        "storageHighPerformance",
        "endpoint",
        "clusterGpu",
        "clusterDisk",
        "clusterNetworking",
    ];
    report(&manage, &auth, &query, None, &amounts)
}

/// `GET /v2/billing/pods`.
pub(crate) async fn pods(
    State(manage): State<Manage>,
    auth: Auth,
    query: Query<Parameters>,
) -> Result<Json<Value>, Problem> {
    report(&manage, &auth, &query, Some(("podId", "uniquePodCount")), &["gpu", "cpu", "disk"])
}

/// `GET /v2/billing/serverless`.
pub(crate) async fn serverless(
    State(manage): State<Manage>,
    auth: Auth,
    query: Query<Parameters>,
) -> Result<Json<Value>, Problem> {
    let of = Some(("serverlessId", "uniqueServerlessCount"));
    report(&manage, &auth, &query, of, &["gpu", "cpu", "disk", "fee"])
}

/// `GET /v2/billing/endpoints`: those of others, that everybody may call.
pub(crate) async fn endpoints(
    State(manage): State<Manage>,
    auth: Auth,
    query: Query<Parameters>,
) -> Result<Json<Value>, Problem> {
    report(&manage, &auth, &query, None, &[])
}

/// `GET /v2/billing/network-volumes`.
pub(crate) async fn volumes(
    State(manage): State<Manage>,
    auth: Auth,
    query: Query<Parameters>,
) -> Result<Json<Value>, Problem> {
    let of = Some(("networkVolumeId", "uniqueNetworkVolumeCount"));
    report(&manage, &auth, &query, of, &["standard", "highPerformance"])
}

/// A report without records.
fn report(
    manage: &Manage,
    auth: &Auth,
    parameters: &Parameters,
    of: Option<(&str, &str)>,
    amounts: &[&str],
) -> Result<Json<Value>, Problem> {
    auth.0.may_see_billing()?;
    let mut query = span(parameters, manage.inner.engine.env().wall())?;
    let mut totals = Map::new();
    totals.insert("totalAmount".to_owned(), json!(0.0));
    totals.extend(amounts.iter().map(|name| (format!("{name}Amount"), json!(0.0))));
    let mut metadata = json!({"recordCount": 0, "totals": totals});
    if let Some((id, count)) = of {
        query.insert(id.to_owned(), json!(value(parameters, id)));
        metadata[count] = json!(0);
    }
    metadata["query"] = Value::Object(query);
    Ok(Json(json!({"records": [], "metadata": metadata})))
}

fn value<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The time that is asked for.
fn span(parameters: &Parameters, now: Timestamp) -> Result<Map<String, Value>, Problem> {
    let bucket = value(parameters, "bucketSize").unwrap_or("day");
    let days = BUCKETS.iter().find(|(name, _)| *name == bucket).map(|(_, days)| *days).ok_or_else(|| {
        let words = BUCKETS.map(|(name, _)| name).join(", ");
        Problem::invalid(format!("bucketSize must be one of {words}"))
    })?;
    let moment = |name: &str| {
        let text = value(parameters, name)?;
        let wrong = || Problem::invalid(format!("{name} must be a time as 2026-01-31T00:00:00Z"));
        let read = text.parse::<jiff::Timestamp>().map(|at| Timestamp(at.as_millisecond()));
        Some(read.map_err(|_| wrong()))
    };
    let end = moment("endTime").transpose()?.unwrap_or(now);
    let last = match value(parameters, "lastN") {
        None => None,
        Some(text) => {
            let n = text.parse::<i64>().ok().filter(|n| *n >= 1);
            Some(
                n.ok_or_else(|| Problem::invalid("lastN must be an integer of at least 1"))?
                    .min(MOST_BUCKETS),
            )
        }
    };
    let step = if days == 0 { DAY_MS / 24 } else { days * DAY_MS };
    let back = last.map_or(USUAL_DAYS * DAY_MS, |n| n * step);
    let start = moment("startTime").transpose()?.unwrap_or(end.plus(-back));
    let fields = [("startTime", time(start)), ("endTime", time(end)), ("bucketSize", bucket.to_owned())];
    Ok(fields.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    #[test]
    fn a_span_ends_now_and_goes_back() {
        let asked = |text: &[(&str, &str)]| {
            let parameters: Parameters =
                text.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            span(&parameters, Timestamp(86_400_000)).map(|span| json!(span).to_string())
        };
        assert!(asked(&[("lastN", "1"), ("bucketSize", "day")]).unwrap().contains("1970-01-01T00:00:00Z"));
        assert!(asked(&[("lastN", "99999999999")]).is_ok());
        for bad in [("lastN", "0"), ("bucketSize", "minute"), ("startTime", "yesterday")] {
            assert!(asked(&[bad]).is_err(), "{bad:?}");
        }
    }
}
