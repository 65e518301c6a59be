//! `runyard gpus`: what GPUs there are, and who holds them.

use clap::Args;
use serde::Deserialize;

use crate::client::path;
use crate::context::Context;
use crate::output::{Cell, Table, Tone};
use crate::views::Gpu;

/// List the GPUs of the machine: type, memory, pool, and who holds them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard gpus
  runyard endpoints set t2i --gpus rtx4090,24GB     the first that is free
  runyard deploy --gpus 2xADA_24,-l4                two of RunPod's pool

GPUs are asked for by number, type (a short form will do), memory ('24GB': at least so much) or RunPod's pool.")]
pub struct Gpus {}

#[derive(Deserialize)]
struct Listed {
    gpus: Vec<Gpu>,
}

impl Gpus {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let reply = context.client().await?.get(path::api(&["gpus"])).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let gpus = reply.parse::<Listed>()?.gpus;
        if gpus.is_empty() {
            context
                .ui
                .note("this machine has no GPUs; 'runyard up --gpus N' makes some up, for trying things out");
            return Ok(());
        }
        context.ui.table(&table(&gpus))
    }
}

fn table(gpus: &[Gpu]) -> Table {
    let mut table = Table::new(&["GPU", "TYPE", "MEMORY", "POOL", "HELD BY"]);
    for gpu in gpus {
        let holder = match (&gpu.endpoint_name, &gpu.worker) {
            _ if gpu.free => Cell::toned("free", Tone::Good),
            (Some(name), Some(worker)) => format!("{name} (worker {worker})").into(),
            _ => "another endpoint".into(),
        };
        table.row(vec![
            gpu.index.to_string().into(),
            gpu.kind.as_str().into(),
            if gpu.memory_gb == 0 { "–".to_owned() } else { format!("{} GB", gpu.memory_gb) }.into(),
            gpu.pool.as_deref().unwrap_or("–").into(),
            holder,
        ]);
    }
    table
}
