//! What one worker prints, as server-sent events: what is there, then what comes, with a sign of life while nothing
//! does. The stream of a worker that is gone ends with its last line.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use runyard_domain::worker::WorkerState;
use runyard_domain::{Access, Timestamp, WorkerId};
use runyard_logs::{Query as LogQuery, Reader, Record, Source};
use serde_json::json;
use tokio::sync::mpsc;

use crate::Manage;
use crate::auth::Auth;
use crate::logs::{self, Follow};
use crate::problem::Problem;
use crate::rest::time;

/// Clients give up after a minute without a byte.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// How many lines come first where nothing is said, and at most.
const LINES: (usize, usize) = (100, 5_000);

/// Lines that wait for a reader before what is followed waits, too.
const WAITING: usize = 256;

/// Where to begin, and which lines.
struct Asked {
    source: Option<bool>,
    lines: usize,
    since: Option<Timestamp>,
}

pub(in crate::rest) async fn stream(
    State(manage): State<Manage>,
    auth: Auth,
    Path((ep, worker)): Path<(String, String)>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Read, &ep)?;
    let known = WorkerId::parse(&worker).ok();
    let record = known.as_ref().map(|id| manage.inner.engine.reader().worker(id)).transpose()?.flatten();
    let live = manage.inner.fleet.workers().into_iter().find(|other| Some(&other.id) == known.as_ref());
    let record = live.or(record).filter(|record| record.endpoint == endpoint.id).ok_or_else(|| {
        let worker: String = worker.chars().take(60).collect();
        Problem::not_found(format!("the endpoint '{ep}' has no worker '{worker}'"))
    })?;
    let asked = asked(&query, headers.get("last-event-id").and_then(|value| value.to_str().ok()))?;
    // Subscribed before the first look, so that nothing falls between.
    let events = manage.inner.fleet.watch_runtime();
    let query = LogQuery {
        worker: Some(record.id.clone()),
        since: asked.since,
        limit: if asked.since.is_some() { LINES.1 } else { asked.lines.max(1) },
        ..LogQuery::new(endpoint.id.clone())
    };
    let (sender, receiver) = mpsc::channel::<Bytes>(WAITING);
    let follow = Follow {
        reader: Reader::open(&manage.inner.logs),
        queries: vec![query],
        skip_first: asked.lines == 0 && asked.since.is_none(),
        ends: record.state == WorkerState::Gone,
    };
    let show = move |record: &Record| event(record, asked.source);
    tokio::spawn(logs::follow(follow, events, sender, show));
    Ok(response(receiver))
}

fn asked(query: &[(String, String)], last: Option<&str>) -> Result<Asked, Problem> {
    let value = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let source = match value("source") {
        None => None,
        Some("container") => Some(true),
        Some("system") => Some(false),
        Some(_) => return Err(Problem::invalid("source must be container or system")),
    };
    let lines = match value("tail") {
        None => LINES.0,
        Some(text) => text
            .parse()
            .ok()
            .filter(|lines| *lines <= LINES.1)
            .ok_or_else(|| Problem::invalid(format!("tail must be an integer from 0 to {}", LINES.1)))?,
    };
    let moment = |name: &str, text: &str| {
        let read = text.parse::<jiff::Timestamp>().map(|at| Timestamp(at.as_millisecond()));
        read.map_err(|_| Problem::invalid(format!("{name} must be a time as 2026-01-31T00:00:00Z")))
    };
    // What came last was seen: what follows is what is looked for.
    let last = last.map(|text| moment("Last-Event-ID", text)).transpose()?.map(|at| at.plus(1));
    let since = value("since").map(|text| moment("since", text)).transpose()?;
    Ok(Asked { source, lines, since: last.or(since) })
}

/// A record as an event; nothing where another source is asked for.
fn event(record: &Record, source: Option<bool>) -> Option<Bytes> {
    let own = matches!(record.source, Source::Stdout | Source::Stderr);
    if source.is_some_and(|source| source != own) {
        return None;
    }
    let at = time(record.at);
    let source = if own { "container" } else { "system" };
    let data = json!({"source": source, "line": record.message, "ts": at});
    Some(Bytes::from(format!("id: {at}\ndata: {data}\n\n")))
}

fn response(receiver: mpsc::Receiver<Bytes>) -> Response {
    let frames = stream::unfold(receiver, |mut receiver| async move {
        let frame = match tokio::time::timeout(SIGN_OF_LIFE, receiver.recv()).await {
            Ok(frame) => frame?,
            Err(_) => Bytes::from_static(b": still there\n\n"),
        };
        Some((Ok::<_, Infallible>(frame), receiver))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(frames)).into_response()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    #[test]
    fn where_to_begin() {
        let ask = |pairs: &[(&str, &str)], last| {
            let query: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            asked(&query, last).map(|asked| (asked.source, asked.lines, asked.since.map(|at| at.0)))
        };
        assert_eq!(ask(&[], None).unwrap(), (None, 100, None));
        let both = [("source", "system"), ("tail", "0"), ("since", "1970-01-01T00:00:01Z")];
        assert_eq!(ask(&both, None).unwrap(), (Some(false), 0, Some(1_000)));
        assert_eq!(ask(&both, Some("1970-01-01T00:00:02.5Z")).unwrap().2, Some(2_501));
        for bad in [("source", "x"), ("tail", "5001"), ("tail", "-1"), ("since", "now")] {
            assert!(ask(&[bad], None).is_err(), "{bad:?}");
        }
    }
}
