//! Lines of logs beside their page: as they come (`GET /ui/logs`), and as a file (`GET /ui/logs/file`). Both take the
//! filters of the page's address.

use std::time::Duration;

use axum::body::Body;
use axum::extract::RawQuery;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::call::trouble;
use crate::pages::logs::{Filter, Lines, Records};
use crate::place::Query;
use crate::session::Visit;
use crate::show;
use crate::views::Record;

/// What comes within so long goes together.
const TOGETHER: Duration = Duration::from_millis(200);

/// The most lines of one message.
const MOST: usize = 200;

/// How often a page that hears nothing is told that the server is there.
const QUIET: Duration = Duration::from_secs(15);

/// Lines of a file.
const FILE: usize = 5_000;

struct Following {
    body: Body,
    /// The beginning of a line whose end has not come.
    rest: Vec<u8>,
    endpoint: String,
    closing: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

/// `GET /ui/logs?endpoint=…`: the newest lines that fit, then those that come, as rows of the page.
pub(crate) async fn follow(visit: Visit, RawQuery(query): RawQuery) -> Response {
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let filter = Filter::of(&query, visit.console.inner.engine.now().0);
    let endpoint = query.get("endpoint").unwrap_or_default().to_owned();
    let Ok(permit) = visit.console.inner.streams.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open; this one stays as it is")
            .into_response();
    };
    let path = format!("/api/v1/logs?{}&follow=true&limit=300", filter.api(&endpoint));
    let answer = visit.open(Method::GET, &path).await;
    if !answer.status().is_success() {
        let status = answer.status();
        let body = answer.into_body().collect().await.map(http_body_util::Collected::to_bytes);
        return (status, trouble(status, &body.unwrap_or_default()).words()).into_response();
    }
    let following = Following {
        body: answer.into_body(),
        rest: Vec::new(),
        endpoint,
        closing: visit.console.inner.closing.subscribe(),
        _permit: permit,
    };
    let body = stream::unfold(following, |mut following| async move {
        let bytes = following.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), following))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, [("x-accel-buffering", "no")], Body::from_stream(body)).into_response()
}

impl Following {
    /// The next message: all that came within a moment.
    async fn next(&mut self) -> Option<Bytes> {
        let mut records = Vec::new();
        let quiet = tokio::time::sleep(QUIET);
        tokio::pin!(quiet);
        loop {
            tokio::select! {
                frame = self.body.frame() => match frame {
                    Some(Ok(frame)) => self.read(frame.data_ref().map_or(&[][..], |data| data), &mut records),
                    _ if records.is_empty() => return None,
                    _ => break,
                },
                _ = self.closing.changed() => return None,
                () = &mut quiet => break,
            }
            if records.len() >= MOST {
                break;
            }
            if !records.is_empty() {
                let soon = tokio::time::Instant::now() + TOGETHER;
                if quiet.deadline() > soon {
                    quiet.as_mut().reset(soon);
                }
            }
        }
        if records.is_empty() {
            return Some(Bytes::from_static(b": quiet\n\n"));
        }
        let html = Lines { records: &records, endpoint: &self.endpoint }.html();
        let mut message = String::with_capacity(html.len() + 64);
        for line in html.lines().filter(|line| !line.is_empty()) {
            message.extend(["data: ", line, "\n"]);
        }
        message.push('\n');
        Some(message.into())
    }

    fn read(&mut self, data: &[u8], records: &mut Vec<Record>) {
        self.rest.extend_from_slice(data);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        let lines = whole.split(|byte| *byte == b'\n');
        records.extend(lines.filter_map(|line| serde_json::from_slice::<Record>(line).ok()));
    }
}

/// `GET /ui/logs/file?endpoint=…&format=txt|jsonl`: the newest lines that fit, oldest first.
pub(crate) async fn file(visit: Visit, RawQuery(query): RawQuery) -> Response {
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let filter = Filter::of(&query, visit.console.inner.engine.now().0);
    let endpoint = query.get("endpoint").unwrap_or_default();
    let path = format!("/api/v1/logs?{}&limit={FILE}", filter.api(endpoint));
    let is_text = query.get("format") != Some("jsonl");
    let text = if is_text {
        visit.get::<Records>(&path).await.map(|Records { records, .. }| plain(&records))
    } else {
        visit.get::<Documents>(&path).await.map(|Documents { records }| {
            records.iter().flat_map(|record| [record.to_string(), "\n".to_owned()]).collect::<String>()
        })
    };
    let text = match text {
        Ok(text) => text,
        Err(trouble) => return (trouble.status, trouble.words()).into_response(),
    };
    let (kind, end) =
        if is_text { ("text/plain; charset=utf-8", "txt") } else { ("application/x-ndjson", "jsonl") };
    let name: String = endpoint.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(60).collect();
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.{end}\"")),
    ];
    (headers, text).into_response()
}

#[derive(serde::Deserialize)]
struct Documents {
    records: Vec<serde_json::Value>,
}

/// Lines as text: when, whose, how grave, what.
fn plain(records: &[Record]) -> String {
    let line = |record: &Record| {
        format!(
            "{} {} {} {} {}\n",
            show::iso(record.at),
            record.worker(),
            record.job.as_deref().unwrap_or("-"),
            record.level(),
            record.text()
        )
    };
    records.iter().map(line).collect()
}
