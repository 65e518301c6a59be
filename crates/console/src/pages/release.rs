//! One release: how its deploy goes or went, step by step and line by line; where its workers are; what it is; the way
//! there and back.

use askama::Template;
use serde::Deserialize;

use crate::call::Trouble;
use crate::frame::Frame;
use crate::pages::endpoint::{self, Head};
use crate::pages::overview;
use crate::pages::page;
use crate::place::{Query, Tab};
use crate::session::Visit;
use crate::show::{self, State, Tone};
use crate::views::{Record, Release, Worker};

/// As many lines of the build are shown, and read for its steps.
const LINES: usize = 1_000;

/// The words that a step of a deploy is in.
const STATES: [&str; 4] = ["running", "done", "failed", "skipped"];

#[derive(Deserialize)]
struct Log {
    records: Vec<Record>,
    #[serde(default)]
    more: bool,
}

/// A step of the deploy, as its log tells it.
struct Step {
    name: String,
    state: State,
    began: i64,
    ended: Option<i64>,
    message: String,
}

impl Step {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "templates pass references")]
    fn took(&self, now: &i64) -> String {
        show::span(self.ended.unwrap_or(*now) - self.began)
    }
}

/// Whether a line tells of a step: `environment done: python 3.12`.
fn told(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = text.split_once(' ')?;
    let (state, message) = rest.split_once(": ")?;
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    (plain && STATES.contains(&state)).then_some((name, state, message))
}

/// The steps of a build's lines, each with its last word.
fn steps(records: &[Record], is_over: bool) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for record in records {
        let text = record.text();
        let Some((name, state, message)) = told(&text) else { continue };
        let ended = (state != "running").then_some(record.at);
        let state = match state {
            "done" => State::new(Tone::Ok, "Done"),
            "failed" => State::new(Tone::Bad, "Failed"),
            "skipped" => State::new(Tone::Idle, "Skipped"),
            _ if is_over => State::new(Tone::Idle, "Ended"),
            _ => State::new(Tone::Starting, "Running"),
        };
        if let Some(step) = steps.iter_mut().find(|step| step.name == name) {
            (step.state, step.ended, step.message) = (state, ended, message.to_owned());
        } else {
            let began = steps.last().and_then(|step| step.ended).unwrap_or(record.at).min(record.at);
            steps.push(Step { name: name.to_owned(), state, began, ended, message: message.to_owned() });
        }
    }
    steps
}

#[derive(Template)]
#[template(path = "release.html", blocks = ["head", "live"])]
pub(crate) struct Page {
    head: Head,
    frame: Frame,
    release: Release,
    /// The others, to compare with.
    others: Vec<u32>,
    steps: Vec<Step>,
    records: Vec<Record>,
    more: bool,
    workers: Vec<Worker>,
    on_it: usize,
}

page!(Page: "head" = as_head, "live" = as_live);

/// Loads it.
pub(crate) async fn load(visit: &Visit, ep: &str, number: u32, query: &Query) -> Result<Page, Trouble> {
    let (head, mut frame) = Head::load(visit, ep, Tab::Releases, query).await?;
    let name = head.endpoint.name.clone();
    let here = format!("/e/{name}/releases/{number}");
    let title = format!("Release {number} · {name}");
    frame = Frame { crumbs: frame.crumbs, ..Frame::new(visit, "/endpoints", &title, &here, query) };
    frame.same.cli = vec![
        format!("runyard logs {name} --build {number}"),
        format!("runyard diff {name} {number}"),
        format!("runyard rollback {name} --to {number}"),
    ];
    frame.same.api = vec![
        format!("GET /api/v1/endpoints/{name}/releases"),
        format!("GET /api/v1/logs?endpoint={name}&build={number}&follow=true"),
        format!("POST /api/v1/endpoints/{name}/rollback {{\"to\": {number}}}"),
    ];
    let endpoint::Releases { releases } =
        visit.get(&format!("/api/v1/endpoints/{name}/releases?limit=1000")).await?;
    let mut others: Vec<u32> =
        releases.iter().map(|release| release.number).filter(|n| *n != number).collect();
    others.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
    let release = releases.into_iter().find(|release| release.number == number).ok_or_else(|| {
        let detail = format!("'{name}' has no release {number}, or it is no longer kept");
        Trouble::new(http::StatusCode::NOT_FOUND, "Not found", detail)
    })?;
    let log = visit.get(&format!("/api/v1/logs?endpoint={name}&build={number}&limit={LINES}")).await;
    let Log { records, more } = log.unwrap_or(Log { records: Vec::new(), more: false });
    let list: overview::Workers = visit.get(&format!("/api/v1/workers?endpoint={name}")).await?;
    let mut workers = list.workers;
    workers.retain(|worker| !worker.is_gone());
    workers.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    let on_it = workers.iter().filter(|worker| worker.release == number).count();
    let is_over = !matches!(release.state.as_str(), "building" | "testing");
    Ok(Page {
        steps: steps(&records, is_over && !head.endpoint.rollout.in_progress),
        head,
        frame,
        release,
        others,
        records,
        more,
        workers,
        on_it,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at: i64, text: &str) -> Record {
        let json =
            serde_json::json!({"at": at, "seq": at, "source": "build", "level": "info", "message": text});
        serde_json::from_value::<Record>(json).expect("a record")
    }

    #[test]
    fn a_build_is_its_steps() {
        assert_eq!(told("environment done: python 3.12"), Some(("environment", "done", "python 3.12")));
        for line in ["Downloading x: 3", "warning done", "A done: x", "done: x"] {
            assert_eq!(told(line), None, "{line}");
        }
        let records = [
            record(100, "environment running: looking for the handler"),
            record(150, "Installed 3 packages"),
            record(300, "environment done: python 3.12"),
            record(310, "test running: starting a worker"),
            record(900, "test failed: no"),
        ];
        let steps = steps(&records, true);
        assert_eq!(steps.len(), 2);
        assert_eq!((steps[0].took(&0), steps[1].took(&0)), ("200 ms".to_owned(), "600 ms".to_owned()));
        assert_eq!((steps[1].state.tone, steps[1].message.as_str()), (Tone::Bad, "no"));
    }
}
