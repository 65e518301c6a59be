//! Python environments of releases whose own are gone: after a restore, on another machine, or with another Python.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use runyard_build::environment::{self, Confine};
use runyard_domain::{Env as _, Release};
use runyard_engine::SystemEnv;
use runyard_runtime::Paths;
use runyard_store::sqlite::SqliteStore;
use runyard_store::{Blobs, Command, Reader, Store as _};

use crate::{ServerError, home};

/// What is told while environments are made.
pub trait Told: Send {
    /// A release's environment is begun: endpoint and number.
    fn begins(&mut self, endpoint: &str, number: u32);
    /// The installer said something.
    fn line(&mut self, line: &str);
    /// It stands, or why it does not.
    fn ends(&mut self, endpoint: &str, number: u32, outcome: Result<(), String>);
}

/// Makes the environments that releases of a data directory lack, serving ones first; no server may run on it. Answers
/// how many could not be made.
pub async fn rebuild(data: &Path, told: &mut dyn Told) -> Result<usize, ServerError> {
    let home = home::open(data)?;
    let paths = &home.paths;
    let mut store = SqliteStore::open(&paths.db(), Blobs::open(paths.blobs())?)?;
    let mut failed = 0;
    for (endpoint, mut release) in lacking(&store.reader())? {
        told.begins(&endpoint, release.number);
        let made = make(paths, &mut release, told).await;
        failed += usize::from(made.is_err());
        if made.is_ok() {
            store.commit(SystemEnv.now(), &[Command::PutRelease(Box::new(release.clone()))])?;
        }
        told.ends(&endpoint, release.number, made);
    }
    Ok(failed)
}

/// Releases that run Python of an environment that is not there, with their endpoints' names.
fn lacking(reader: &Arc<dyn Reader>) -> Result<Vec<(String, Release)>, ServerError> {
    let mut found = Vec::new();
    for endpoint in reader.endpoints()? {
        for release in reader.releases(&endpoint.id)? {
            let Some(launch) = &release.launch else { continue };
            let own_code = !launch.in_place && launch.image.is_none() && !release.bundle.is_empty();
            let python = launch.command.first().map(PathBuf::from);
            if own_code
                && python.is_some_and(|python| !python.exists())
                && Path::new(&launch.code_dir).is_dir()
            {
                found.push((endpoint.name.clone(), release));
            }
        }
    }
    // The newest of each are needed first.
    found.sort_by_key(|(_, release)| std::cmp::Reverse(release.number));
    Ok(found)
}

async fn make(paths: &Paths, release: &mut Release, told: &mut dyn Told) -> Result<(), String> {
    let Some(launch) = release.launch.as_mut() else { return Ok(()) };
    let code = PathBuf::from(&launch.code_dir);
    let handler = PathBuf::from(&release.handler);
    let asked = runyard_manage::asked_of(&release.python_wish);
    let plan = tokio::task::spawn_blocking(move || environment::plan_as_asked(&code, &handler, &asked)).await;
    let plan = plan.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let confine = Confine::new(paths, PathBuf::from("/proc/self/exe"));
    let on_line = |line: &str| told.line(line);
    let made = environment::prepare(&plan, &paths.envs(), &paths.tools(), Some(&confine), on_line).await;
    let made = made.map_err(|error| match error.last_lines.last() {
        Some(line) if !error.message.contains(line.as_str()) => format!("{}: {line}", error.message),
        _ => error.message,
    })?;
    if let Some(python) = launch.command.first_mut() {
        *python = made.python.display().to_string();
    }
    launch.read_dirs = vec![made.dir.display().to_string()];
    (release.environment, release.python) = (plan.hash, made.python_version);
    Ok(())
}
