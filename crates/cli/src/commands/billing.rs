//! `runyard billing`: what was used, and what that cost.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::client::path;
use crate::context::Context;
use crate::output::Table;

/// Show what was used; every figure is zero until use is metered
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard billing
  runyard billing --of serverless --last 7 --bucket day")]
pub struct Billing {
    /// Only of endpoints, or of volumes
    #[arg(long, value_enum, value_name = "WHAT")]
    of: Option<Of>,
    /// How long each record is
    #[arg(long, value_enum, default_value = "day")]
    bucket: Bucket,
    /// So many buckets back; else 30 days
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    last: Option<u32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Of {
    Serverless,
    Volumes,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bucket {
    Hour,
    Day,
    Week,
    Month,
    Year,
}

#[derive(Deserialize)]
struct Report {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    totals: BTreeMap<String, f64>,
}

impl Billing {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let word = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
            value().map(|value| value.get_name().to_owned())
        };
        let base = match self.of {
            None => path::api(&["billing"]),
            Some(of) => path::api(&["billing", &word(&|| of.to_possible_value()).unwrap_or_default()]),
        };
        let query = [
            ("bucketSize", word(&|| self.bucket.to_possible_value())),
            ("lastN", self.last.map(|n| n.to_string())),
        ];
        let reply = context.client().await?.get(path::query(&base, &query)).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let mut table = Table::new(&["WHAT", "AMOUNT"]);
        for (what, amount) in reply.parse::<Report>()?.metadata.totals {
            let what = what.strip_suffix("Amount").unwrap_or(&what).to_owned();
            table.row(vec![what.into(), format!("{amount:.2}").into()]);
        }
        context.ui.table(&table)
    }
}
