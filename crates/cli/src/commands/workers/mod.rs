//! `runyard workers [EP]`, `workers stats`, `workers stop` and `workers exec`.

mod stats;
mod stop;

use clap::{Args, Subcommand};
use serde::Deserialize;

use crate::client::{Client, path};
use crate::commands::exec::Exec;
use crate::context::Context;
use crate::errors::{Code, Failure};
use crate::output::{Cell, Table, Tone, text, time};
use crate::views::{Exit, Worker};

/// List workers, the running ones and those that ended lately
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  runyard workers t2i
  runyard workers stats t2i --watch            processors, memory, network and disks
  runyard workers stop w_4k2j --now            its jobs return to the queue
  runyard workers exec w_4k2j -- nvidia-smi    the same as 'runyard exec'")]
pub struct Workers {
    #[command(subcommand)]
    what: Option<What>,
    /// Only those of this endpoint
    #[arg(value_name = "ENDPOINT")]
    endpoint: Option<String>,
    /// Only those in this state: starting, idle, running, draining, gone
    #[arg(long)]
    state: Option<String>,
}

#[derive(Debug, Subcommand)]
enum What {
    Stats(stats::Show),
    Stop(stop::Stop),
    Exec(Exec),
}

#[derive(Deserialize)]
struct Listed {
    workers: Vec<Worker>,
}

impl Workers {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.what {
            Some(What::Stats(show)) => return show.run(context).await,
            Some(What::Stop(stop)) => return stop.run(context).await,
            Some(What::Exec(exec)) => return exec.run(context).await,
            None => {}
        }
        let path =
            path::query(&path::api(&["workers"]), &[("endpoint", self.endpoint), ("state", self.state)]);
        let reply = context.client().await?.all(path, "workers").await?;
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

/// The whole id of the worker that `text` begins.
pub async fn resolve(client: &Client, text: &str) -> anyhow::Result<String> {
    let listed = client.all(path::api(&["workers"]), "workers").await?.parse::<Listed>()?;
    if listed.workers.iter().any(|worker| worker.id == text) {
        return Ok(text.to_owned());
    }
    let begins = |worker: &&Worker| worker.state != "gone" && worker.id.starts_with(text);
    let found: Vec<&str> = listed.workers.iter().filter(begins).map(|worker| worker.id.as_str()).collect();
    match found.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(Failure::new(Code::NotFound, format!("there is no worker '{}'", text::line(text, 80)))
            .hint("runyard workers")
            .into()),
        many => {
            let shown: Vec<String> = many.iter().take(5).map(|id| text::line(id, 60)).collect();
            Err(Failure::usage(format!(
                "'{}' is the beginning of {} workers",
                text::line(text, 80),
                many.len()
            ))
            .cause(shown.join("\n"))
            .into())
        }
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
        (None, _) if worker.state == "gone" => "lost with its agent".to_owned(),
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
