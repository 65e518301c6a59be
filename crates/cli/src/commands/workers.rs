//! `runyard workers [EP]`.

use clap::Args;
use serde::Deserialize;

use crate::client::path;
use crate::context::Context;
use crate::output::{Cell, Table, Tone, text, time};
use crate::views::{Exit, Worker};

/// List workers, the running ones and those that ended lately
#[derive(Debug, Args)]
pub struct Workers {
    /// Only those of this endpoint
    #[arg(value_name = "ENDPOINT")]
    endpoint: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    workers: Vec<Worker>,
}

impl Workers {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let path = path::query(&path::api(&["workers"]), &[("endpoint", self.endpoint)]);
        let reply = context.client().await?.get(path).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let workers = reply.parse::<Listed>()?.workers;
        if workers.is_empty() {
            context.ui.note("no workers");
            return Ok(());
        }
        context.ui.table(&table(&workers, time::now_ms()))
    }
}

fn table(workers: &[Worker], now: i64) -> Table {
    let mut table =
        Table::new(&["ID", "ENDPOINT", "STATE", "RELEASE", "JOBS", "GPUS", "AGE", "START", "REMARK"]);
    for worker in workers {
        let gpus: Vec<String> = worker.gpus.iter().map(ToString::to_string).collect();
        let start = worker.ready_at.map(|ready| ready - worker.created_at);
        table.row(vec![
            worker.id.as_str().into(),
            worker.endpoint_name.as_deref().unwrap_or("–").into(),
            Cell::toned(&worker.state, tone(worker)),
            worker.release.map_or("–".to_owned(), |r| format!("#{r}")).into(),
            worker.jobs.len().to_string().into(),
            if gpus.is_empty() { "–".to_owned() } else { gpus.join(",") }.into(),
            time::age(worker.created_at, worker.ended_at.unwrap_or(now)).into(),
            time::span(start).into(),
            remark(worker).into(),
        ]);
    }
    table
}

fn tone(worker: &Worker) -> Tone {
    match worker.state.as_str() {
        "idle" | "running" => Tone::Good,
        "gone" if worker.stop_cause.is_none() => Tone::Bad,
        "gone" => Tone::Dim,
        _ => Tone::Warn,
    }
}

/// Why it was stopped, or how it ended by itself, or for whom it was started.
fn remark(worker: &Worker) -> String {
    if let Some(cause) = &worker.stop_cause {
        return format!("stopped: {cause}");
    }
    match (&worker.exit, &worker.cause) {
        (Some(exit), _) => ended(exit),
        (None, Some(cause)) => format!("started for {cause}"),
        (None, None) => String::new(),
    }
}

fn ended(exit: &Exit) -> String {
    let how = runyard_domain::Exit {
        code: exit.code,
        signal: exit.signal,
        out_of_memory: exit.out_of_memory,
        last_lines: Vec::new(),
        fault: None,
    };
    let how = exit.message.clone().unwrap_or_else(|| how.sentence());
    match exit.last_lines.last() {
        Some(last) => format!("{how}: {}", text::line(last, 200)),
        None => how,
    }
}
