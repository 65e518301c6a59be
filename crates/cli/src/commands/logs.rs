//! `runyard logs [EP]`: what workers, installers and runyard itself wrote; with `-f`, also what they will write.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, ValueEnum};
use http::Method;
use serde::Deserialize;

use crate::client::{Call, Client, ClientError, path};
use crate::commands::deploy::rollout::release_number;
use crate::commands::jobs::since;
use crate::context::Context;
use crate::job_ids;
use crate::output::{Tone, Ui, text, time};
use crate::views::{Endpoint, Record};

/// Show logs, the newest last; -f follows them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard logs t2i -f
  runyard logs --job 3f2c9a1e
  runyard logs t2i --level warn --since 1h
  runyard logs t2i --build 15              what the installer said")]
pub struct Logs {
    /// The endpoint's name or id, or a whole job id
    #[arg(value_name = "ENDPOINT")]
    endpoint: Option<String>,
    /// Go on with new lines as they come
    #[arg(short, long)]
    follow: bool,
    /// Only lines of this job (id or its beginning)
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
    /// Only lines of this worker
    #[arg(long, value_name = "WORKER")]
    worker: Option<String>,
    /// What was said while the environment of release N was made
    #[arg(long, value_name = "N", value_parser = release_number, requires = "endpoint")]
    build: Option<u32>,
    /// Only lines of this level and above
    #[arg(long, value_enum)]
    level: Option<Level>,
    /// Only lines of the last 30m, 2h, 7d
    #[arg(long, value_name = "DURATION", value_parser = time::duration)]
    since: Option<Duration>,
    /// At most so many of the newest lines
    #[arg(short = 'n', long = "tail", value_name = "LINES", default_value_t = 200)]
    limit: u32,
    /// Only lines that contain this text
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Whole dates in UTC in place of the time of day
    #[arg(long)]
    timestamps: bool,
}

/// How bad a line is.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Deserialize)]
struct Listed {
    records: Vec<Record>,
}

impl Logs {
    pub async fn run(mut self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        if self.endpoint.as_deref().is_some_and(job_ids::is_whole) {
            self.job = self.endpoint.take();
        }
        if let Some(job) = &self.job {
            self.job = Some(job_ids::resolve(&client, job).await?);
        }
        let since = since(self.since, time::now_ms());
        let printer = Printer::new(&self, &client, context.ui).await;
        if self.follow {
            return self.follow(&client, since, &printer).await;
        }
        let reply = client.get(self.path(since)).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let records = reply.parse::<Listed>()?.records;
        if records.is_empty() {
            context.ui.note("no lines");
        }
        records.iter().try_for_each(|record| printer.print(record))
    }

    fn path(&self, since: Option<String>) -> String {
        let level = self.level.and_then(|l| Some(l.to_possible_value()?.get_name().to_owned()));
        let query = [
            ("endpoint", self.endpoint.clone()),
            ("job", self.job.clone()),
            ("worker", self.worker.clone()),
            ("level", level),
            ("q", self.search.clone()),
            ("since", since),
            ("limit", Some(self.limit.to_string())),
            ("build", self.build.map(|n| n.to_string())),
            ("follow", self.follow.then(|| "true".to_owned())),
        ];
        path::query(&path::api(&["logs"]), &query)
    }

    /// Follows until the user stops it. A server that restarts is waited for; lines that were shown are known by
    /// the time of the last one and by what was shown of that very millisecond.
    async fn follow(&self, client: &Client, since: Option<String>, printer: &Printer) -> anyhow::Result<()> {
        let mut shown = Shown::default();
        let (mut followed, mut told) = (false, false);
        loop {
            let from = if shown.any { Some(shown.at.to_string()) } else { since.clone() };
            let ended = self.follow_once(client, from, printer, &mut shown).await;
            let (answered, error) = (ended.is_ok() || shown.any, ended.err());
            let away = error
                .as_ref()
                .and_then(|e| e.downcast_ref::<ClientError>())
                .is_some_and(ClientError::is_absence);
            followed |= answered;
            match error {
                Some(error) if !away || !followed => return Err(error),
                _ if !std::mem::replace(&mut told, true) => {
                    printer.ui.note("the server ended the stream; following on when it is back");
                }
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn follow_once(
        &self,
        client: &Client,
        since: Option<String>,
        printer: &Printer,
        shown: &mut Shown,
    ) -> anyhow::Result<()> {
        let mut lines = client.lines(Call::new(Method::GET, self.path(since))).await?;
        while let Some(text) = lines.next().await? {
            let record: Record = serde_json::from_str(&text)?;
            if !shown.is_new(&record) {
                continue;
            }
            if printer.ui.json { printer.ui.json_line(&text)? } else { printer.print(&record)? }
        }
        Ok(())
    }
}

/// What was shown last, to tell new lines from those that a second connection brings again.
#[derive(Default)]
struct Shown {
    any: bool,
    at: i64,
    /// Worker, number and text of the lines of that millisecond.
    there: Vec<(Option<String>, Option<u64>, String)>,
}

impl Shown {
    fn is_new(&mut self, record: &Record) -> bool {
        let key = (record.worker.clone(), record.seq, record.message.clone());
        if self.any && record.at == self.at && self.there.contains(&key) {
            return false;
        }
        if record.at != self.at {
            self.there.clear();
        }
        (self.any, self.at) = (true, record.at);
        self.there.push(key);
        true
    }
}

struct Printer {
    ui: Ui,
    timestamps: bool,
    /// Names by id, where lines of several endpoints are mixed.
    endpoints: Option<BTreeMap<String, String>>,
}

impl Printer {
    async fn new(logs: &Logs, client: &Client, ui: Ui) -> Self {
        #[derive(Deserialize)]
        struct Endpoints {
            endpoints: Vec<Endpoint>,
        }
        let mut printer = Self { ui, timestamps: logs.timestamps, endpoints: None };
        let mixed = logs.endpoint.is_none() && logs.job.is_none() && logs.worker.is_none();
        if mixed && !ui.json {
            let listed = client.get(path::api(&["endpoints"])).await.and_then(|r| r.parse::<Endpoints>());
            let listed = listed.map(|l| l.endpoints).unwrap_or_default();
            printer.endpoints = Some(listed.into_iter().map(|e| (e.id, e.name)).collect());
        }
        printer
    }

    fn print(&self, record: &Record) -> anyhow::Result<()> {
        self.ui.line(&self.render(record))
    }

    fn render(&self, record: &Record) -> String {
        let paint = self.ui.out;
        let at = if self.timestamps { time::rfc3339(record.at) } else { time::clock(record.at) };
        let mut head = paint.tone(&at, Tone::Dim);
        if let (Some(names), Some(id)) = (&self.endpoints, &record.endpoint) {
            let name = format!(" {:<12}", text::line(names.get(id).unwrap_or(id), 24));
            head.push_str(&name);
        }
        let worker = record.worker.as_deref().map(text::short_id);
        let who = worker.or_else(|| record.source.clone()).unwrap_or_else(|| "–".to_owned());
        let job = record.job.as_deref().map_or("–".to_owned(), text::short_id);
        head.push_str(
            &paint.tone(&format!(" {:<14} {:<8}", text::line(&who, 40), text::line(&job, 40)), Tone::Dim),
        );
        let level = record.level.as_deref().unwrap_or_default();
        head.push_str(&paint.tone(&format!(" {:<5}", text::line(&level.to_uppercase(), 12)), tone(level)));
        let said = record.said();
        let message = text::clean(&said);
        // Further lines of a message stand apart from lines of their own.
        format!("{head} {}", message.trim_end().replace('\n', "\n    "))
    }
}

fn tone(level: &str) -> Tone {
    match level {
        "error" => Tone::Bad,
        "warn" => Tone::Warn,
        _ => Tone::Dim,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_come_again_are_known() {
        let line = |at, seq, message: &str| Record {
            at,
            seq: Some(seq),
            message: message.to_owned(),
            ..Record::default()
        };
        let mut shown = Shown::default();
        assert!(shown.is_new(&line(1, 1, "a")));
        assert!(shown.is_new(&line(1, 2, "b")));
        assert!(!shown.is_new(&line(1, 1, "a")));
        assert!(shown.is_new(&line(2, 3, "a")));
        assert!(!shown.is_new(&line(2, 3, "a")));
    }
}
