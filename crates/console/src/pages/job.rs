//! A job: how it stands and why, its life on one axis, what went in and came out, and what was printed meanwhile.

use askama::Template;
use runyard_domain::Access;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::call::{Trouble, encoded};
use crate::code::{self, Mode, Snippet};
use crate::draw::Phase;
use crate::frame::Frame;
use crate::json;
use crate::pages::logs::{LINES, Records};
use crate::pages::page;
use crate::place::Query;
use crate::preview;
use crate::session::Visit;
use crate::show::{self, Tone};
use crate::views::{Job, Record, Why};

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
    /// Whether the visitor may cancel it, and send more like it.
    pub(crate) may_run: bool,
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
        let timeline: Timeline = visit.get(&format!("/api/v1/jobs/{}/timeline", job.id)).await?;
        let Records { records, .. } =
            visit.get(&format!("/api/v1/logs?job={}&limit={LINES}", job.id)).await?;
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
        let (phases, from, to) = phases(&timeline);
        let may_run = visit.may_with(Access::Run, &job.endpoint_id);
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
            may_run,
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

    /// How many jobs failed like it.
    pub(crate) fn like(&self) -> Option<&str> {
        self.why.like.as_ref().map(|like| like.sentence.as_str())
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

/// A part of its life, as the API tells it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    name: String,
    start: i64,
    end: Option<i64>,
    state: String,
    attempt: Option<u32>,
    note: Option<String>,
    usual_ms: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Timeline {
    from: i64,
    now: i64,
    spans: Vec<Span>,
}

impl Span {
    /// What it is called, with its attempt where there are several.
    fn words(&self, several: bool) -> String {
        let word = match self.name.as_str() {
            "draft" => "In a draft",
            "queued" => "In the queue",
            "worker.schedule" => "Worker: scheduled",
            "worker.image" => "Worker: image",
            "worker.launch" => "Worker: made",
            "worker.load" => "Worker: imports and loads",
            "run" => "Running",
            "result.upload" => "Result: sent and stored",
            "webhook" => "Webhook",
            "webhook.wait" => "Webhook waits",
            other => other,
        };
        match self.attempt.filter(|_| several && matches!(self.name.as_str(), "run" | "queued")) {
            Some(attempt) => format!("{word}, attempt {attempt}"),
            None => word.to_owned(),
        }
    }

    fn tone(&self) -> Tone {
        match (self.state.as_str(), self.name.as_str()) {
            ("bad", _) => Tone::Bad,
            ("open", "run") => Tone::Busy,
            (_, "run" | "result.upload" | "webhook") => Tone::Ok,
            (_, "draft" | "queued" | "webhook.wait") => Tone::Idle,
            _ => Tone::Starting,
        }
    }

    fn remark(&self) -> String {
        let usual = self.usual_ms.map(|ms| format!("usually {}", show::span(ms)));
        self.note.clone().or(usual).unwrap_or_default()
    }
}

/// The parts of its life, and the axis.
fn phases(timeline: &Timeline) -> (Vec<Phase>, i64, i64) {
    let last = timeline.spans.iter().map(|span| span.end.unwrap_or(timeline.now)).max();
    let to = last.unwrap_or(timeline.now).max(timeline.from + 1);
    let several = timeline.spans.iter().any(|span| span.attempt.is_some_and(|attempt| attempt > 1));
    let shown = timeline.spans.iter().filter(|span| span.name != "submitted");
    let phases = shown.map(|span| Phase {
        name: span.words(several),
        from: span.start,
        to: span.end.unwrap_or(to),
        tone: span.tone(),
        open: span.end.is_none(),
        remark: span.remark(),
    });
    (phases.collect(), timeline.from, to)
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
        format!("GET /api/v1/jobs/{id}/timeline"),
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
        let span = |name: &str, start: i64, end: Option<i64>, attempt: Option<u32>| {
            json!({"name": name, "start": start, "end": end, "attempt": attempt, "worker": null, "note": null,
                "usualMs": null, "state": if end.is_some() { "ok" } else { "open" }})
        };
        let timeline = |spans: Vec<Value>| -> Timeline {
            serde_json::from_value(json!({"from": 1000, "now": 9000, "spans": spans})).expect("a timeline")
        };
        let found = timeline(vec![
            span("submitted", 1000, Some(1000), None),
            span("queued", 1000, Some(4000), Some(1)),
            span("worker.load", 1500, Some(3900), Some(1)),
            span("run", 4000, Some(5000), Some(1)),
        ]);
        let (phases_of, from, to) = phases(&found);
        let named: Vec<(&str, i64, i64)> =
            phases_of.iter().map(|p| (p.name.as_str(), p.from, p.to)).collect();
        let expected = [
            ("In the queue", 1000, 4000),
            ("Worker: imports and loads", 1500, 3900),
            ("Running", 4000, 5000),
        ];
        assert_eq!((named.as_slice(), from, to), (&expected[..], 1000, 5000));
        let again =
            timeline(vec![span("run", 4000, Some(5000), Some(1)), span("queued", 5000, None, Some(2))]);
        let (phases_of, _, to) = phases(&again);
        assert_eq!(
            (phases_of[1].name.as_str(), phases_of[1].open, to),
            ("In the queue, attempt 2", true, 9000)
        );
    }
}
