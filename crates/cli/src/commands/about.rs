//! `runyard about`: what this program is, for `runyard upgrade` of another one.

use clap::Args;
use serde_json::json;

use crate::context::Context;

/// Version and schema of this program, as JSON
#[derive(Debug, Args)]
pub struct About {}

impl About {
    pub fn run(context: &Context) -> anyhow::Result<()> {
        let document = json!({
            "name": "runyard",
            "version": env!("CARGO_PKG_VERSION"),
            "schema": runyard_store::sqlite::newest_schema(),
        });
        context.ui.json_line(&document.to_string())
    }
}
