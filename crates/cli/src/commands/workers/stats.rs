//! `runyard workers stats [ENDPOINT|WORKER]`.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::client::{Client, path};
use crate::context::Context;
use crate::output::{Table, json};
use crate::views::Stats;

use super::Listed as Workers;

/// The pause between two looks; measuring takes a second by itself.
const PAUSE: Duration = Duration::from_secs(1);

/// The control sequence that clears a screen.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Show what workers use: processors, memory, processes, network, disks
#[derive(Debug, Args)]
pub struct Show {
    /// Only this worker, or those of this endpoint
    #[arg(value_name = "ENDPOINT|WORKER")]
    which: Option<String>,
    /// Go on until it is interrupted
    #[arg(short, long)]
    watch: bool,
}

#[derive(Deserialize)]
struct Listed {
    stats: Vec<Stats>,
}

impl Show {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        let which = match &self.which {
            Some(which) => Some(meant(&client, which).await?),
            None => None,
        };
        let query: Vec<(&str, Option<String>)> =
            which.into_iter().map(|(name, id)| (name, Some(id))).collect();
        let path = path::query(&path::api(&["workers", "stats"]), &query);
        loop {
            let reply = client.get(path.clone()).await?;
            if context.ui.json {
                let text = if self.watch { json::compact(&reply.text) } else { json::pretty(&reply.text) };
                context.ui.line(&text)?;
            } else {
                show(&reply.parse::<Listed>()?.stats, self.watch && context.ui.out_terminal, context)?;
            }
            if !self.watch {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Whether an endpoint or a worker is meant; a worker by the beginning of its id, too.
async fn meant(client: &Client, which: &str) -> anyhow::Result<(&'static str, String)> {
    let workers = client.all(path::api(&["workers"]), "workers").await?.parse::<Workers>()?.workers;
    let is_worker = workers.iter().any(|worker| worker.id.starts_with(which));
    let names_endpoint = workers.iter().any(|worker| worker.endpoint_name.as_deref() == Some(which));
    if is_worker && !names_endpoint {
        return Ok(("worker", super::resolve(client, which).await?));
    }
    Ok(("endpoint", which.to_owned()))
}

fn show(all: &[Stats], clears: bool, context: &Context) -> anyhow::Result<()> {
    if clears {
        context.ui.write(CLEAR)?;
    }
    if all.is_empty() {
        context.ui.note("no workers run");
        return Ok(());
    }
    context.ui.table(&table(all))
}

fn table(all: &[Stats]) -> Table {
    let mut table = Table::new(&[
        "ID",
        "ENDPOINT",
        "KIND",
        "CPU",
        "MEMORY",
        "LIMIT",
        "PIDS",
        "NETWORK IN/OUT",
        "DISK R/W",
    ]);
    for one in all {
        table.row(vec![
            one.worker.as_str().into(),
            one.endpoint_name.as_deref().unwrap_or("–").into(),
            one.kind.as_str().into(),
            one.cpu_percent.map_or_else(unknown, |percent| format!("{percent:.1} %")).into(),
            bytes(one.memory_bytes).into(),
            bytes(one.memory_limit_bytes).into(),
            one.pids.map_or_else(unknown, |pids| pids.to_string()).into(),
            pair(one.received_bytes, one.sent_bytes).into(),
            pair(one.read_bytes, one.written_bytes).into(),
        ]);
    }
    table
}

fn unknown() -> String {
    "–".to_owned()
}

fn bytes(count: Option<u64>) -> String {
    count.map_or_else(unknown, |count| json::bytes(usize::try_from(count).unwrap_or(usize::MAX)))
}

fn pair(one: Option<u64>, other: Option<u64>) -> String {
    if one.is_none() && other.is_none() { unknown() } else { format!("{} / {}", bytes(one), bytes(other)) }
}
