//! `runyard promote EP [--to N]`: gives a canary, or another release, all traffic, with the stream of a deploy.

use clap::Args;
use http::Method;
use serde_json::json;

use crate::client::{Call, path};
use crate::commands::deploy::rollout::{self, Rollout};
use crate::context::Context;
use crate::output::text;

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
        let client = context.client().await?;
        let body = self.to.map_or(json!({}), |to| json!({"to": to}));
        let call = Call::new(Method::POST, path::api(&["endpoints", &self.endpoint, "promote"])).json(&body);
        let mut rollout = Rollout::new(&client, &self.endpoint, context.ui);
        let done = rollout.follow(call).await?;
        if context.ui.json {
            return Ok(());
        }
        let number = done.release.map_or(String::new(), |n| format!(" release #{n} of"));
        context.ui.line(&format!("serving{number} {}", text::line(&self.endpoint, 80)))
    }
}
