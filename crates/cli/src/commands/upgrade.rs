//! `runyard upgrade`: puts another program in the place of the one that serves, while workers live on and clients
//! only wait a moment. The server's process stays: it ends its work and becomes the new program, with the same port
//! and the same arguments, so that a service manager sees nothing of it.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::client::{Client, path};
use crate::context::Context;
use crate::errors::{Code, Failure};
use crate::output::text;
use crate::target::TargetArgs;

/// How long the new program may take until it answers: it may have to bring a large database up to date.
const PATIENCE: Duration = Duration::from_mins(10);
/// How long nobody may be there before the new program counts as gone.
const GONE: Duration = Duration::from_secs(15);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Put another version in the place of the server that runs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard upgrade ./runyard-new --check       what would happen
  runyard upgrade ./runyard-new               puts it in place of the server's program and swaps it in
  runyard upgrade                             swaps in the program that a package manager has put there

Workers go on, jobs and results are kept, clients wait a moment. The program before stays beside the new one as
FILE.old. A program that knows less than the data already needs is refused. Before tables change, the database
is copied (db/before-schema-N.db).")]
pub struct Upgrade {
    /// The new program; without it, the file that the server was started from
    program: Option<PathBuf>,
    /// Only tell what would happen
    #[arg(long)]
    check: bool,
}

/// What a program says of itself.
#[derive(Debug, Deserialize)]
struct Facts {
    version: String,
    schema: u32,
}

/// What the server says of itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    version: String,
    pid: i32,
    started_at: i64,
}

/// An upgrade that can be made.
struct Plan {
    running: Running,
    /// Where the server's program lies.
    installed: PathBuf,
    /// The new program, where it is another file.
    new: Option<PathBuf>,
    from: Facts,
    to: Facts,
    workers: usize,
}

impl Upgrade {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = local_server(context).await?;
        let plan = self.plan(&client).await?;
        let steps = plan.to.schema - plan.from.schema;
        let what = format!(
            "{} → {}, {} schema steps, {} workers go on",
            plan.from.version, plan.to.version, steps, plan.workers
        );
        if self.check {
            return tell(&plan, &what, false, context);
        }
        context.ui.note(&what);
        if let Some(new) = &plan.new {
            install(new, &plan.installed).map_err(|error| cannot_install(&plan.installed, &error))?;
        }
        let pid =
            Pid::from_raw(plan.running.pid).ok_or_else(|| Failure::usage("the server has no process"))?;
        kill_process(pid, Signal::USR2)?;
        match wait(&plan, context).await {
            Ok(()) => tell(&plan, &what, true, context),
            Err(why) => Err(undo(&plan, why)),
        }
    }

    async fn plan(&self, client: &Client) -> anyhow::Result<Plan> {
        let running: Running = client.get(path::api(&["info"])).await?.parse()?;
        let workers = client.all(path::api(&["workers"]), "workers").await?.parse::<Workers>()?;
        let workers = workers.workers.iter().filter(|worker| worker.state != "gone").count();
        let process = PathBuf::from(format!("/proc/{}/exe", running.pid));
        let shown = std::fs::read_link(&process).map_err(|error| {
            Failure::new(Code::Denied, format!("cannot look at the server's process {}", running.pid))
                .cause(error.to_string())
                .hint("run this as the user that runs the server")
        })?;
        let shown = shown.display().to_string();
        let installed = PathBuf::from(shown.strip_suffix(" (deleted)").unwrap_or(&shown));
        let from = facts(&process)?;
        let new = match &self.program {
            Some(program) => Some(program.canonicalize().map_err(|error| {
                Failure::new(Code::NotFound, format!("cannot find {}", program.display()))
                    .cause(error.to_string())
            })?),
            None => None,
        };
        let new = new.filter(|new| Some(new) != installed.canonicalize().ok().as_ref());
        let to = facts(new.as_deref().unwrap_or(&installed))?;
        if to.schema < from.schema {
            return Err(older(&from, &to).into());
        }
        Ok(Plan { running, installed, new, from, to, workers })
    }
}

#[derive(Deserialize)]
struct Workers {
    workers: Vec<Worker>,
}

#[derive(Deserialize)]
struct Worker {
    state: String,
}

fn older(from: &Facts, to: &Facts) -> Failure {
    Failure::usage(format!(
        "{} knows schema {} and the data has {}: there is no way back",
        to.version, to.schema, from.schema
    ))
    .hint("a newer version of runyard")
    .hint("or the backup from before: runyard backup restore FILE --data NEW-DIR, with the older program")
}

/// The server of a data directory of this machine, through its socket.
async fn local_server(context: &Context) -> anyhow::Result<Client> {
    if context.target.url.is_some() {
        return Err(
            Failure::usage("an upgrade needs the server's machine: name its directory with --data").into()
        );
    }
    let (dir, _) = crate::commands::serving::data_dir(context, "runyard")?;
    let target = TargetArgs { data: Some(dir.clone()), ..context.target.clone() };
    target.running().await.ok_or_else(|| {
        Failure::new(Code::NotFound, format!("no server runs on {}", dir.display()))
            .hint("nothing is in use: replace the program, then runyard up")
            .into()
    })
}

/// Asks a program who it is.
fn facts(program: &Path) -> anyhow::Result<Facts> {
    let said = Command::new(program).arg("about").output();
    let bad = |why: String| {
        let text = format!("{} is no runyard that could take over", program.display());
        Failure::new(Code::Failure, text).cause(why)
    };
    let said = said.map_err(|error| bad(error.to_string()))?;
    if !said.status.success() {
        let words = text::clean(&String::from_utf8_lossy(&said.stderr)).trim().to_owned();
        return Err(bad(if words.is_empty() { said.status.to_string() } else { words }).into());
    }
    Ok(serde_json::from_slice(&said.stdout).map_err(|error| bad(error.to_string()))?)
}

/// The name under which the program before is kept.
fn kept(installed: &Path) -> PathBuf {
    let mut name = installed.as_os_str().to_owned();
    name.push(".old");
    name.into()
}

/// Puts the new program in place, whole or not at all, and keeps the one before.
fn install(new: &Path, installed: &Path) -> io::Result<()> {
    let folder = installed.parent().unwrap_or(Path::new("/"));
    let temporary = tempfile::Builder::new().prefix(".runyard-").tempfile_in(folder)?;
    io::copy(&mut std::fs::File::open(new)?, &mut temporary.as_file())?;
    let mode = std::fs::metadata(installed).map_or(0o755, |meta| meta.permissions().mode() & 0o777);
    temporary.as_file().set_permissions(std::fs::Permissions::from_mode(mode | 0o100))?;
    temporary.as_file().sync_all()?;
    let kept = kept(installed);
    match std::fs::remove_file(&kept) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::hard_link(installed, &kept)?;
    temporary.persist(installed).map_err(|error| error.error)?;
    std::fs::File::open(folder)?.sync_all()
}

fn cannot_install(installed: &Path, error: &io::Error) -> Failure {
    Failure::new(Code::Failure, format!("cannot replace {}", installed.display()))
        .cause(error.to_string())
        .hint("run this as the user that owns it, or replace it yourself, then: runyard upgrade")
}

/// Waits until the new program answers.
async fn wait(plan: &Plan, context: &Context) -> Result<(), String> {
    let (deadline, mut seen) = (Instant::now() + PATIENCE, Instant::now());
    loop {
        // Each server has an owner's key of its own.
        if let Ok(client) = local_server(context).await
            && let Ok(reply) = client.get(path::api(&["info"])).await
            && let Ok(now) = reply.parse::<Running>()
        {
            if now.started_at != plan.running.started_at && now.version == plan.to.version {
                return Ok(());
            }
            if now.started_at != plan.running.started_at {
                return Err(format!("a server of {} came up in its place", now.version));
            }
        }
        if Path::new(&format!("/proc/{}", plan.running.pid)).exists() {
            seen = Instant::now();
        } else if seen.elapsed() > GONE {
            return Err("the new program ended; its log says why".to_owned());
        }
        if Instant::now() > deadline {
            return Err(format!("it did not answer within {} minutes", PATIENCE.as_secs() / 60));
        }
        sleep(LOOK).await;
    }
}

/// Puts the program before back where nothing changed in the data.
fn undo(plan: &Plan, why: String) -> anyhow::Error {
    let failure = Failure::new(Code::Failure, "the upgrade did not come to an end").cause(why);
    let start = "start the server again: your service manager, or runyard up";
    if plan.new.is_none() {
        return failure.hint(start).into();
    }
    if plan.to.schema != plan.from.schema {
        let copy = format!("db/before-schema-{}.db holds the database as it was", plan.to.schema);
        return failure
            .hint(format!("the program before is {}", kept(&plan.installed).display()))
            .hint(copy)
            .into();
    }
    match std::fs::rename(kept(&plan.installed), &plan.installed) {
        Ok(()) => failure.hint("the program before was put back").hint(start).into(),
        Err(error) => failure.cause(format!("and the program before could not be put back: {error}")).into(),
    }
}

fn tell(plan: &Plan, what: &str, done: bool, context: &Context) -> anyhow::Result<()> {
    if context.ui.json {
        let document = json!({
            "from": plan.from.version,
            "to": plan.to.version,
            "schemaSteps": plan.to.schema - plan.from.schema,
            "program": plan.installed,
            "workers": plan.workers,
            "done": done,
        });
        return context.ui.document(&document.to_string());
    }
    if !done {
        return context.ui.line(&format!("{}: {what}", plan.installed.display()));
    }
    if plan.from.version != plan.to.version && plan.workers > 0 {
        context.ui.note("the agent goes on as it is until none of its workers is left");
    }
    context.ui.line(&format!("{} serves", plan.to.version))
}
