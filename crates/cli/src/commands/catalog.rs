//! `runyard catalog gpus|cpus|datacenters`: what this server's machine has, and what it costs.

use clap::{Args, Subcommand};
use serde::Deserialize;

use crate::client::path;
use crate::context::Context;
use crate::output::Table;
use crate::views::{Cpu, DataCenter, GpuKind};

/// Show what there is to run on: GPUs, processors, the data centre
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard catalog gpus
  runyard catalog cpus --json | jq '.cpus[] | {id, price}'")]
pub struct Catalog {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The kind of GPU that is here, how many, and how many are free
    Gpus,
    /// Flavours of processors
    Cpus,
    /// This machine, as a data centre
    Datacenters,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Listed {
    gpus: Vec<GpuKind>,
    cpus: Vec<Cpu>,
    data_centers: Vec<DataCenter>,
}

impl Catalog {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (list, ask) = match self.what {
            What::Gpus => ("gpus", Some(("AVAILABILITY", "SERVERLESS"))),
            What::Cpus => ("cpus", Some(("AVAILABILITY", "SERVERLESS"))),
            What::Datacenters => ("datacenters", None),
        };
        let query = [
            ("include", ask.map(|(include, _)| include.to_owned())),
            ("product", ask.map(|(_, product)| product.to_owned())),
        ];
        let reply = context.client().await?.get(path::query(&path::api(&["catalog", list]), &query)).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let listed: Listed = reply.parse()?;
        let table = match self.what {
            What::Gpus => gpus(&listed.gpus),
            What::Cpus => cpus(&listed.cpus),
            What::Datacenters => centers(&listed.data_centers),
        };
        if matches!(self.what, What::Gpus) && listed.gpus.is_empty() {
            context.ui.note("this machine has no GPU");
            return Ok(());
        }
        context.ui.table(&table)
    }
}

fn gpus(all: &[GpuKind]) -> Table {
    let mut table = Table::new(&["ID", "POOL", "MEMORY", "COUNT", "AN HOUR", "FREE"]);
    for gpu in all {
        table.row(vec![
            gpu.id.as_str().into(),
            gpu.pool.as_deref().unwrap_or("–").into(),
            format!("{} GB", gpu.memory).into(),
            gpu.max_count.secure.to_string().into(),
            format!("{:.2}", gpu.price.serverless).into(),
            gpu.availability.as_deref().unwrap_or("–").into(),
        ]);
    }
    table
}

fn cpus(all: &[Cpu]) -> Table {
    let mut table = Table::new(&["ID", "NAME", "PROCESSORS", "GB EACH", "AN HOUR EACH", "FREE"]);
    for cpu in all {
        table.row(vec![
            cpu.id.as_str().into(),
            cpu.name.as_str().into(),
            format!("{} to {}", cpu.vcpu.min, cpu.vcpu.max).into(),
            cpu.ram_gb_per_vcpu.to_string().into(),
            format!("{:.2}", cpu.price.serverless_per_vcpu).into(),
            cpu.availability.as_deref().unwrap_or("–").into(),
        ]);
    }
    table
}

fn centers(all: &[DataCenter]) -> Table {
    let mut table = Table::new(&["ID", "NAME", "VOLUMES"]);
    for center in all {
        table.row(vec![
            center.id.as_str().into(),
            center.name.as_str().into(),
            center.network_volume_types.join(", ").into(),
        ]);
    }
    table
}
