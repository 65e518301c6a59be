//! `runyard validate [PATH…]`: reads the file and says what is wrong with it. No server is asked.

use clap::Args;
use serde_json::json;

use crate::commands::project::Project;
use crate::commands::project::many::ProjectsArgs;
use crate::context::Context;
use crate::errors::Failure;

/// Check runyard.toml, without a server
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard validate
  runyard validate -r .                              every runyard.toml at and below
  runyard validate --schema > runyard.schema.json    for editors; a server has it at /schema/runyard.json")]
pub struct Validate {
    #[command(flatten)]
    projects: ProjectsArgs,
    /// Print the file's JSON Schema instead
    #[arg(long)]
    schema: bool,
}

impl Validate {
    pub fn run(&self, context: &Context) -> anyhow::Result<()> {
        if self.schema {
            return context.ui.document(&format!("{:#}", runyard_project::schema()));
        }
        self.projects.load()?.iter().try_for_each(|project| check(project, context))
    }
}

fn check(project: &Project, context: &Context) -> anyhow::Result<()> {
    if !project.has_file {
        return Err(Failure::usage(format!("there is no runyard.toml in {}", project.folder.display()))
            .hint("none is needed: 'runyard plan' shows what is asked for without one")
            .into());
    }
    project.pack()?;
    if context.ui.json {
        let valid = json!({"valid": true, "name": project.name, "release": project.release(None)});
        return context.ui.document(&valid.to_string());
    }
    for (key, value) in &project.wanted.not_applied {
        context.ui.note(&format!("{key} = {value} is read, and nothing obeys it yet"));
    }
    context.ui.line(&format!("runyard.toml is right; the endpoint is {}", project.name))
}
