//! A data directory from an archive: beside its place first, complete and synced, then by one rename.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use runyard_runtime::Paths;

use crate::manifest::{Listed, Manifest};
use crate::verify::each;
use crate::{BackupError, Progress, Verified, names, relocate};

/// A data directory that was restored.
#[derive(Debug)]
pub struct Restored {
    /// Where, absolute.
    pub data: PathBuf,
    /// Of which backup.
    pub manifest: Manifest,
    /// Whether its keys were opened and put there.
    pub keys: bool,
}

/// Restores a verified archive to `data`, which is empty or not there. With `passphrase` its keys are opened;
/// without, they are left out. Blocks its thread.
pub fn restore(
    archive: &Path,
    verified: &Verified,
    data: &Path,
    passphrase: Option<&str>,
    progress: Progress<'_>,
) -> Result<Restored, BackupError> {
    let keys = match (&verified.keys, passphrase) {
        (Some(closed), Some(passphrase)) => Some(closed.open(passphrase)?),
        _ => None,
    };
    let data = free_place(data)?;
    let parent = data.parent().unwrap_or(Path::new("/")).to_owned();
    let temporary = tempfile::Builder::new().prefix(".restoring-").tempdir_in(&parent);
    let temporary = temporary.map_err(BackupError::file("make a folder in", &parent))?;
    let paths = Paths::new(temporary.path());
    for dir in [paths.db(), paths.blobs(), paths.logs(), paths.spool(), paths.git()] {
        folder(&dir, 0o700)?;
    }
    folder(&paths.bundles(), 0o755)?;
    let opened = File::open(archive).map_err(BackupError::file("read", archive))?;
    let mut take = |file: &Listed, content: &mut dyn Read| match file.name.as_str() {
        names::KEYS => Ok(()),
        name => put(&paths, file, &names::place(&paths, name), content),
    };
    let (manifest, sums) = each(io::BufReader::new(opened), &mut take, progress)?;
    if sums != verified.sums {
        return Err(BackupError::Damaged("it changed while it was restored".to_owned()));
    }
    match &keys {
        Some(keys) => keys.put(&paths)?,
        // The server makes a new key then, instead of asking for the one that it had.
        None => fs::write(paths.vault_lost(), "").map_err(BackupError::file("write", &paths.vault_lost()))?,
    }
    relocate::relocate(&paths, &manifest, &data)?;
    place(temporary, &data)?;
    Ok(Restored { data, manifest, keys: keys.is_some() })
}

/// The absolute path of a directory that is empty or not there.
fn free_place(data: &Path) -> Result<PathBuf, BackupError> {
    let data = std::path::absolute(data).map_err(BackupError::file("find", data))?;
    match fs::read_dir(&data) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(BackupError::Occupied(data));
            }
            data.canonicalize().map_err(BackupError::file("find", &data))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (Some(parent), Some(name)) = (data.parent(), data.file_name()) else {
                return Err(BackupError::file("use", &data)(error));
            };
            fs::create_dir_all(parent).map_err(BackupError::file("make", parent))?;
            let parent = parent.canonicalize().map_err(BackupError::file("find", parent))?;
            Ok(parent.join(name))
        }
        Err(error) => Err(BackupError::file("use", &data)(error)),
    }
}

fn folder(dir: &Path, mode: u32) -> Result<(), BackupError> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(dir);
    made.map_err(BackupError::file("make", dir))
}

/// Writes one file. Code is read by workers of other users; everything else is the owner's alone.
fn put(paths: &Paths, file: &Listed, path: &Path, content: &mut dyn Read) -> Result<(), BackupError> {
    let is_code = path.starts_with(paths.bundles());
    let mode = match (is_code, file.exec) {
        (true, true) => 0o755,
        (true, false) => 0o644,
        (false, true) => 0o700,
        (false, false) => 0o600,
    };
    if let Some(parent) = path.parent() {
        folder(parent, if is_code { 0o755 } else { 0o700 })?;
    }
    if is_code {
        code_folders(paths, path)?;
    }
    let open = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut to = open.map_err(BackupError::file("write", path))?;
    io::copy(content, &mut to).map_err(BackupError::file("write", path))?;
    // Whatever the umask says.
    to.set_permissions(Permissions::from_mode(mode)).map_err(BackupError::file("write", path))
}

/// Lets workers pass through the folders above a file of code.
fn code_folders(paths: &Paths, path: &Path) -> Result<(), BackupError> {
    let bundles = paths.bundles();
    for dir in path.ancestors().skip(1).take_while(|dir| dir.starts_with(&bundles)) {
        fs::set_permissions(dir, Permissions::from_mode(0o755)).map_err(BackupError::file("change", dir))?;
    }
    Ok(())
}

/// Makes everything durable and gives it its name.
fn place(temporary: tempfile::TempDir, data: &Path) -> Result<(), BackupError> {
    let dir = temporary.path();
    let synced = File::open(dir).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
    synced.map_err(BackupError::file("sync", dir))?;
    fs::rename(dir, data).map_err(|error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
            BackupError::Occupied(data.to_owned())
        }
        _ => BackupError::file("move the restored directory to", data)(error),
    })?;
    // It has another name now; there is nothing left to remove.
    let _ = temporary.keep();
    let parent = data.parent().unwrap_or(Path::new("/"));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(BackupError::file("sync", parent))
}
