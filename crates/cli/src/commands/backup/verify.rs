//! `runyard backup verify`: reads a backup whole and says what it holds.

use std::path::PathBuf;

use clap::Args;

use super::{verified, view};
use crate::context::Context;
use crate::output::{json as layout, time};

/// Read a backup whole: checksums, database, payloads
#[derive(Debug, Args)]
pub struct Verify {
    /// The archive
    file: PathBuf,
}

impl Verify {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let manifest = verified(&self.file, context).await?.manifest;
        if context.ui.json {
            return context.ui.document(&view(&self.file, &manifest).to_string());
        }
        let word = |there: bool| if there { "yes" } else { "no" };
        let size = layout::bytes(manifest.bytes() as usize);
        for (name, value) in [
            ("sound", "yes".to_owned()),
            ("made", time::date(manifest.created_at)),
            ("of", format!("{} by runyard {}", manifest.data, manifest.version)),
            ("holds", format!("{} files, {size}", manifest.files.len())),
            ("logs", word(manifest.logs).to_owned()),
            ("keys", word(manifest.keys).to_owned()),
        ] {
            context.ui.line(&format!("{name:<6} {}", crate::output::text::line(&value, 400)))?;
        }
        Ok(())
    }
}
