//! `runyard backup`: an archive of everything that a data directory cannot make again, and a directory from it.

mod create;
mod rebuild;
mod restore;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use runyard_backup::{Manifest, SHORTEST_PASSPHRASE};
use serde_json::{Value, json};

use crate::context::Context;
use crate::errors::{Code, Failure};
use crate::output::Live;

/// Back up the server, check a backup, restore one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard backup create /mnt/backups                        a file of its own for today
  runyard backup create b.tar --passphrase-file phrase      with the keys, closed
  runyard backup verify b.tar
  runyard backup restore b.tar --data /srv/runyard --passphrase-file phrase

In a backup are endpoints, releases with their code, jobs, results, keys (as hashes), pushed repositories and
server.toml. Environments, tools and caches are made again. vault.key, which opens sealed secrets, and webhook.secret
are in it only closed with a passphrase.")]
pub struct Backup {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Create(create::Create),
    Verify(verify::Verify),
    Restore(restore::Restore),
    Rebuild(rebuild::Rebuild),
}

impl Backup {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.what {
            What::Create(c) => c.run(context).await,
            What::Verify(c) => c.run(context).await,
            What::Restore(c) => c.run(context).await,
            What::Rebuild(c) => c.run(context).await,
        }
    }
}

/// What closes and opens keys.
#[derive(Debug, Args)]
struct Passphrase {
    /// A file whose first line is the passphrase for the keys [env: RUNYARD_BACKUP_PASSPHRASE]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Passphrase {
    fn read(&self) -> anyhow::Result<Option<String>> {
        let text = match &self.passphrase_file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?,
            None => match std::env::var("RUNYARD_BACKUP_PASSPHRASE") {
                Ok(text) if !text.is_empty() => text,
                _ => return Ok(None),
            },
        };
        let phrase = text.lines().next().unwrap_or_default().trim().to_owned();
        if phrase.chars().count() < SHORTEST_PASSPHRASE {
            let words = format!("a passphrase has at least {SHORTEST_PASSPHRASE} characters");
            return Err(Failure::usage(words).into());
        }
        Ok(Some(phrase))
    }
}

/// The data directory of commands that change one while no server runs on it.
fn data_dir(context: &Context) -> anyhow::Result<PathBuf> {
    let given = context.target.data.clone();
    let given =
        given.or_else(|| std::env::var_os("RUNYARD_DATA").filter(|d| !d.is_empty()).map(PathBuf::from));
    let dir = given.ok_or_else(|| Failure::usage("which data directory? name it with --data DIR"))?;
    Ok(std::path::absolute(dir)?)
}

/// How far something is, on a line that rewrites itself.
struct Far {
    live: Live,
    what: &'static str,
    of: u64,
}

impl Far {
    fn new(context: &Context, what: &'static str, of: u64) -> Self {
        Self { live: Live::new(context.ui), what, of }
    }

    fn at(&mut self, bytes: u64) {
        let mib = |bytes: u64| bytes >> 20;
        self.live.set(&format!("  {}: {} of {} MiB", self.what, mib(bytes), mib(self.of)));
    }
}

/// Reads an archive whole on a thread of its own.
async fn verified(file: &Path, context: &Context) -> anyhow::Result<runyard_backup::Verified> {
    let size = std::fs::metadata(file)
        .map_err(|error| Failure::new(Code::NotFound, format!("cannot read {}: {error}", file.display())))?
        .len();
    let mut far = Far::new(context, "checking", size);
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let archive = std::io::BufReader::new(std::fs::File::open(&path)?);
        // Beside the archive, where there is room for what it holds; else where the system has it.
        let beside = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let work = if can_write(beside) { beside.to_owned() } else { std::env::temp_dir() };
        Ok::<_, anyhow::Error>(runyard_backup::verify(archive, &work, &mut |bytes| far.at(bytes))?)
    });
    read.await?
}

fn can_write(dir: &Path) -> bool {
    rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok()
}

/// What a backup is, for programs.
fn view(file: &Path, manifest: &Manifest) -> Value {
    json!({
        "file": file,
        "version": manifest.version,
        "schema": manifest.schema,
        "createdAt": manifest.created_at,
        "data": manifest.data,
        "files": manifest.files.len(),
        "bytes": manifest.bytes(),
        "keys": manifest.keys,
        "logs": manifest.logs,
    })
}
