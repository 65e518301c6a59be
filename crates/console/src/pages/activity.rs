//! The audit log: who changed what, from where, and what it was before; by who, what, on what and when, and as a file.

use askama::Template;
use axum::extract::RawQuery;
use axum::response::{IntoResponse as _, Response};
use http::header;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Value;

use crate::call::{Trouble, encoded};
use crate::frame::Frame;
use crate::pages::{self, page};
use crate::place::Query;
use crate::session::Visit;
use crate::views::Audit;

/// Rows of a page.
const ROWS: usize = 100;

/// Calls that an export makes at most: the log keeps no more than they bring.
const CALLS: usize = 20;

const DAY_MS: i64 = 86_400_000;

/// The fields of the filter that the API takes as they are.
const FIELDS: [&str; 4] = ["endpoint", "who", "action", "subject"];

/// What kinds of changes there are, and what people call them.
const KINDS: [(&str, &str); 12] = [
    ("endpoint", "endpoints"),
    ("release", "releases"),
    ("job", "jobs"),
    ("worker", "commands beside workers"),
    ("git", "repositories"),
    ("key", "keys"),
    ("member", "members and sign-ins"),
    ("secret", "secrets"),
    ("registry", "registries"),
    ("template", "templates"),
    ("volume", "volumes"),
    ("disk", "the disk"),
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    records: Vec<Audit>,
    next_cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "activity.html")]
pub(crate) struct Activity {
    frame: Frame,
    records: Vec<Audit>,
    query: Query,
    kinds: [(&'static str, &'static str); 12],
    older: Option<String>,
    export: String,
}

page!(Activity: );

impl Activity {
    fn value(&self, name: &str) -> &str {
        self.query.get(name).unwrap_or_default()
    }

    fn is_filtered(&self) -> bool {
        FIELDS.iter().chain(&["from", "to"]).any(|field| self.query.get(field).is_some())
    }
}

/// The first moment of a day, in UTC.
fn day(text: &str) -> Option<i64> {
    let day: Date = text.parse().ok()?;
    Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// What the API is asked for, without its page.
fn filter(query: &Query) -> Result<String, Trouble> {
    let mut text = String::new();
    for field in FIELDS {
        if let Some(value) = query.get(field) {
            text.extend(["&", field, "=", &encoded(value)]);
        }
    }
    for (field, name, more) in [("from", "since", 0), ("to", "until", DAY_MS - 1)] {
        let Some(value) = query.get(field) else { continue };
        let at = day(value).ok_or_else(|| {
            let detail =
                format!("'{}' is no day: write it as 2026-12-31", value.chars().take(40).collect::<String>());
            Trouble::new(http::StatusCode::BAD_REQUEST, "Not a day", detail)
        })?;
        text.extend(["&", name, "=", &(at + more).to_string()]);
    }
    Ok(text)
}

/// The same filter on the command line.
fn flags(query: &Query) -> String {
    let one = |field: &&str| Some(format!(" --{field} {}", query.get(field)?));
    FIELDS.iter().filter_map(one).collect()
}

/// Loads it.
pub(crate) async fn load(visit: &Visit, query: &Query) -> Result<Activity, Trouble> {
    let mut frame = Frame::new(visit, "/activity", "Activity", "/activity", query);
    frame.stream = None;
    let filter = filter(query)?;
    let after = query.get("cursor").map_or_else(String::new, |cursor| format!("&cursor={}", encoded(cursor)));
    let path = format!("/api/v1/audit?limit={ROWS}{filter}");
    let flags = flags(query);
    frame.same.cli =
        vec![format!("runyard audit{flags}"), format!("runyard audit{flags} --jsonl > audit.jsonl")];
    frame.same.api = vec![format!("GET {path}")];
    let List { records, next_cursor } = visit.get(&format!("{path}{after}")).await?;
    Ok(Activity {
        older: next_cursor.map(|cursor| format!("/activity?{}", query.with("cursor", &cursor))),
        export: format!("/activity/export?{}", query.with("cursor", "")),
        query: query.clone(),
        kinds: KINDS,
        frame,
        records,
    })
}

/// `GET /activity/export`: everything that fits, one JSON record a line, newest first.
pub(crate) async fn export(visit: Visit, RawQuery(query): RawQuery) -> Response {
    let query = Query::parse(query.as_deref().unwrap_or_default());
    match lines(&visit, &query).await {
        Ok(text) => {
            let kind = [
                (header::CONTENT_TYPE, "application/x-ndjson"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"audit.jsonl\""),
            ];
            (kind, text).into_response()
        }
        Err(trouble) => pages::refused(&visit, "/activity", &trouble),
    }
}

async fn lines(visit: &Visit, query: &Query) -> Result<String, Trouble> {
    let filter = filter(query)?;
    let (mut text, mut after) = (String::new(), String::new());
    for _ in 0..CALLS {
        let page: Value = visit.get(&format!("/api/v1/audit?limit=1000{filter}{after}")).await?;
        for record in page["records"].as_array().into_iter().flatten() {
            text.push_str(&record.to_string());
            text.push('\n');
        }
        match page["nextCursor"].as_str() {
            Some(next) => after = format!("&cursor={}", encoded(next)),
            None => break,
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_what_the_api_takes() {
        let query = Query::parse("who=ann%40x.y&action=key&from=2026-01-02&to=2026-01-02&cursor=9&other=1");
        let since = 1_767_312_000_000_i64;
        let expected = format!("&who=ann%40x.y&action=key&since={since}&until={}", since + DAY_MS - 1);
        assert_eq!(filter(&query).map_err(|trouble| trouble.detail), Ok(expected));
        assert_eq!(flags(&query), " --who ann@x.y --action key");
        assert!(filter(&Query::parse("from=yesterday")).is_err());
    }
}
