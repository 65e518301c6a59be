//! `runyard purge EP`: empties a queue.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use crate::client::path;
use crate::context::Context;
use crate::output::text;

/// Remove every waiting job of an endpoint; running ones go on
#[derive(Debug, Args)]
pub struct Purge {
    /// The endpoint's name or id
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Deserialize)]
struct Purged {
    removed: u64,
}

impl Purge {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        client.get(path::api(&["endpoints", &self.endpoint])).await?;
        if !self.yes {
            let question = format!("removing every waiting job of '{}'", text::line(&self.endpoint, 80));
            context.confirm(&question, &self.endpoint)?;
        }
        let path = path::api(&["endpoints", &self.endpoint, "purge"]);
        let reply = client.post(path, &json!({})).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let removed = reply.parse::<Purged>()?.removed;
        let jobs = if removed == 1 { "job" } else { "jobs" };
        context.ui.line(&format!("removed {removed} waiting {jobs} of {}", text::line(&self.endpoint, 80)))
    }
}
