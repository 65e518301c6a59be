//! `runyard validate [PATH]`: reads the file and says what is wrong with it. No server is asked.

use clap::Args;
use serde_json::json;

use crate::commands::project::ProjectArgs;
use crate::context::Context;
use crate::errors::Failure;

/// Check runyard.toml, without a server
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard validate
  runyard validate --schema > runyard.schema.json    for editors; a server has it at /schema/runyard.json")]
pub struct Validate {
    #[command(flatten)]
    project: ProjectArgs,
    /// Print the file's JSON Schema instead
    #[arg(long)]
    schema: bool,
}

impl Validate {
    pub fn run(&self, context: &Context) -> anyhow::Result<()> {
        if self.schema {
            return context.ui.document(&format!("{:#}", runyard_project::schema()));
        }
        let project = self.project.load()?;
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
        context.ui.line(&format!("runyard.toml is right; the endpoint is {}", project.name))
    }
}
