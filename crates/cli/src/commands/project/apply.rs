//! `runyard apply [PATH]`: makes the server have what `runyard.toml` says: the plan, a question, and the work.

use clap::Args;
use http::Method;

use crate::client::{Call, path};
use crate::commands::deploy::rollout::Rollout;
use crate::commands::deploy::upload;
use crate::commands::project::ProjectArgs;
use crate::commands::project::plan::{make, render};
use crate::context::Context;
use crate::output::text;

/// Change the server so that it has what runyard.toml says
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard apply                        shows the plan, asks, does it
  runyard apply --yes -e production    for a pipeline
  runyard apply --plan 3f2c9a1e00ab12cd --yes

A plan that was made of something else than there is now is refused: nothing is changed.
Exit code 3 when the environment, the build, the start or a test failed: the release before goes on serving.")]
pub struct Apply {
    #[command(flatten)]
    project: ProjectArgs,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Only if this is still the plan: the id that 'runyard plan --json' gave
    #[arg(long, value_name = "ID")]
    plan: Option<String>,
    /// What to remember about the release
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

impl Apply {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let ui = context.ui;
        let project = self.project.load()?;
        let client = context.client().await?;
        let packed = project.pack()?;
        let bundle = packed.as_ref().map(|packed| packed.sha256.clone());
        let (_, planned) = make(&client, &project, bundle.as_deref()).await?;
        if !ui.json {
            ui.note(render(&planned).trim_end());
        }
        let nothing = planned.action == "none";
        if !nothing && !self.yes {
            context
                .confirm(&format!("applying this to {}", text::line(client.target(), 200)), &planned.name)?;
        }
        if let Some(packed) = packed.filter(|_| planned.makes_release) {
            upload(&client, &packed).await?;
        }
        let mut body = project.desired(bundle.as_deref());
        body["plan"] = self.plan.unwrap_or(planned.plan).into();
        if let Some(note) = self.note {
            body["release"]["note"] = note.into();
        }
        let call = Call::new(Method::POST, path::api(&["endpoints", &project.name, "apply"])).json(&body);
        let done = Rollout::new(&client, &project.name, ui).follow(call).await?;
        if ui.json {
            return Ok(());
        }
        match done.url {
            Some(url) => ui.line(&text::line(&url, 400)),
            None => Ok(()),
        }
    }
}
