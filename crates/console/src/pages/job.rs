//! A job: how it stands and why, its life on one axis, what went in and came out, and what was printed meanwhile.

use askama::Template;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::call::{Trouble, encoded};
use crate::code::{self, Mode, Snippet};
use crate::draw::Phase;
use crate::frame::Frame;
use crate::json;
use crate::pages::logs::{LINES, Records};
use crate::pages::{overview, page};
use crate::place::Query;
use crate::preview;
use crate::session::Visit;
use crate::show::{self, Tone};
use crate::views::{Job, Record, Why, Worker};

/// The largest output that is looked through for what can be shown, in bytes.
const MOST_PREVIEW: usize = 32 << 20;

/// The largest input that is put into code and forms, in bytes.
pub(crate) const MOST_INPUT: usize = 64 << 10;

#[derive(Deserialize)]
struct Payloads<'a> {
    #[serde(borrow)]
    input: &'a RawValue,
    #[serde(borrow)]
    output: &'a RawValue,
}

/// A part of an answer that came before its end.
#[derive(Deserialize)]
struct Chunk {
    output: Box<RawValue>,
}

#[derive(Deserialize)]
struct Chunks {
    parts: Vec<Chunk>,
    more: bool,
}

/// All that is shown of a job, also beside the form that sent it.
pub(crate) struct Sheet {
    pub(crate) job: Job,
    pub(crate) why: Why,
    pub(crate) phases: Vec<Phase>,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) input: String,
    pub(crate) raw_input: String,
    pub(crate) output: String,
    pub(crate) has_output: bool,
    pub(crate) size: String,
    pub(crate) preview: String,
    pub(crate) parts: String,
    pub(crate) cut: bool,
    pub(crate) records: Vec<Record>,
    pub(crate) now: i64,
}

impl Sheet {
    pub(crate) async fn load(visit: &Visit, id: &str) -> Result<Self, Trouble> {
        let bytes = visit.bytes(&format!("/api/v1/jobs/{}", encoded(id))).await?;
        let unreadable = |error: serde_json::Error| {
            Trouble::new(
                http::StatusCode::INTERNAL_SERVER_ERROR,
                "Internal error",
                format!("the job cannot be read: {error}"),
            )
        };
        let job: Job = serde_json::from_slice(&bytes).map_err(unreadable)?;
        let payloads: Payloads<'_> = serde_json::from_slice(&bytes).map_err(unreadable)?;
        let why: Why = visit.get(&format!("/api/v1/jobs/{}/why", job.id)).await?;
        let worker = worker_of(visit, &job).await?;
        let Records { records } = visit.get(&format!("/api/v1/logs?job={}&limit={LINES}", job.id)).await?;
        let now = visit.console.inner.engine.now().0;
        let raw_output = payloads.output.get();
        let has_output = raw_output != "null";
        let (output, cut) = if has_output { json::pretty(raw_output) } else { (String::new(), false) };
        let preview = if has_output && raw_output.len() <= MOST_PREVIEW {
            let value: Value = serde_json::from_str(raw_output).unwrap_or_default();
            preview::render(&job.id, &value)
        } else {
            String::new()
        };
        let parts = if has_output { String::new() } else { parts(visit, &job).await? };
        let (phases, from, to) = phases(&job, worker.as_ref(), now);
        Ok(Self {
            input: json::pretty(payloads.input.get()).0,
            raw_input: payloads.input.get().chars().take(MOST_INPUT).collect(),
            size: show::bytes(raw_output.len() as u64),
            job,
            why,
            phases,
            from,
            to,
            output,
            has_output,
            preview,
            parts,
            cut,
            records,
            now,
        })
    }

    /// What the bars show, in words.
    pub(crate) fn axis(&self) -> String {
        show::span(self.to - self.from)
    }

    pub(crate) fn sentence(&self) -> &str {
        self.why.sentence.as_deref().unwrap_or_default()
    }

    /// Causes after the first, which is the sentence.
    pub(crate) fn more_causes(&self) -> &[crate::views::Cause] {
        self.why.causes.get(1..).unwrap_or_default()
    }

    pub(crate) fn last_lines(&self) -> String {
        self.why.causes.first().map_or_else(String::new, |cause| cause.last_lines.join("\n"))
    }
}

/// What a handler that streams has said so far, as far as nobody took it away.
async fn parts(visit: &Visit, job: &Job) -> Result<String, Trouble> {
    let Chunks { parts, more } = visit.get(&format!("/api/v1/jobs/{}/stream", job.id)).await?;
    if parts.is_empty() {
        return Ok(String::new());
    }
    let values: Vec<Value> =
        parts.iter().map(|part| serde_json::from_str(part.output.get()).unwrap_or_default()).collect();
    if values.iter().all(Value::is_string) {
        let mut text: String = values.iter().filter_map(Value::as_str).collect();
        if more {
            text.push('…');
        }
        return Ok(format!("<div class=\"prose\">{}</div>", show::esc(&text)));
    }
    let list: Vec<&str> = parts.iter().map(|part| part.output.get()).collect();
    Ok(format!("<pre class=\"json\">{}</pre>", json::pretty(&format!("[{}]", list.join(","))).0))
}

/// The worker that has it, or had it; one that waits for a start may be starting.
async fn worker_of(visit: &Visit, job: &Job) -> Result<Option<Worker>, Trouble> {
    let Some(name) = &job.endpoint_name else { return Ok(None) };
    let list: overview::Workers = visit.get(&format!("/api/v1/workers?endpoint={name}")).await?;
    let is_it = |worker: &&Worker| match &job.worker {
        Some(id) => worker.id == *id,
        None => !job.is_over() && worker.state == "starting",
    };
    Ok(list.workers.iter().find(is_it).cloned())
}

/// The parts of its life, with the start of its worker where the job waited for it; and the axis.
fn phases(job: &Job, worker: Option<&Worker>, now: i64) -> (Vec<Phase>, i64, i64) {
    let end = job.ended_at.unwrap_or(now).max(job.submitted_at);
    let from = job.submitted_at;
    let mut phases = Vec::new();
    let mut add = |name: &str, start: i64, to: Option<i64>, tone: Tone| {
        let (start, stop) = (start.max(from), to.unwrap_or(end).min(end));
        if stop >= start {
            phases.push(Phase {
                name: name.to_owned(),
                from: start,
                to: stop,
                tone,
                open: to.is_none() && !job.is_over(),
            });
        }
    };
    let taken = job.started_at.or(job.ended_at);
    add("In the queue", from, taken, Tone::Idle);
    if let Some(worker) = worker.filter(|worker| worker.ready_at.is_none_or(|ready| ready > from)) {
        if worker.started_at.is_none_or(|started| started > from) {
            add("Worker: process", worker.created_at, worker.started_at, Tone::Starting);
        }
        if let Some(started) = worker.started_at {
            add("Worker: imports and loads", started, worker.ready_at, Tone::Starting);
        }
    }
    if let Some(started) = job.started_at {
        let tone = match job.status.as_str() {
            "COMPLETED" => Tone::Ok,
            "FAILED" | "TIMED_OUT" => Tone::Bad,
            _ => Tone::Busy,
        };
        add("Running", started, job.ended_at, tone);
    }
    (phases, from, end.max(from + 1))
}

#[derive(Template)]
#[template(path = "job.html", blocks = ["live"])]
pub(crate) struct Page {
    frame: Frame,
    sheet: Sheet,
    snippets: Vec<Snippet>,
    group: &'static str,
}

page!(Page: "live" = as_live);

/// Loads it.
pub(crate) async fn load(visit: &Visit, id: &str, query: &Query) -> Result<Page, Trouble> {
    let sheet = Sheet::load(visit, id).await?;
    let job = &sheet.job;
    let mut frame = Frame::new(visit, "/jobs", &format!("Job {}", job.short()), &job.href(), query);
    frame.crumbs = vec![("/jobs".into(), "Jobs".into())];
    frame.same.cli =
        vec![format!("runyard status {id}"), format!("runyard why {id}"), format!("runyard logs --job {id}")];
    frame.same.api = vec![
        format!("GET /api/v1/jobs/{id}"),
        format!("GET /api/v1/jobs/{id}/why"),
        format!("GET /api/v1/logs?job={id}"),
        format!("GET /v2/{}/status/{id}", job.endpoint()),
    ];
    let inner = &visit.console.inner;
    let snippets = if sheet.raw_input.len() < MOST_INPUT {
        code::snippets(&inner.url, job.endpoint(), Mode::RunSync, &sheet.raw_input, inner.open)
    } else {
        Vec::new()
    };
    Ok(Page { frame, sheet, snippets, group: "job" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_life_has_its_parts() {
        let job: Job = serde_json::from_value(json!({
            "id": "j", "status": "COMPLETED", "submittedAt": 1000, "startedAt": 4000, "endedAt": 5000,
            "attempt": 1, "retries": 0,
        }))
        .expect("a job");
        let worker: Worker = serde_json::from_value(json!({
            "id": "w", "release": 1, "state": "idle", "cause": "queue", "gpus": [], "jobs": [],
            "createdAt": 1100, "startedAt": 1500, "readyAt": 3900,
        }))
        .expect("a worker");
        let (phases_of, from, to) = phases(&job, Some(&worker), 9000);
        let named: Vec<(&str, i64, i64)> =
            phases_of.iter().map(|p| (p.name.as_str(), p.from, p.to)).collect();
        let expected = [
            ("In the queue", 1000, 4000),
            ("Worker: process", 1100, 1500),
            ("Worker: imports and loads", 1500, 3900),
            ("Running", 4000, 5000),
        ];
        assert_eq!((named.as_slice(), from, to), (&expected[..], 1000, 5000));
        let warm = Worker { ready_at: Some(500), started_at: Some(200), ..worker };
        assert_eq!(phases(&job, Some(&warm), 9000).0.len(), 2, "a worker that was there is no part of it");
    }
}
