//! `runyard jobs [EP]`: the newest jobs as a table.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::client::path;
use crate::commands::status;
use crate::context::Context;
use crate::output::{Cell, Table, text, time};
use crate::views::Job;

/// List jobs, newest first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard jobs t2i --status failed --since 1h
  runyard jobs t2i --ended-since 1h --no-tests
  runyard jobs --json | jq -r '.jobs[].id'")]
pub struct Jobs {
    /// Only those of this endpoint
    #[arg(value_name = "ENDPOINT")]
    endpoint: Option<String>,
    /// Only those in this state: queued, running, completed, failed, cancelled, timed_out
    #[arg(long, value_parser = state)]
    status: Option<String>,
    /// Only those submitted from then on: 30m, 2h, 7d ago, or 10:30, 2026-01-31, 2026-01-31T10:30
    #[arg(long, value_name = "TIME", value_parser = time::moment)]
    since: Option<i64>,
    /// Only those submitted before then, as for --since
    #[arg(long, value_name = "TIME", value_parser = time::moment)]
    until: Option<i64>,
    /// Only those that ended from then on, as for --since
    #[arg(long, value_name = "TIME", value_parser = time::moment)]
    ended_since: Option<i64>,
    /// Only those that ended before then, as for --since
    #[arg(long, value_name = "TIME", value_parser = time::moment)]
    ended_until: Option<i64>,
    /// Without the tests of releases, which no series counts
    #[arg(long)]
    no_tests: bool,
    /// At most so many
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

#[derive(Deserialize)]
struct Listed {
    jobs: Vec<Job>,
}

impl Jobs {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let now = time::now_ms();
        let query = [
            ("endpoint", self.endpoint.clone()),
            ("status", self.status),
            ("since", self.since.map(|at| at.to_string())),
            ("until", self.until.map(|at| at.to_string())),
            ("ended_since", self.ended_since.map(|at| at.to_string())),
            ("ended_until", self.ended_until.map(|at| at.to_string())),
            ("tests", self.no_tests.then(|| "false".to_owned())),
        ];
        let path = path::query(&path::api(&["jobs"]), &query);
        let reply = context.client().await?.first(path, "jobs", self.limit as usize).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let jobs = reply.parse::<Listed>()?.jobs;
        if jobs.is_empty() {
            context.ui.note("no jobs");
            return Ok(());
        }
        context.ui.table(&table(&jobs, now))
    }
}

/// The point in time that a length before now names, for queries.
pub fn since(length: Option<Duration>, now: i64) -> Option<String> {
    length.map(|length| (now - length.as_millis() as i64).to_string())
}

fn table(jobs: &[Job], now: i64) -> Table {
    let mut table = Table::new(&["ID", "ENDPOINT", "STATUS", "WHEN", "DELAY", "EXEC", "WORKER", "REMARK"]);
    for job in jobs {
        table.row(vec![
            text::short_id(&job.id).into(),
            job.endpoint_label().into(),
            Cell::toned(&job.status, status::tone(&job.status)),
            time::age(job.submitted_at, now).into(),
            time::span(job.delay_ms).into(),
            time::span(job.execution_ms).into(),
            job.worker.as_deref().map_or("–".to_owned(), text::short_id).into(),
            job.remark().into(),
        ]);
    }
    table
}

/// A state as users type it, as the wire spells it.
fn state(text: &str) -> Result<String, String> {
    let wire = match text.to_lowercase().replace('-', "_").as_str() {
        "queued" | "waiting" | "in_queue" => "IN_QUEUE",
        "running" | "in_progress" => "IN_PROGRESS",
        "completed" | "done" => "COMPLETED",
        "failed" => "FAILED",
        "cancelled" | "canceled" => "CANCELLED",
        "timed_out" | "timeout" => "TIMED_OUT",
        _ => return Err("it is one of queued, running, completed, failed, cancelled, timed_out".to_owned()),
    };
    Ok(wire.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_understood_in_both_spellings() {
        assert_eq!(state("failed"), Ok("FAILED".to_owned()));
        assert_eq!(state("IN_QUEUE"), Ok("IN_QUEUE".to_owned()));
        assert_eq!(state("timed-out"), Ok("TIMED_OUT".to_owned()));
        assert!(state("broken").is_err());
    }
}
