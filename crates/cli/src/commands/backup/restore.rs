//! `runyard backup restore`: a data directory from a backup, ready to be served.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::rebuild::rebuild;
use super::{Far, Passphrase, data_dir, verified};
use crate::context::Context;
use crate::errors::Failure;

/// Make a data directory from a backup: --data DIR, which is empty or not there
#[derive(Debug, Args)]
pub struct Restore {
    /// The archive
    file: PathBuf,
    #[command(flatten)]
    passphrase: Passphrase,
    /// Leave the keys out, although they are in the backup
    #[arg(long, conflicts_with = "passphrase_file")]
    without_keys: bool,
    /// Do not make the Python environments now; 'runyard backup rebuild' does it later
    #[arg(long)]
    no_environments: bool,
}

impl Restore {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let data = data_dir(context)?;
        let passphrase = if self.without_keys { None } else { self.passphrase.read()? };
        let checked = verified(&self.file, context).await?;
        if checked.manifest.keys && passphrase.is_none() && !self.without_keys {
            return Err(Failure::usage("the keys in this backup are closed with a passphrase")
                .hint("--passphrase-file FILE opens them")
                .hint("--without-keys leaves them out: sealed secrets cannot be opened then")
                .into());
        }
        let mut far = Far::new(context, "restoring", checked.manifest.bytes());
        let file = self.file.clone();
        let restored = tokio::task::spawn_blocking(move || {
            let mut progress = |bytes| far.at(bytes);
            runyard_backup::restore(&file, &checked, &data, passphrase.as_deref(), &mut progress)
        });
        let restored = restored.await??;
        if !restored.keys {
            context.ui.note(
                "the keys are not there: put your vault.key into the directory before it is served, or secrets \
                 that are sealed with it have to be set anew",
            );
        }
        let failed = if self.no_environments { None } else { Some(rebuild(&restored.data, context).await?) };
        if context.ui.json {
            let document = json!({
                "data": restored.data,
                "files": restored.manifest.files.len(),
                "bytes": restored.manifest.bytes(),
                "keys": restored.keys,
                "environmentsMissing": failed,
            });
            context.ui.document(&document.to_string())?;
        } else {
            context.ui.line(&restored.data.display().to_string())?;
        }
        if failed.is_some_and(|failed| failed > 0) {
            return Err(super::rebuild::missing(failed.unwrap_or(0)));
        }
        context.ui.note(&format!("next: runyard up --data {}", restored.data.display()));
        Ok(())
    }
}
