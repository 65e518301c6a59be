//! Makes a planned environment, or finds the one that is there.
//!
//! A virtual environment has its own path in it, so it is made where it stays: under a file lock beside it,
//! with a marker that is written last. What has no marker was cut off, and is made anew.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::EnvPlan;
use super::command::Talk;
use super::installer::Installer;

/// Written last, with what there is to know.
const COMPLETE: &str = ".complete";

/// Its time is when the environment was last asked for.
const LAST_USED: &str = ".last-used";

/// An environment that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Its folder.
    pub dir: PathBuf,
    /// Its interpreter.
    pub python: PathBuf,
    /// As `3.11.7`.
    pub python_version: String,
    /// Whether it was there before.
    pub cached: bool,
    /// The version of the `runpod` package in it.
    pub sdk_version: Option<String>,
}

/// Why an environment could not be prepared.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct EnvironmentError {
    /// What failed, and the line of the installer that says why.
    pub message: String,
    /// The installer's last lines.
    pub last_lines: Vec<String>,
}

/// What the marker holds.
#[derive(Serialize, Deserialize)]
struct Marker {
    python_version: String,
    sdk_version: Option<String>,
}

/// Makes the planned environment in `envs_dir`, or finds it there. `tools_dir` gets uv, where the machine has
/// none, and its cache; both folders should be on one file system. `on_line` hears what the installers say.
///
/// Of several callers with the same plan, in whatever processes, one works and the others wait. Dropping the
/// future ends the installer; the next caller begins anew.
pub async fn prepare(
    plan: &EnvPlan,
    envs_dir: &Path,
    tools_dir: &Path,
    mut on_line: impl FnMut(&str) + Send,
) -> Result<Environment, EnvironmentError> {
    let mut talk = Talk::new(&mut on_line);
    let envs_dir = absolute(envs_dir, &talk)?;
    let tools_dir = absolute(tools_dir, &talk)?;
    let dir = envs_dir.join(&plan.hash);
    if let Some(environment) = standing(&dir) {
        return Ok(environment);
    }
    let _lock = lock(&envs_dir.join(format!("{}.lock", plan.hash)), &mut talk).await?;
    if let Some(environment) = standing(&dir) {
        return Ok(environment);
    }

    if dir.exists() {
        talk.say("An environment that was left unfinished is made anew.");
        remove(dir.clone()).await.map_err(|error| cannot_write(&dir, &error, &talk))?;
    }
    if plan.adds_runpod {
        talk.say(&format!(
            "The code imports runpod and {} does not name it: added.",
            plan.requirements.label()
        ));
    }
    let installer = Installer::find(plan, &tools_dir, &mut talk).await;
    installer.install(plan, &dir, &mut talk).await?;

    let marker = Marker { python_version: plan.python.version.clone(), sdk_version: sdk_version(&dir) };
    complete(dir.clone(), marker).await.map_err(|error| cannot_write(&dir, &error, &talk))?;
    match standing(&dir) {
        Some(environment) => Ok(Environment { cached: false, ..environment }),
        None => Err(talk.error(format!("The environment {} has no working interpreter.", dir.display()))),
    }
}

/// Notes that an environment is in use now.
pub fn touch(dir: &Path) -> io::Result<()> {
    // Writing a byte moves the file's time, by the file system's clock.
    fs::write(dir.join(LAST_USED), b"1")
}

/// When an environment was last asked for or touched.
pub fn last_used(dir: &Path) -> io::Result<SystemTime> {
    fs::metadata(dir.join(LAST_USED))?.modified()
}

/// Waits for a file lock, which ends with the returned file.
pub(super) async fn lock(path: &Path, talk: &mut Talk<'_>) -> Result<File, EnvironmentError> {
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(|error| cannot_write(path, &error, talk))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => talk.say("Somebody else is preparing the same; waiting for it."),
        Err(TryLockError::Error(error)) => return Err(cannot_write(path, &error, talk)),
    }
    blocking(move || file.lock().map(|()| file)).await.map_err(|error| cannot_write(path, &error, talk))
}

/// The environment, if it is complete and the interpreter that it links to is still there.
fn standing(dir: &Path) -> Option<Environment> {
    let marker: Marker = serde_json::from_slice(&fs::read(dir.join(COMPLETE)).ok()?).ok()?;
    let python = dir.join("bin/python");
    if !python.exists() {
        return None;
    }
    // An environment on a read-only disk can be used without saying so.
    if let Err(error) = touch(dir) {
        tracing::debug!(environment.dir = %dir.display(), %error, "Cannot note that the environment is in use.");
    }
    Some(Environment {
        dir: dir.to_path_buf(),
        python,
        python_version: marker.python_version,
        cached: true,
        sdk_version: marker.sdk_version,
    })
}

/// Syncs what was installed, then writes the marker: after a power loss it must not stand before half of it.
async fn complete(dir: PathBuf, marker: Marker) -> io::Result<()> {
    blocking(move || {
        rustix::fs::syncfs(File::open(&dir)?)?;
        let temporary = dir.join(".complete.new");
        fs::write(&temporary, serde_json::to_vec(&marker)?)?;
        File::open(&temporary)?.sync_all()?;
        fs::rename(&temporary, dir.join(COMPLETE))?;
        File::open(&dir)?.sync_all()
    })
    .await
}

async fn remove(dir: PathBuf) -> io::Result<()> {
    blocking(move || fs::remove_dir_all(dir)).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The version of the SDK, by the name of its metadata folder.
fn sdk_version(dir: &Path) -> Option<String> {
    let libs = fs::read_dir(dir.join("lib")).ok()?.flatten().map(|lib| lib.path().join("site-packages"));
    for packages in libs.filter_map(|path| fs::read_dir(path).ok()) {
        for name in packages.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
            if let Some(version) =
                name.strip_prefix("runpod-").and_then(|rest| rest.strip_suffix(".dist-info"))
            {
                return Some(version.to_owned());
            }
        }
    }
    None
}

/// An existing folder's absolute path: environments have their paths in them.
fn absolute(dir: &Path, talk: &Talk<'_>) -> Result<PathBuf, EnvironmentError> {
    fs::create_dir_all(dir).and_then(|()| dir.canonicalize()).map_err(|error| cannot_write(dir, &error, talk))
}

fn cannot_write(path: &Path, error: &io::Error, talk: &Talk<'_>) -> EnvironmentError {
    talk.error(format!("Cannot write {}: {error}.", path.display()))
}
