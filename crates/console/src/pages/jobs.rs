//! The list of jobs, newest first. What comes while somebody reads is counted above the list and moves no row.

use askama::Template;

use crate::call::{Trouble, encoded};
use crate::frame::Frame;
use crate::pages::page;
use crate::pages::pulse::Jobs as Answer;
use crate::place::Query;
use crate::range::{field, moment};
use crate::session::Visit;
use crate::show;
use crate::views::Job;

/// Rows of a page.
const ROWS: usize = 50;

/// As many newer ones are counted.
const NEWER: usize = 200;

/// As many endpoints are offered by name; where there are more, theirs is typed.
const MOST: usize = 500;

#[derive(serde::Deserialize)]
struct Named {
    name: String,
}

/// A status, and what it is called.
const STATUSES: [(&str, &str); 6] = [
    ("IN_QUEUE", "Queued"),
    ("IN_PROGRESS", "Running"),
    ("COMPLETED", "Completed"),
    ("FAILED", "Failed"),
    ("TIMED_OUT", "Timed out"),
    ("CANCELLED", "Cancelled"),
];

#[derive(Template)]
#[template(path = "jobs.html", blocks = ["live"])]
#[expect(clippy::struct_field_names, reason = "the list has the name of its page")]
pub(crate) struct Jobs {
    frame: Frame,
    jobs: Vec<Job>,
    /// How many came since the page was opened.
    newer: usize,
    /// The address without its place in the list.
    fresh: String,
    /// The next page.
    older: Option<String>,
    endpoint: String,
    status: String,
    /// From when to when, as fields of a form have it, in UTC.
    fields: [String; 2],
    endpoints: Vec<String>,
    statuses: [(&'static str, &'static str); 6],
}

page!(Jobs: "live" = as_live);

impl Jobs {
    fn is_filtered(&self) -> bool {
        [&self.endpoint, &self.status].into_iter().chain(&self.fields).any(|value| !value.is_empty())
    }

    fn newer_words(&self) -> String {
        if self.newer >= NEWER {
            format!("{NEWER} or more new jobs")
        } else {
            show::count(self.newer as u64, "new job")
        }
    }
}

/// Loads it.
pub(crate) async fn load(visit: &Visit, query: &Query) -> Result<Jobs, Trouble> {
    let (endpoint, status) =
        (query.get("endpoint").unwrap_or_default(), query.get("status").unwrap_or_default());
    let mut filter = String::new();
    let times = ["since", "until"].map(|key| query.get(key).and_then(moment));
    for (key, value) in [("endpoint", endpoint), ("status", status)] {
        if !value.is_empty() {
            filter.extend(["&", key, "=", &encoded(value)]);
        }
    }
    for (key, at) in [("since", times[0]), ("until", times[1])] {
        if let Some(at) = at {
            filter.extend(["&", key, "=", &at.to_string()]);
        }
    }
    let after = query.get("cursor").map_or_else(String::new, |cursor| format!("&cursor={}", encoded(cursor)));
    // The stream knows which was the first row: what came after it is counted and not shown.
    let top = query.get("top").unwrap_or_default();
    let limit = if top.is_empty() { ROWS } else { ROWS + NEWER };
    let path = format!("/api/v1/jobs?limit={limit}{filter}{after}");
    let Answer { mut jobs, next_cursor } = visit.get(&path).await?;
    let newer = if top.is_empty() { 0 } else { jobs.iter().position(|job| job.id == top).unwrap_or(0) };
    jobs.drain(..newer);
    jobs.truncate(ROWS);
    // A look of the stream reaches further than the page, which ends where it did.
    let older = if top.is_empty() { next_cursor } else { query.get("older").map(str::to_owned) };

    let mut frame = Frame::new(visit, "/jobs", "Jobs", "/jobs", query);
    if top.is_empty()
        && let Some(first) = jobs.first()
    {
        let end = query.with("older", older.as_deref().unwrap_or_default());
        let page = format!("/jobs?{}", Query::parse(&end).with("top", &first.id));
        frame.stream = Some(format!("/ui/events?page={}", encoded(&page)));
    }
    let time =
        |flag: &str, at: Option<i64>| at.map_or_else(String::new, |at| format!(" {flag} {}", show::iso(at)));
    let flags = format!(
        "{}{}{}{}",
        if endpoint.is_empty() { String::new() } else { format!(" {endpoint}") },
        if status.is_empty() { String::new() } else { format!(" --status {status}") },
        time("--since", times[0]),
        time("--until", times[1]),
    );
    frame.same.cli = vec![format!("runyard jobs{flags}")];
    frame.same.api = vec![format!("GET /api/v1/jobs?limit={ROWS}{filter}")];
    let (endpoints, _) = visit.list::<Named>("/api/v1/endpoints", "endpoints", MOST).await?;
    let without = Query::parse(&Query::parse(&query.with("top", "")).with("older", ""));
    Ok(Jobs {
        older: older.map(|cursor| format!("/jobs?{}", without.with("cursor", &cursor))),
        fresh: format!("/jobs?{}", Query::parse(&without.with("cursor", "")).text()),
        endpoint: endpoint.to_owned(),
        status: status.to_owned(),
        fields: times.map(|at| at.map_or_else(String::new, field)),
        endpoints: endpoints.into_iter().map(|endpoint| endpoint.name).collect(),
        statuses: STATUSES,
        frame,
        jobs,
        newer,
    })
}
