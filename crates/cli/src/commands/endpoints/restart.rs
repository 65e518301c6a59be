//! `runyard endpoints restart NAME`: fresh workers, same release.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use crate::client::path;
use crate::context::Context;
use crate::output::text;

/// Drain every worker of an endpoint; new ones start as needed
#[derive(Debug, Args)]
pub struct Restart {
    /// The endpoint's name or id
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
}

#[derive(Deserialize)]
struct Restarted {
    draining: u64,
}

impl Restart {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let path = path::api(&["endpoints", &self.endpoint, "restart"]);
        let reply = context.client().await?.post(path, &json!({})).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let n = reply.parse::<Restarted>()?.draining;
        let workers = if n == 1 { "worker" } else { "workers" };
        context.ui.line(&format!("draining {n} {workers} of {}", text::line(&self.endpoint, 80)))
    }
}
