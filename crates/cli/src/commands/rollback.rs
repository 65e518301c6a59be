//! `runyard rollback EP [--to N]`: moves traffic to an earlier release, with the stream of a deploy.

use clap::Args;
use http::Method;
use serde_json::json;

use crate::client::{Call, path};
use crate::commands::deploy::rollout::{self, Rollout};
use crate::context::Context;
use crate::output::text;

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
        let client = context.client().await?;
        let body = self.to.map_or(json!({}), |to| json!({"to": to}));
        let call = Call::new(Method::POST, path::api(&["endpoints", &self.endpoint, "rollback"])).json(&body);
        let mut rollout = Rollout::new(&client, &self.endpoint, context.ui);
        let done = rollout.follow(call).await?;
        if context.ui.json {
            return Ok(());
        }
        let number = done.release.map_or(String::new(), |n| format!(" release #{n} of"));
        context.ui.line(&format!("serving{number} {}", text::line(&self.endpoint, 80)))
    }
}
