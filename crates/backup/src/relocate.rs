//! Releases know where their code and their environment lie. In a restored directory that is another place.

use std::path::Path;

use runyard_domain::{Release, Timestamp};
use runyard_runtime::Paths;
use runyard_store::sqlite::SqliteStore;
use runyard_store::{Blobs, Command, Store as _};

use crate::{BackupError, Manifest};

/// Opens the restored store, which brings an older schema up to date, and turns the paths of every release from the
/// directory that the backup was made of to `data`.
pub(crate) fn relocate(paths: &Paths, manifest: &Manifest, data: &Path) -> Result<(), BackupError> {
    let mut store = SqliteStore::open(&paths.db(), Blobs::open(paths.blobs())?)?;
    let reader = store.reader();
    let new = data.display().to_string();
    for endpoint in reader.endpoints()? {
        for mut release in reader.releases(&endpoint.id)? {
            if turn(&mut release, &manifest.data, &new) {
                store.commit(Timestamp(manifest.created_at), &[Command::PutRelease(Box::new(release))])?;
            }
        }
    }
    Ok(())
}

/// Whether there was something to turn.
fn turn(release: &mut Release, old: &str, new: &str) -> bool {
    let Some(launch) = release.launch.as_mut().filter(|launch| !launch.in_place) else { return false };
    let paths = launch.command.iter_mut().chain([&mut launch.code_dir]).chain(&mut launch.read_dirs);
    let mut turned = false;
    for path in paths {
        if let Some(rest) = path.strip_prefix(old).filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            let there = format!("{new}{rest}");
            turned |= *path != there;
            *path = there;
        }
    }
    turned
}
