//! `runyard destroy [PATH]`: removes the endpoint that a project made.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde::Deserialize;

use crate::client::{Call, path};
use crate::commands::project::ProjectArgs;
use crate::context::Context;
use crate::errors::{Code, Failure};
use crate::output::text;

/// Remove the endpoint that runyard.toml made, with its jobs, logs and releases
#[derive(Debug, Args)]
pub struct Destroy {
    #[command(flatten)]
    project: ProjectArgs,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Also where it was made by hand, or from another file
    #[arg(long)]
    force: bool,
}

#[derive(Deserialize)]
struct Found {
    managed: Option<Managed>,
}

#[derive(Deserialize)]
struct Managed {
    by: String,
}

impl Destroy {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let project = self.project.load()?;
        let name = &project.name;
        let client = context.client().await?;
        let reply = client.get(path::api(&["endpoints", name])).await?;
        let found: Found = reply.parse()?;
        let other = match found.managed {
            Some(managed) if managed.by == project.place() => None,
            Some(managed) => {
                Some(format!("endpoint '{name}' was applied from {}", text::line(&managed.by, 200)))
            }
            None => Some(format!("endpoint '{name}' was made by hand")),
        };
        if let Some(other) = other.filter(|_| !self.force) {
            return Err(Failure::new(Code::Failure, other).hint("--force removes it all the same").into());
        }
        if !self.yes {
            context.confirm(&format!("removing endpoint '{name}' with its jobs, logs and releases"), name)?;
        }
        let call = Call::new(Method::DELETE, path::api(&["endpoints", name]));
        let call = call.only_if(reply.version.as_deref().filter(|_| !self.force));
        let reply = client.send(call.timeout(Duration::from_mins(10))).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        context.ui.line(&format!("removed {name}"))
    }
}
