//! Backups of a data directory: one archive with everything that cannot be made again, taken while the server runs.
//!
//! - [`Staging`] puts together what belongs into it, as it was at one moment: the database by a copy, files by links.
//! - [`write`] makes the archive of that, as a stream.
//! - [`verify`] reads an archive whole and finds what is wrong with it; [`restore`] does that, then makes a data
//!   directory of it. Nothing is written where something is wrong.
//! - [`Wrapping`] closes the keys with a passphrase.
//!
//! An archive is a tar file: `runyard-backup.json`, the [`Manifest`], with the name and size of every file that
//! follows in that order; the files; `checksums.json`, with the SHA-256 of each. Environments, tools, caches and the
//! reserve are not in it: they are made again.

mod keys;
mod manifest;
mod names;
mod relocate;
mod restore;
mod staging;
mod verify;
mod write;

pub use keys::{Keys, SHORTEST_PASSPHRASE, Wrapped, Wrapping};
pub use manifest::{FORMAT, Listed, Manifest};
pub use restore::{Restored, restore};
pub use staging::{Choice, Staging};
pub use verify::{Verified, verify};
pub use write::{Progress, write};

use std::path::{Path, PathBuf};

/// Why a backup cannot be made, believed or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file of the data directory, or of the place restored to, cannot be used.
    #[error("cannot {operation} {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The archive cannot be written.
    #[error("the archive cannot be written")]
    Write(#[source] std::io::Error),
    /// The archive is not whole, was changed, or is no archive.
    #[error("this is no sound backup: {0}")]
    Damaged(String),
    /// The archive was made by a newer program.
    #[error("the backup was made by a newer runyard ({0}): restore it with that version or a later one")]
    Newer(String),
    /// The place restored to holds something.
    #[error("{0} is not empty: a backup is restored into a new or an empty directory")]
    Occupied(PathBuf),
    /// The keys are closed, and the passphrase does not open them.
    #[error("the passphrase does not open the keys in this backup")]
    Passphrase,
    /// The database cannot be copied or read.
    #[error(transparent)]
    Store(#[from] runyard_store::StoreError),
}

impl BackupError {
    /// For `map_err`: what was tried, and where.
    pub(crate) fn file(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { operation, path, source }
    }
}
