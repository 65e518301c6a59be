//! Makes a planned environment, or finds the one that is there.
//!
//! A virtual environment has its own path in it, so it is made where it stays: under a file lock beside it,
//! with a marker that is written last. What has no marker was cut off, and is made anew.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::command::Talk;
use super::installer::Installer;
use super::{Confine, EnvPlan, sources};

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
/// none. `confine` holds the installers; without it they run as we do, in the home of whoever started us.
/// `on_line` hears what the installers say.
///
/// Of several callers with the same plan, in whatever processes, one works and the others wait. Dropping the
/// future ends the installer; the next caller begins anew.
pub async fn prepare(
    plan: &EnvPlan,
    envs_dir: &Path,
    tools_dir: &Path,
    confine: Option<&Confine>,
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
    fs::create_dir(&dir).map_err(|error| cannot_write(&dir, &error, &talk))?;
    if let Some(confine) = confine {
        let (confine, plan, dir) = (confine.clone(), plan.clone(), dir.clone());
        let room = blocking(move || confine.room(&plan, &dir, &tools_dir)).await;
        let room =
            room.map_err(|error| talk.error(format!("Cannot prepare to hold the installers: {error}.")))?;
        talk.say(&room.line());
        talk.room = Some(room);
    }
    installer.install(plan, &dir, &mut talk).await?;
    let (wanted, folder, room) = (plan.clone(), dir.clone(), talk.room.take());
    let closed = blocking(move || {
        room.map_or(Ok(()), |room| room.close(&folder))?;
        sources::clear(&wanted, &folder)
    });
    closed.await.map_err(|error| cannot_write(&dir, &error, &talk))?;

    let marker = Marker { python_version: plan.python.version.clone(), sdk_version: sdk_version(&dir) };
    complete(dir.clone(), marker).await.map_err(|error| cannot_write(&dir, &error, &talk))?;
    match standing(&dir) {
        Some(environment) => Ok(Environment { cached: false, ..environment }),
        None => Err(talk.error(format!("The environment {} has no working interpreter.", dir.display()))),
    }
}

/// Notes that an environment is in use now.
pub fn touch(dir: &Path) -> io::Result<()> {
    // Writing a byte moves the file's time, by the file system's clock. Never through a link.
    let mut options = File::options();
    options.create(true).write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options.open(dir.join(LAST_USED))?.write_all(b"1")
}

/// When an environment was last asked for or touched.
pub fn last_used(dir: &Path) -> io::Result<SystemTime> {
    fs::metadata(dir.join(LAST_USED))?.modified()
}

/// Whether an environment was made to its end: what has no marker was cut off.
pub fn is_complete(dir: &Path) -> bool {
    dir.join(COMPLETE).is_file()
}

/// Waits for a file lock, which ends with the returned file.
pub(super) async fn lock(path: &Path, talk: &mut Talk<'_>) -> Result<File, EnvironmentError> {
    let mut told = false;
    loop {
        let file = File::options().create(true).truncate(false).write(true).open(path);
        let file = file.map_err(|error| cannot_write(path, &error, talk))?;
        let file = match file.try_lock() {
            Ok(()) => file,
            Err(TryLockError::Error(error)) => return Err(cannot_write(path, &error, talk)),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    talk.say("Somebody else is preparing the same; waiting for it.");
                    told = true;
                }
                blocking(move || file.lock().map(|()| file))
                    .await
                    .map_err(|error| cannot_write(path, &error, talk))?
            }
        };
        // Whoever removes an environment removes its lock, too: then this one locks nothing.
        if is_at(&file, path) {
            return Ok(file);
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
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
        // What was installed may have put something there: a link, to have us write elsewhere.
        for file in [&temporary, &dir.join(COMPLETE), &dir.join(LAST_USED)] {
            match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let mut file = File::create_new(&temporary)?;
        file.write_all(&serde_json::to_vec(&marker)?)?;
        file.sync_all()?;
        fs::rename(&temporary, dir.join(COMPLETE))?;
        File::open(&dir)?.sync_all()
    })
    .await
}

async fn remove(dir: PathBuf) -> io::Result<()> {
    blocking(move || fs::remove_dir_all(dir)).await
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
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
