//! `runyard backup create`: from the server's stream into a file, which is there only when it is whole and was read
//! back.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use http::Method;
use http_body_util::BodyExt as _;
use runyard_backup::Wrapping;
use runyard_domain::Env as _;
use runyard_engine::SystemEnv;
use serde_json::json;

use super::{Far, Passphrase, verified, view};
use crate::client::{Call, path};
use crate::context::Context;
use crate::errors::{Code, Failure};
use crate::output::json as layout;

/// How long the server may take to copy its database.
const PATIENCE: Duration = Duration::from_hours(1);

/// Make a backup, of a server that runs or of a data directory
#[derive(Debug, Args)]
pub struct Create {
    /// A folder (the file is named after the time), a new file, or - for stdout
    #[arg(default_value = ".")]
    to: PathBuf,
    /// With the logs of workers and builds
    #[arg(long)]
    logs: bool,
    #[command(flatten)]
    passphrase: Passphrase,
}

impl Create {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let wrapping = self.passphrase.read()?.map(|phrase| {
            let mut salt = [0; 16];
            SystemEnv.fill(&mut salt);
            Wrapping::new(&phrase, salt)
        });
        let has_keys = wrapping.is_some();
        let to_stdout = self.to.as_os_str() == "-";
        let file = if to_stdout { self.to.clone() } else { place(&self.to)? };
        let client = context.client().await?;
        let request = json!({"logs": self.logs, "wrapping": wrapping, "to": file.display().to_string()});
        let call = Call::new(Method::POST, path::api(&["backup"])).json(&request).timeout(PATIENCE);
        let answer = client.open(call).await?;
        let all = answer.headers().get("x-runyard-backup-bytes").and_then(|n| n.to_str().ok()?.parse().ok());
        let mut far = Far::new(context, "backing up", all.unwrap_or(0));
        let mut body = answer.into_body();
        let mut done = 0;
        let mut each = async |to: &mut dyn std::io::Write| -> anyhow::Result<()> {
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| {
                    Failure::new(Code::Failure, "the server broke the backup off")
                        .cause(error.to_string())
                        .hint("look at the server's log, then try again")
                })?;
                let Ok(piece) = frame.into_data() else { continue };
                to.write_all(&piece)?;
                done += piece.len() as u64;
                far.at(done);
            }
            Ok(())
        };
        if to_stdout {
            each(&mut std::io::stdout().lock()).await?;
            std::io::stdout().flush()?;
            return Ok(());
        }
        let folder = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut temporary = tempfile::Builder::new().prefix(".runyard-backup-").tempfile_in(folder)?;
        each(&mut temporary).await?;
        drop(far);
        temporary.as_file().sync_all()?;
        let checked = verified(temporary.path(), context).await?;
        temporary.persist_noclobber(&file).map_err(|error| taken(&file, &error.error))?;
        std::fs::File::open(folder)?.sync_all()?;
        if !has_keys {
            context.ui.note(
                "the keys are not in it: keep vault.key yourself, or use --passphrase-file; without it sealed \
                 secrets cannot be opened after a restore",
            );
        }
        if context.ui.json {
            return context.ui.document(&view(&file, &checked.manifest).to_string());
        }
        let size = layout::bytes(checked.manifest.bytes() as usize);
        context.ui.note(&format!("{} files, {size}, checked", checked.manifest.files.len()));
        context.ui.line(&file.display().to_string())
    }
}

/// The file to write: a new one, or one of its own in a folder.
fn place(to: &Path) -> anyhow::Result<PathBuf> {
    let file = if to.is_dir() {
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        to.join(format!("runyard-{now}.tar"))
    } else {
        to.to_owned()
    };
    let file = std::path::absolute(file)?;
    if file.symlink_metadata().is_ok() {
        return Err(Failure::usage(format!("{} is there already", file.display())).into());
    }
    match file.parent() {
        Some(folder) if folder.is_dir() => Ok(file),
        _ => Err(Failure::new(Code::NotFound, format!("there is no folder for {}", file.display())).into()),
    }
}

fn taken(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::Failure, format!("cannot write {}", file.display())).cause(error.to_string())
}
