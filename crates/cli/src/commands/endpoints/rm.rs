//! `runyard endpoints rm NAME`.

use std::time::Duration;

use clap::Args;
use http::Method;

use crate::client::{Call, path};
use crate::context::Context;
use crate::output::text;

/// Remove an endpoint with its jobs, logs and releases
#[derive(Debug, Args)]
pub struct Rm {
    /// The endpoint's name or id
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Rm {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let name = text::line(&self.endpoint, 80);
        let client = context.client().await?;
        let found = client.get(path::api(&["endpoints", &self.endpoint])).await?;
        if !self.yes {
            let question = format!("removing endpoint '{name}' with its jobs, logs and releases");
            context.confirm(&question, &self.endpoint)?;
        }
        // Draining its workers may take as long as their jobs do.
        let call = Call::new(Method::DELETE, path::api(&["endpoints", &self.endpoint]));
        // What was asked about is what is removed, and not what somebody made of it meanwhile.
        let call = call.only_if(found.version.as_deref().filter(|_| !self.yes));
        let reply = client.send(call.timeout(Duration::from_mins(10))).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        context.ui.line(&format!("removed {name}"))
    }
}
