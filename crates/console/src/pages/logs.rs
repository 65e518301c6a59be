//! What the workers of an endpoint printed: searched, and as it comes.

use askama::Template;
use serde::Deserialize;

use crate::call::{Trouble, encoded};
use crate::frame::Frame;
use crate::pages::endpoint::Head;
use crate::pages::page;
use crate::place::{Query, Tab};
use crate::session::Visit;
use crate::views::Record;

/// As many lines are shown.
pub(crate) const LINES: usize = 300;

#[derive(Deserialize)]
pub(crate) struct Records {
    pub(crate) records: Vec<Record>,
}

#[derive(Template)]
#[template(path = "logs.html", blocks = ["head", "live"])]
pub(crate) struct Logs {
    head: Head,
    frame: Frame,
    records: Vec<Record>,
    text: String,
    level: String,
    worker: String,
    job: String,
    build: String,
    levels: [&'static str; 4],
}

impl Logs {
    fn is_filtered(&self) -> bool {
        [&self.text, &self.level, &self.worker, &self.job, &self.build].iter().any(|value| !value.is_empty())
    }
}

page!(Logs: "head" = as_head, "live" = as_live);

/// Loads it.
pub(crate) async fn load(visit: &Visit, ep: &str, query: &Query) -> Result<Logs, Trouble> {
    let (head, mut frame) = Head::load(visit, ep, Tab::Logs, query).await?;
    let name = &head.endpoint.name;
    let value = |key: &str| query.get(key).unwrap_or_default().to_owned();
    let (text, level, worker, job, build) =
        (value("q"), value("level"), value("worker"), value("job"), value("build"));
    let mut path = format!("/api/v1/logs?endpoint={name}&limit={LINES}");
    let mut command = format!("runyard logs {name}");
    for (key, flag, value) in [
        ("q", "--search", &text),
        ("level", "--level", &level),
        ("worker", "--worker", &worker),
        ("job", "--job", &job),
        ("build", "--build", &build),
    ] {
        if !value.is_empty() {
            path.extend(["&", key, "=", &encoded(value)]);
            command.extend([" ", flag, " ", &crate::code::quoted(value)]);
        }
    }
    frame.same.cli = vec![format!("{command} -f")];
    frame.same.api = vec![format!("GET {path}&follow=true")];
    let Records { records } = visit.get(&path).await?;
    Ok(Logs {
        head,
        frame,
        records,
        text,
        level,
        worker,
        job,
        build,
        levels: ["debug", "info", "warn", "error"],
    })
}
