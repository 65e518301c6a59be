//! `runyard retry JOB…`.

use clap::Args;

use crate::commands::cancel::change;
use crate::context::Context;

/// Run failed jobs again: same id, same input
#[derive(Debug, Args)]
pub struct Retry {
    /// The jobs' ids, or their beginnings
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<String>,
}

impl Retry {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        change(context, &self.jobs, "retry").await
    }
}
