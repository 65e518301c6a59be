//! `runyard apply [PATH…]`: makes the server have what `runyard.toml` says: the plans, a question, and the work.

use clap::Args;
use http::Method;
use serde_json::json;

use crate::client::{Call, Client, path};
use crate::commands::deploy::pack::Packed;
use crate::commands::deploy::rollout::Rollout;
use crate::commands::deploy::upload;
use crate::commands::project::many::ProjectsArgs;
use crate::commands::project::plan::{Planned, make, render, render_gone};
use crate::commands::project::{Project, prune};
use crate::context::Context;
use crate::errors::Failure;
use crate::output::text;

/// Change the server so that it has what runyard.toml says
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard apply                        shows the plan, asks, does it
  runyard apply --yes -e production    for a pipeline
  runyard apply --plan 3f2c9a1e00ab12cd --yes
  runyard apply -r services --prune    every runyard.toml below; endpoints whose file is gone are removed

A plan that was made of something else than there is now is refused: nothing is changed.
Several projects are applied one after the other; the first that fails ends it, and nothing is removed then.
Exit code 3 when the environment, the build, the start or a test failed: the release before goes on serving.")]
pub struct Apply {
    #[command(flatten)]
    projects: ProjectsArgs,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Only if this is still the plan: the id that 'runyard plan --json' gave
    #[arg(long, value_name = "ID")]
    plan: Option<String>,
    /// What to remember about the release
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Also remove endpoints that were applied from a file below PATH of this repository which is gone
    #[arg(long)]
    prune: bool,
}

/// What is done for one project.
struct Step {
    project: Project,
    packed: Option<Packed>,
    planned: Planned,
}

impl Apply {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let ui = context.ui;
        let projects = self.projects.load()?;
        if self.plan.is_some() && (projects.len() > 1 || self.prune) {
            return Err(Failure::usage("--plan names the plan of one project").into());
        }
        let client = context.client().await?;
        let gone =
            if self.prune { prune::find(&client, &self.projects, &projects).await? } else { Vec::new() };
        let mut steps = Vec::new();
        for project in projects {
            let packed = project.pack()?;
            let bundle = packed.as_ref().map(|packed| packed.sha256.as_str());
            let (_, planned) = make(&client, &project, bundle).await?;
            if !ui.json {
                ui.note(render(&planned).trim_end());
            }
            steps.push(Step { project, packed, planned });
        }
        if !ui.json && !gone.is_empty() {
            ui.note(render_gone(&gone).trim_end());
        }
        let nothing = gone.is_empty() && steps.iter().all(|step| step.planned.action == "none");
        if !nothing && !self.yes {
            let word = match steps.as_slice() {
                [one] if gone.is_empty() => one.planned.name.as_str(),
                _ => "yes",
            };
            context.confirm(&format!("applying this to {}", text::line(client.target(), 200)), word)?;
        }
        for step in steps {
            self.apply(step, &client, context).await?;
        }
        for endpoint in &gone {
            prune::remove(&client, endpoint).await?;
            if ui.json {
                ui.json_line(&json!({"removed": endpoint.name}).to_string())?;
            } else {
                ui.line(&format!("removed {}", text::line(&endpoint.name, 80)))?;
            }
        }
        Ok(())
    }

    async fn apply(&self, step: Step, client: &Client, context: &Context) -> anyhow::Result<()> {
        let ui = context.ui;
        let Step { project, packed, planned } = step;
        let bundle = packed.as_ref().map(|packed| packed.sha256.clone());
        if let Some(packed) = packed.filter(|_| planned.makes_release) {
            upload(client, &packed).await?;
        }
        let mut body = project.desired(bundle.as_deref());
        body["plan"] = self.plan.clone().unwrap_or(planned.plan).into();
        if let Some(note) = &self.note {
            body["release"]["note"] = note.clone().into();
        }
        let call = Call::new(Method::POST, path::api(&["endpoints", &project.name, "apply"])).json(&body);
        let done = Rollout::new(client, &project.name, ui).follow(call).await?;
        match done.url.filter(|_| !ui.json) {
            Some(url) => ui.line(&text::line(&url, 400)),
            None => Ok(()),
        }
    }
}
