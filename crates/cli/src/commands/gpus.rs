//! `runyard gpus`: what GPUs there are, and who holds them.

use clap::Args;
use serde::Deserialize;

use crate::client::path;
use crate::context::Context;
use crate::output::{Cell, Table, Tone, text};
use crate::views::Gpu;

/// List the GPUs of the machine: type, memory, pool, and who holds them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard gpus
  runyard gpus --wish 2x24GB                        whether this machine has them, and what they cost
  runyard endpoints set t2i --gpus rtx4090,24GB     the first that is free
  runyard deploy --gpus 2xADA_24,-l4                two of RunPod's pool

GPUs are asked for by number, type (a short form will do), memory ('24GB': at least so much) or RunPod's pool.")]
pub struct Gpus {
    /// Only those that this wish means, as --gpus of an endpoint has it
    #[arg(long, value_name = "GPUS")]
    wish: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    gpus: Vec<Gpu>,
    wish: Option<Wish>,
}

/// What of the machine a wish could get.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wish {
    fits: Vec<Vec<u32>>,
    free: u32,
    why: Option<String>,
    cost_per_hour: Cost,
}

#[derive(Deserialize)]
struct Cost {
    worker: Option<f64>,
}

impl Gpus {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let path = path::query(&path::api(&["gpus"]), &[("wish", self.wish)]);
        let reply = context.client().await?.get(path).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let Listed { mut gpus, wish } = reply.parse()?;
        if let Some(wish) = wish {
            if let Some(why) = wish.why {
                context.ui.note(&text::line(&why, 400));
            }
            let price = wish
                .cost_per_hour
                .worker
                .map_or(String::new(), |sum| format!("; a worker costs {sum} an hour"));
            context.ui.note(&format!("{} of them free{price}", wish.free));
            let place = |gpu: &Gpu| wish.fits.iter().position(|group| group.contains(&gpu.index));
            gpus.retain(|gpu| place(gpu).is_some());
            gpus.sort_by_key(|gpu| (place(gpu), gpu.index));
            return context.ui.table(&table(&gpus));
        }
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
