//! `runyard endpoints list`.

use clap::Args;
use serde::Deserialize;

use crate::client::path;
use crate::commands::endpoints::tone;
use crate::context::Context;
use crate::output::{Cell, Table, time};
use crate::views::Endpoint;

/// List endpoints
#[derive(Debug, Args)]
pub struct List {}

#[derive(Deserialize)]
struct Listed {
    endpoints: Vec<Endpoint>,
}

impl List {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let reply = context.client().await?.all(path::api(&["endpoints"]), "endpoints").await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let endpoints = reply.parse::<Listed>()?.endpoints;
        if endpoints.is_empty() {
            context.ui.note("no endpoints yet; 'runyard deploy' makes one of a folder");
            return Ok(());
        }
        context.ui.table(&table(&endpoints, time::now_ms()))
    }
}

fn table(endpoints: &[Endpoint], now: i64) -> Table {
    let headings =
        ["NAME", "STATE", "WORKERS", "QUEUE", "RUNNING", "DONE", "FAILED", "RELEASE", "AGE", "REMARK"];
    let mut table = Table::new(&headings);
    for endpoint in endpoints {
        table.row(vec![
            endpoint.name.as_str().into(),
            Cell::toned(format!("● {}", endpoint.state), tone(&endpoint.state)),
            workers(endpoint).into(),
            endpoint.jobs.waiting.to_string().into(),
            endpoint.jobs.running.to_string().into(),
            endpoint.jobs.completed.to_string().into(),
            endpoint.jobs.failed.to_string().into(),
            endpoint.serving.map_or("–".to_owned(), |n| format!("#{n}")).into(),
            time::age(endpoint.created_at, now).into(),
            endpoint.state_message.as_deref().unwrap_or_default().into(),
        ]);
    }
    table
}

/// `1 busy 1 idle /3`.
pub fn workers(endpoint: &Endpoint) -> String {
    let counts = &endpoint.workers;
    let parts = [
        (counts.running, "busy"),
        (counts.idle, "idle"),
        (counts.starting, "starting"),
        (counts.draining, "draining"),
    ];
    let mut shown: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if shown.is_empty() {
        shown.push("0".to_owned());
    }
    format!("{} /{}", shown.join(" "), endpoint.settings.workers_max)
}
