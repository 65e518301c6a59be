//! The list of jobs, newest first. What comes while somebody reads is counted above the list and moves no row.

use std::collections::HashSet;

use askama::Template;
use runyard_domain::Access;

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
pub(crate) const ROWS: usize = 50;

/// As many newer ones are counted.
const NEWER: usize = 200;

/// As many endpoints are offered by name; where there are more, theirs is typed.
const MOST: usize = 500;

#[derive(serde::Deserialize)]
struct Named {
    name: String,
}

/// Filters by time: the parameter of the API, and the flag of the command line.
const TIMES: [(&str, &str); 4] = [
    ("since", "--since"),
    ("until", "--until"),
    ("ended_since", "--ended-since"),
    ("ended_until", "--ended-until"),
];

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
    /// When they were submitted and when they ended, from and to, as fields of a form have it, in UTC.
    fields: [String; 4],
    /// Without tests of releases.
    no_tests: bool,
    endpoints: Vec<String>,
    /// The ids of the endpoints whose jobs the visitor may cancel and retry.
    may_run: HashSet<String>,
    statuses: [(&'static str, &'static str); 6],
}

page!(Jobs: "live" = as_live);

impl Jobs {
    fn is_filtered(&self) -> bool {
        self.no_tests
            || [&self.endpoint, &self.status].into_iter().chain(&self.fields).any(|value| !value.is_empty())
    }

    /// Whether the visitor may choose it.
    fn may(&self, job: &Job) -> bool {
        self.may_run.contains(&job.endpoint_id)
    }

    /// How exact a field of a time is: to the second, where what it holds is no more.
    fn step(&self, field: usize) -> &'static str {
        if self.fields[field].contains('.') { "0.001" } else { "1" }
    }

    /// Whether less usual filters hold.
    fn has_more(&self) -> bool {
        self.no_tests || self.fields[2..].iter().any(|value| !value.is_empty())
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
    let times = TIMES.map(|(key, _)| query.get(key).and_then(moment));
    let no_tests = query.get("tests") == Some("false");
    for (key, value) in [("endpoint", endpoint), ("status", status)] {
        if !value.is_empty() {
            filter.extend(["&", key, "=", &encoded(value)]);
        }
    }
    for ((key, _), at) in TIMES.into_iter().zip(times) {
        if let Some(at) = at {
            filter.extend(["&", key, "=", &at.to_string()]);
        }
    }
    if no_tests {
        filter.push_str("&tests=false");
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
    let mut flags = String::new();
    for (flag, value) in [(" ", endpoint), (" --status ", status)] {
        if !value.is_empty() {
            flags.extend([flag, value]);
        }
    }
    for ((_, flag), at) in TIMES.into_iter().zip(times) {
        if let Some(at) = at {
            flags.extend([" ", flag, " ", &show::iso(at)]);
        }
    }
    if no_tests {
        flags.push_str(" --no-tests");
    }
    frame.same.cli =
        vec![format!("runyard jobs{flags}"), "runyard cancel JOB …".into(), "runyard retry JOB …".into()];
    frame.same.api = vec![
        format!("GET /api/v1/jobs?limit={ROWS}{filter}"),
        "POST /api/v1/jobs/JOB/cancel".into(),
        "POST /api/v1/jobs/JOB/retry".into(),
    ];
    let mut may_run: HashSet<String> = jobs.iter().map(|job| job.endpoint_id.clone()).collect();
    may_run.retain(|id| visit.may_with(Access::Run, id));
    let (endpoints, _) = visit.list::<Named>("/api/v1/endpoints", "endpoints", MOST).await?;
    let without = Query::parse(&Query::parse(&query.with("top", "")).with("older", ""));
    Ok(Jobs {
        older: older.map(|cursor| format!("/jobs?{}", without.with("cursor", &cursor))),
        fresh: format!("/jobs?{}", Query::parse(&without.with("cursor", "")).text()),
        endpoint: endpoint.to_owned(),
        status: status.to_owned(),
        fields: times.map(|at| at.map_or_else(String::new, field)),
        no_tests,
        endpoints: endpoints.into_iter().map(|endpoint| endpoint.name).collect(),
        may_run,
        statuses: STATUSES,
        frame,
        jobs,
        newer,
    })
}
