//! What belongs into a backup, put together beside a running server: the database copied as it is at one moment, files
//! that never change by links. It takes a moment and, but for the database, no room; what is made of it may take long.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use runyard_runtime::Paths;
use runyard_store::sqlite::Snapshot;
use runyard_store::{Blobs, Reader};

use crate::keys::write_private;
use crate::manifest::{Listed, Manifest};
use crate::names;
use crate::{BackupError, FORMAT, Keys, Wrapping};

/// What is wanted in a backup.
#[derive(Debug, Clone)]
pub struct Choice {
    /// With the logs of workers and builds.
    pub logs: bool,
    /// What closes the keys; without it they are left out.
    pub wrapping: Option<Wrapping>,
    /// 24 random bytes.
    pub nonce: [u8; 24],
    /// The time, in milliseconds since the Unix epoch.
    pub now: i64,
    /// The version of this program.
    pub version: String,
}

/// A folder with what an archive is made of; removed with the value.
#[derive(Debug)]
pub struct Staging {
    dir: tempfile::TempDir,
    manifest: Manifest,
}

impl Staging {
    /// Puts together what belongs into a backup of the data directory, whose payload files are `blobs`. Blocks its
    /// thread. What an earlier process left unfinished is removed: there shall be one at a time.
    pub fn new(paths: &Paths, blobs: &Blobs, choice: &Choice) -> Result<Self, BackupError> {
        let around = paths.backup();
        match fs::remove_dir_all(&around) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(BackupError::file("remove", &around)(error));
            }
            _ => {}
        }
        make(&around)?;
        let dir = tempfile::Builder::new().prefix("making-").tempdir_in(&around);
        let dir = dir.map_err(BackupError::file("make a folder in", &around))?;
        let to = dir.path();
        for folder in names::FOLDERS.iter().chain(&["db"]) {
            make(&to.join(folder))?;
        }
        // Before the database: a result that leaves the spool meanwhile is in the database then.
        copy_all(&paths.spool(), &to.join("spool"))?;
        // No payload is removed until those that the copied database names have a second name.
        let hold = blobs.hold();
        let snapshot = Snapshot::take(&paths.db(), &to.join(names::DATABASE))?;
        for name in snapshot.files()? {
            link(&blobs.dir().join(&name), &to.join("blobs").join(&name))?;
        }
        drop(hold);
        let schema = snapshot.schema()?;
        bundles(&*snapshot.reader(), paths, to)?;
        tree(&paths.git().join("pushed"), &to.join("git/pushed"))?;
        let hosts = paths.git().join("known_hosts");
        if hosts.is_file() {
            copy(&hosts, &to.join("git/known_hosts"))?;
        }
        if choice.logs {
            tree(&paths.logs(), &to.join("logs"))?;
        }
        if paths.config().is_file() {
            copy(&paths.config(), &to.join("server.toml"))?;
        }
        let keys = keys(paths, to, choice)?;
        let manifest = Manifest {
            format: FORMAT,
            version: choice.version.clone(),
            schema,
            created_at: choice.now,
            data: paths.data.display().to_string(),
            logs: choice.logs,
            keys,
            files: list(to)?,
        };
        Ok(Self { dir, manifest })
    }

    /// What the archive will hold.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where its files lie, under their names in the archive.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// The code of the releases that the copied database knows.
fn bundles(reader: &dyn Reader, paths: &Paths, to: &Path) -> Result<(), BackupError> {
    for endpoint in reader.endpoints()? {
        for release in reader.releases(&endpoint.id)? {
            let name = &release.bundle;
            let (from, to) = (paths.bundles().join(name), to.join("bundles").join(name));
            if !name.is_empty() && from.is_dir() && !to.exists() {
                tree(&from, &to)?;
            }
        }
    }
    Ok(())
}

fn keys(paths: &Paths, to: &Path, choice: &Choice) -> Result<bool, BackupError> {
    let Some(wrapping) = &choice.wrapping else { return Ok(false) };
    let closed = wrapping.close(&Keys::of(paths)?, choice.nonce).ok_or(BackupError::Passphrase)?;
    let text = serde_json::to_vec(&closed).unwrap_or_default();
    write_private(&to.join(names::KEYS), &text)?;
    Ok(true)
}

fn make(dir: &Path) -> Result<(), BackupError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(BackupError::file("make", dir))
}

/// A second name for a file; a copy where the file system has no such thing.
fn link(from: &Path, to: &Path) -> Result<(), BackupError> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(BackupError::file("read", from)(error))
        }
        Err(_) => copy(from, to),
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    fs::copy(from, to).map(drop).map_err(BackupError::file("copy", from))
}

fn copy_all(from: &Path, to: &Path) -> Result<(), BackupError> {
    for path in entries(from)? {
        if path.is_file()
            && let Some(name) = path.file_name()
        {
            copy(&path, &to.join(name))?;
        }
    }
    Ok(())
}

/// Links every file below `from`, if it is there. What goes meanwhile (a lock of Git, a log that is pruned) is left
/// out, and so are links and whatever else is no plain file.
fn tree(from: &Path, to: &Path) -> Result<(), BackupError> {
    if !from.is_dir() {
        return Ok(());
    }
    make(to)?;
    for path in entries(from)? {
        let Some(name) = path.file_name() else { continue };
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        let to = to.join(name);
        if meta.is_dir() {
            tree(&path, &to)?;
        } else if meta.is_file() && !is_lock(&path) {
            match link(&path, &to) {
                Err(BackupError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
    }
    Ok(())
}

/// Git's own locks, which would keep a restored repository from being written.
fn is_lock(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "lock")
        && path.components().any(|part| part.as_os_str() == "pushed")
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let listed = fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    match listed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(BackupError::file("list", dir)),
    }
}

/// Every file below `dir` by its name in the archive, sorted; the database first.
fn list(dir: &Path) -> Result<Vec<Listed>, BackupError> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(folder) = left.pop() {
        for path in entries(&folder)? {
            let meta = fs::symlink_metadata(&path).map_err(BackupError::file("look at", &path))?;
            if meta.is_dir() {
                left.push(path);
                continue;
            }
            let name = path.strip_prefix(dir).unwrap_or(&path).to_str().map(str::to_owned);
            let name = name.filter(|name| names::is_allowed(name)).ok_or_else(|| {
                let why = std::io::Error::other("its name cannot stand in a backup");
                BackupError::file("take", &path)(why)
            })?;
            found.push(Listed { name, size: meta.len(), exec: meta.permissions().mode() & 0o111 != 0 });
        }
    }
    found.sort_by(|a, b| (a.name != names::DATABASE, &a.name).cmp(&(b.name != names::DATABASE, &b.name)));
    Ok(found)
}
