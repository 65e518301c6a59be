//! Folders and files: what is in them, how much they take, and how they go.

use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What begins so is on its way out: it was renamed first, so that nobody finds half of it.
pub(super) const REMOVING: &str = ".removing-";

/// What is in a folder; nothing where it is not there.
pub(super) fn entries(dir: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten()
}

/// An entry's name.
pub(super) fn name(entry: &DirEntry) -> String {
    entry.file_name().to_string_lossy().into_owned()
}

/// Bundles and environments are named by SHA-256 in hex; whatever else lies there is not ours.
pub(super) fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// What a file or folder takes on the disk. Links are not followed.
pub(super) fn size(path: &Path) -> u64 {
    let mut bytes = 0;
    let mut left: Vec<PathBuf> = vec![path.to_owned()];
    while let Some(path) = left.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        bytes += meta.blocks() * 512;
        if meta.is_dir() {
            left.extend(entries(&path).map(|entry| entry.path()));
        }
    }
    bytes
}

/// Removes a file or a folder.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    if file_name.starts_with(REMOVING) {
        return fs::remove_dir_all(path);
    }
    let removing = path.with_file_name(format!("{REMOVING}{file_name}"));
    fs::rename(path, &removing)?;
    fs::remove_dir_all(removing)
}
