//! `runyard failures EP`: what its jobs failed of, how often, and since which release.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::client::path;
use crate::commands::jobs::since;
use crate::context::Context;
use crate::output::{Table, text, time};
use crate::views::FailureGroup;

/// Show what an endpoint's jobs failed of, how often, and since which release
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard failures t2i
  runyard failures t2i --since 1h          what was seen in the last hour
  runyard failures t2i --json | jq '.failures[] | {count, title}'

Failures are alike where reason, exception, message (without numbers, ids and addresses) and line are the same.
They are counted for as long as the endpoint is there, also when the jobs are forgotten.")]
pub struct Failures {
    /// Name or id of the endpoint
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// Only those that were seen in the last 30m, 2h, 7d
    #[arg(long, value_name = "DURATION", value_parser = time::duration)]
    since: Option<Duration>,
}

#[derive(Deserialize)]
struct Listed {
    failures: Vec<FailureGroup>,
}

impl Failures {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let now = time::now_ms();
        let path = path::api(&["endpoints", &self.endpoint, "failures"]);
        let path = path::query(&path, &[("since", since(self.since, now))]);
        let reply = context.client().await?.all(path, "failures").await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let groups = reply.parse::<Listed>()?.failures;
        if groups.is_empty() {
            context.ui.note("no failures");
            return Ok(());
        }
        context.ui.table(&table(&groups, now))
    }
}

fn table(groups: &[FailureGroup], now: i64) -> Table {
    let mut table = Table::new(&["COUNT", "FIRST", "LAST", "SINCE", "NEWEST JOB", "REASON", "WHAT"]);
    for group in groups {
        table.row(vec![
            group.count.to_string().into(),
            time::age(group.first_at, now).into(),
            time::age(group.last_at, now).into(),
            group.first_release.map_or("–".to_owned(), |number| format!("#{number}")).into(),
            text::short_id(&group.job).into(),
            group.code.as_str().into(),
            group.title.as_str().into(),
        ]);
    }
    table
}
