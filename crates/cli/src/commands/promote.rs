//! `runyard promote EP [--to N]`: gives a canary, or another release, all traffic, with the stream of a deploy.

use clap::Args;

use crate::commands::deploy::rollout;
use crate::context::Context;

/// Give a canary, or another release that is ready, all traffic
#[derive(Debug, Args)]
pub struct Promote {
    /// The endpoint's name or id
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// The release; else the canary
    #[arg(long, value_name = "N", value_parser = rollout::release_number)]
    to: Option<u32>,
}

impl Promote {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        rollout::move_traffic(context, &self.endpoint, "promote", self.to).await
    }
}
