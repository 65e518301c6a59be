//! `runyard logs [ENDPOINT|WORKER|JOB]`: what workers, installers and runyard itself wrote; with `-f`, also what they
//! will write; with `--newest-first`, as a search finds it.

mod counts;
mod show;

use std::time::Duration;

use clap::{Args, ValueEnum};
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::{Call, Client, ClientError, path};
use crate::commands::deploy::rollout::release_number;
use crate::context::Context;
use crate::job_ids;
use crate::output::{Live, Ui, json, time};
use crate::views::Record;
use show::{Printer, Shown};

/// How many lines come first where nothing is said.
const LINES: u32 = 200;

/// Show logs, the newest last; search them; -f follows them
///
/// A job with a '~' before it is inferred: it was the one job that ran on its worker.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard logs t2i -f
  runyard logs 3f2c9a1e                          all that belongs to a job
  runyard logs t2i --level warn --since 1h
  runyard logs t2i --since 6h --counts           how many lines of each level, and when
  runyard logs t2i --search 'out of memory' -C 5
  runyard logs t2i --grep 'took [0-9]{4,} ms' --newest-first
  runyard logs t2i --where 'prompt_len>1000' --since 09:00 --until 09:30
  runyard logs t2i --source stderr --jsonl | jq -r .message
  runyard logs t2i --build 15                    what the installer said")]
pub struct Logs {
    /// The endpoint's name or id, a worker's id, or a job's (or its beginning)
    #[arg(value_name = "ENDPOINT|WORKER|JOB")]
    subject: Option<String>,
    /// Go on with new lines as they come
    #[arg(short, long)]
    follow: bool,
    /// Only lines of this job (id or its beginning)
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
    /// Only lines of this worker
    #[arg(long, value_name = "WORKER")]
    worker: Option<String>,
    /// Only lines of workers of release N
    #[arg(long, value_name = "N", value_parser = release_number)]
    release: Option<u32>,
    /// What was said while the environment of release N was made
    #[arg(long, value_name = "N", value_parser = release_number, requires = "subject")]
    build: Option<u32>,
    /// Only lines of this level and above; else those that the endpoint's log level shows
    #[arg(long, value_enum)]
    level: Option<Level>,
    /// Only lines from there: what the program printed, or what runyard says of it
    #[arg(long, value_enum)]
    source: Option<Source>,
    /// Only lines from then on: 30m, 2h, 7d ago, or 10:30, 2026-01-31, 2026-01-31T10:30
    #[arg(long, value_name = "TIME", value_parser = time::moment)]
    since: Option<i64>,
    /// Only lines until then, as for --since
    #[arg(long, value_name = "TIME", value_parser = time::moment, conflicts_with = "follow")]
    until: Option<i64>,
    /// At most so many of the newest lines [default: 200; with --newest-first all]
    #[arg(short = 'n', long = "tail", value_name = "LINES")]
    limit: Option<u32>,
    /// Only lines that contain this text, in whatever case
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Only lines that match this regular expression; (?i) in front takes any case
    #[arg(long, value_name = "PATTERN", conflicts_with = "search")]
    grep: Option<String>,
    /// Only JSON lines with such a field: a=b, a.b!=c, ms>100, also >=, <, <= (may be repeated: all hold)
    #[arg(long = "where", value_name = "CONDITION")]
    conditions: Vec<String>,
    /// Also so many lines of the same worker before and after each
    #[arg(short = 'C', long, value_name = "LINES", conflicts_with_all = ["follow", "newest_first"])]
    context: Option<u32>,
    /// Show lines as they are found, the newest first, all of them
    #[arg(long, conflicts_with = "follow")]
    newest_first: bool,
    /// How many lines match over time, by level, in place of the lines; an hour back where no --since is named
    #[arg(long, conflicts_with_all = ["follow", "newest_first", "context", "limit", "jsonl"])]
    counts: bool,
    /// One JSON document a line
    #[arg(long)]
    jsonl: bool,
    /// Whole dates in UTC in place of the time of day
    #[arg(long)]
    timestamps: bool,
}

/// How bad a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    /// The API's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Where a line came from.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Source {
    Stdout,
    Stderr,
    System,
    Build,
}

#[derive(Deserialize)]
struct Listed {
    records: Vec<Record>,
    #[serde(default)]
    more: bool,
}

/// The same as documents.
#[derive(Deserialize)]
struct Documents {
    records: Vec<Box<RawValue>>,
}

/// A line of a search: a record, or how far it is.
#[derive(Deserialize)]
struct Line {
    progress: Option<Progress>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    done: u64,
    total: u64,
    is_last: bool,
}

/// What the lines are of.
#[derive(Default, Clone)]
pub(super) struct Subject {
    endpoint: Option<String>,
    worker: Option<String>,
    job: Option<String>,
}

impl Logs {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        let subject = self.subject(&client).await?;
        let Err(error) = self.show(&client, &subject, context.ui).await else { return Ok(()) };
        let missing = error.downcast_ref::<ClientError>().is_some_and(ClientError::is_not_found);
        match self.other_subject(&client, &subject).await {
            Some(other) if missing => self.show(&client, &other, context.ui).await,
            _ => Err(error),
        }
    }

    async fn show(&self, client: &Client, subject: &Subject, ui: Ui) -> anyhow::Result<()> {
        if self.counts {
            let reply = client.get(self.path(subject, self.since)).await?;
            return if ui.json {
                ui.document(&reply.text)
            } else {
                reply.parse::<counts::OverTime>()?.show(ui)
            };
        }
        let printer = Printer::new(subject, self.timestamps, self.jsonl, client, ui).await;
        if self.follow {
            return self.follow(client, subject, &printer).await;
        }
        if self.newest_first {
            return self.find(client, subject, &printer).await;
        }
        let reply = client.get(self.path(subject, self.since)).await?;
        if self.jsonl {
            let records = reply.parse::<Documents>()?.records;
            return records.iter().try_for_each(|record| ui.json_line(record.get()));
        }
        if ui.json {
            return ui.document(&reply.text);
        }
        let listed = reply.parse::<Listed>()?;
        if listed.records.is_empty() {
            ui.note("no lines");
        }
        printer.print_all(&listed.records)?;
        if listed.more && ui.err_terminal {
            ui.note("there are older lines; -n shows more of them, --newest-first all");
        }
        Ok(())
    }

    /// What is meant: a name is an endpoint's, unless it is a whole job id.
    async fn subject(&self, client: &Client) -> anyhow::Result<Subject> {
        let mut subject =
            Subject { endpoint: self.subject.clone(), worker: self.worker.clone(), job: self.job.clone() };
        if subject.endpoint.as_deref().is_some_and(job_ids::is_whole) {
            subject.job = subject.endpoint.take();
        }
        if let Some(job) = &subject.job {
            subject.job = Some(job_ids::resolve(client, job).await?);
        }
        Ok(subject)
    }

    /// What is meant where there is no such endpoint: a job by its beginning, or a worker.
    async fn other_subject(&self, client: &Client, subject: &Subject) -> Option<Subject> {
        let named = subject.endpoint.clone()?;
        if subject.job.is_some() || subject.worker.is_some() || self.build.is_some() {
            return None;
        }
        if job_ids::is_prefix(&named)
            && let Ok(job) = job_ids::resolve(client, &named).await
        {
            return Some(Subject { job: Some(job), ..Subject::default() });
        }
        let worker = Subject { worker: Some(named), ..Subject::default() };
        let query = [("worker", worker.worker.clone()), ("limit", Some("1".to_owned()))];
        let is_there = client.get(path::query(&path::api(&["logs"]), &query)).await.is_ok();
        is_there.then_some(worker)
    }

    fn path(&self, subject: &Subject, since: Option<i64>) -> String {
        let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
            value().map(|v| v.get_name().to_owned())
        };
        let limit =
            if self.newest_first || self.counts { self.limit } else { Some(self.limit.unwrap_or(LINES)) };
        let mut query = vec![
            ("endpoint", subject.endpoint.clone()),
            ("job", subject.job.clone()),
            ("worker", subject.worker.clone()),
            ("level", self.level.map(|level| level.word().to_owned())),
            ("q", self.search.clone()),
            ("since", since.map(|at| at.to_string())),
            ("limit", limit.map(|limit| limit.to_string())),
            ("build", self.build.map(|n| n.to_string())),
            ("release", self.release.map(|n| n.to_string())),
            ("source", name(&|| self.source?.to_possible_value())),
            ("regex", self.grep.clone()),
            ("until", self.until.map(|at| at.to_string())),
            ("context", self.context.map(|n| n.to_string())),
            ("stream", self.newest_first.then(|| "true".to_owned())),
            ("follow", self.follow.then(|| "true".to_owned())),
        ];
        query.extend(self.conditions.iter().map(|condition| ("where", Some(condition.clone()))));
        if self.counts {
            query.push(("steps", Some(counts::STEPS.to_string())));
            return path::query(&path::api(&["logs", "counts"]), &query);
        }
        path::query(&path::api(&["logs"]), &query)
    }

    /// Shows what is found as it is found.
    async fn find(&self, client: &Client, subject: &Subject, printer: &Printer) -> anyhow::Result<()> {
        let mut lines = client.lines(Call::new(Method::GET, self.path(subject, self.since))).await?;
        let mut live = Live::new(printer.ui);
        let (mut count, mut ended) = (0_u64, false);
        while let Some(text) = lines.next().await? {
            if let Some(progress) = serde_json::from_str::<Line>(&text)?.progress {
                ended = progress.is_last;
                let (done, total) =
                    (json::bytes(progress.done as usize), json::bytes(progress.total as usize));
                live.set(&format!("searched {done} of {total}, {count} lines found"));
                continue;
            }
            live.clear();
            count += 1;
            printer.print_line(&text)?;
        }
        live.clear();
        anyhow::ensure!(
            ended,
            "the search broke off: the server ended, or could not read the logs; start it again"
        );
        if count == 0 && !printer.json {
            printer.ui.note("no lines");
        }
        Ok(())
    }

    /// Follows until the user stops it. A server that restarts is waited for; lines that were shown are known by
    /// the time of the last one and by what was shown of that very millisecond.
    async fn follow(&self, client: &Client, subject: &Subject, printer: &Printer) -> anyhow::Result<()> {
        let mut shown = Shown::default();
        let (mut followed, mut told) = (false, false);
        loop {
            let from = if shown.any { Some(shown.at) } else { self.since };
            let ended = self.follow_once(client, self.path(subject, from), printer, &mut shown).await;
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
        path: String,
        printer: &Printer,
        shown: &mut Shown,
    ) -> anyhow::Result<()> {
        let mut lines = client.lines(Call::new(Method::GET, path)).await?;
        while let Some(text) = lines.next().await? {
            let record: Record = serde_json::from_str(&text)?;
            if shown.is_new(&record) {
                printer.print_line(&text)?;
            }
        }
        Ok(())
    }
}
