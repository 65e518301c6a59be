//! `runyard config`: each configuration value in force and where it came from.

use clap::Args;
use serde::Deserialize;

use crate::client::path;
use crate::context::Context;
use crate::output::Table;

/// Show the server's configuration and where each value came from
#[derive(Debug, Args)]
pub struct Config {}

#[derive(Deserialize)]
struct Listed {
    values: Vec<InForce>,
}

#[derive(Deserialize)]
struct InForce {
    key: String,
    value: String,
    source: String,
}

impl Config {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        let reply = client.get(path::api(&["config"])).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let mut table = Table::new(&["KEY", "VALUE", "FROM"]);
        for value in reply.parse::<Listed>()?.values {
            table.row(vec![value.key.into(), value.value.into(), value.source.into()]);
        }
        context.ui.table(&table)
    }
}
