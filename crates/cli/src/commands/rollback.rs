//! `runyard rollback EP [--to N]`: moves traffic to an earlier release, with the stream of a deploy.

use clap::Args;

use crate::commands::deploy::rollout;
use crate::context::Context;

/// Move traffic back to an earlier release
#[derive(Debug, Args)]
pub struct Rollback {
    /// The endpoint's name or id
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// The release to go back to; else the one that served before
    #[arg(long, value_name = "N", value_parser = rollout::release_number)]
    to: Option<u32>,
}

impl Rollback {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        rollout::move_traffic(context, &self.endpoint, "rollback", self.to).await
    }
}
