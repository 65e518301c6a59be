//! `runyard openapi`: the document of the management API, and which of its operations is which command.

mod capabilities;
mod pages;

use clap::Args;
use runyard_manage::openapi::document;

use crate::context::Context;

/// Print the OpenAPI document of the management API
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard openapi > runyard.openapi.json
  curl http://127.0.0.1:8080/api/v1/openapi.json      the same, from a server")]
pub struct Openapi {
    /// Instead, the table of what can be done by API, command line and console
    #[arg(long, hide = true)]
    capabilities: bool,
}

impl Openapi {
    pub fn run(self, context: &Context) -> anyhow::Result<()> {
        let document = document(None);
        if self.capabilities {
            return context.ui.write(&capabilities::page(&document));
        }
        context.ui.document(&document.to_string())
    }
}
