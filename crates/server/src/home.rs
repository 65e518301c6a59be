//! The data directory: made on the first start, with rights that let workers reach their code and nothing
//! else, and locked against a second server.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use runyard_runtime::Paths;
use rustix::fs::{FlockOperation, flock};

use crate::ServerError;
use crate::config::TEMPLATE;

/// A data directory that is ours as long as this lives.
#[derive(Debug)]
pub struct Home {
    /// Its layout.
    pub paths: Paths,
    _lock: File,
}

/// Makes the folders and takes the lock.
pub fn open(data: &Path) -> Result<Home, ServerError> {
    let fail = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| ServerError::File { operation, path, source }
    };
    folder(data, 0o711)?;
    let data = data.canonicalize().map_err(fail("find", data))?;
    let paths = Paths::new(&data);
    let lock_path = paths.lock();
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(fail("open", &lock_path))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| ServerError::Locked(data.clone()))?;
    for (path, mode) in folders(&paths) {
        folder(&path, mode)?;
    }
    // What a backup put together that was cut off.
    match std::fs::remove_dir_all(paths.backup()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(fail("remove", &paths.backup())(error));
        }
        _ => {}
    }
    let config = paths.config();
    if !config.exists() {
        std::fs::write(&config, TEMPLATE).map_err(fail("write", &config))?;
    }
    Ok(Home { paths, _lock: lock })
}

/// Has the data directory know a key file that lies apart: by a link, so that whoever opens the directory finds it, and
/// workers are kept away from it wherever it is.
pub fn place_key_file(paths: &Paths, key_file: Option<&Path>) -> Result<(), ServerError> {
    let Some(apart) = key_file else { return Ok(()) };
    let link = paths.vault_key();
    let wrong =
        |message: String| ServerError::Config { origin: format!("key_file = {}", apart.display()), message };
    if !apart.is_absolute() {
        return Err(wrong("the path must be absolute".to_owned()));
    }
    match std::fs::symlink_metadata(&link) {
        Ok(found) if found.is_symlink() => {
            if std::fs::read_link(&link).is_ok_and(|target| target == apart) {
                return Ok(());
            }
        }
        Ok(_) => {
            return Err(wrong(format!(
                "the data directory has its key in {}: move it there with 'mv {} {}', or remove it if that file \
                 holds its key already",
                link.display(),
                link.display(),
                apart.display()
            )));
        }
        Err(_) => {}
    }
    let fail = |source| ServerError::File { operation: "make the link", path: link.clone(), source };
    let new = link.with_extension("link");
    let _ = std::fs::remove_file(&new);
    std::os::unix::fs::symlink(apart, &new).map_err(fail)?;
    std::fs::rename(&new, &link).map_err(fail)
}

fn folders(paths: &Paths) -> [(PathBuf, u32); 15] {
    [
        (paths.run().to_owned(), 0o700),
        (paths.db(), 0o700),
        (paths.blobs(), 0o700),
        (paths.logs(), 0o700),
        (paths.spool(), 0o700),
        (paths.bundles(), 0o755),
        (paths.envs(), 0o755),
        (paths.tools(), 0o755),
        (paths.cache(), 0o711),
        (paths.work(), 0o711),
        (paths.volumes(), 0o711),
        (paths.git(), 0o711),
        (paths.git().join("work"), 0o711),
        (paths.git().join("pushed"), 0o700),
        (paths.acme(), 0o700),
    ]
}

fn folder(path: &Path, mode: u32) -> Result<(), ServerError> {
    let fail = |source| ServerError::File { operation: "make", path: path.to_owned(), source };
    if !path.is_dir() {
        DirBuilder::new().recursive(true).mode(mode).create(path).map_err(fail)?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(fail)
}
