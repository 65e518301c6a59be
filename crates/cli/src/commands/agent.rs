//! `runyard agent`: the process that owns local workers. The server starts it; people do not need to.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use runyard_engine::SystemEnv;
use runyard_runtime::Paths;

use crate::commands::serving;
use crate::context::Context;
use crate::errors::Failure;

/// Own the local workers of a data directory
#[derive(Debug, Args)]
pub struct Agent {
    /// How long workers live on without a server, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, env = "RUNYARD_ORPHAN_TIMEOUT_S")]
    orphan_timeout: u64,
}

impl Agent {
    /// Runs until it is told to end, on a runtime of the main thread alone.
    pub fn run(self, context: &Context) -> anyhow::Result<()> {
        let data: PathBuf =
            context.target.data.clone().ok_or_else(|| Failure::usage("the agent needs --data DIR"))?;
        serving::log_to_stderr();
        let mut options =
            runyard_agent::Options::new(Paths::new(std::path::absolute(data)?), Arc::new(SystemEnv));
        options.orphan_timeout = Duration::from_secs(self.orphan_timeout);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(runyard_agent::run(options))?)
    }
}
