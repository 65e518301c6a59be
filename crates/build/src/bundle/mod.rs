//! The bundle: a folder as one gzip-compressed tar archive. The same files give the same bytes, so that the
//! SHA-256 of a bundle names its content. Packing happens at the user's, unpacking at the server, which
//! trusts nothing that it is sent.

mod arriving;
mod pack;
mod unpack;

use std::io;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub use arriving::Arriving;
pub(crate) use pack::{Look, archive_of, real};
pub use pack::{pack, pack_with};
pub use unpack::{Unpacked, unpack};

/// What says how the code is run is no part of it: another number of workers makes no other release.
pub(crate) const PROJECT: &str = "runyard.toml";

const MIB: u64 = 1024 * 1024;

/// Below this much unpacked content the ratio does not matter: small texts of zeros do no harm.
const FREE_OF_RATIO: u64 = 64 * MIB;

/// How big a bundle may be; the same for packing and unpacking, so that what is packed can be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the archive.
    pub packed: u64,
    /// Bytes of all files together.
    pub unpacked: u64,
    /// Unpacked bytes per packed one, beyond the first 64 MiB.
    pub ratio: u64,
    /// Files and folders.
    pub files: usize,
    /// Bytes of one path.
    pub path: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { packed: 512 * MIB, unpacked: 4096 * MIB, ratio: 200, files: 50_000, path: 1024 }
    }
}

impl Limits {
    /// Whether so much content from so many packed bytes is within the limits.
    pub(crate) fn allow(&self, unpacked: u64, packed: u64) -> Result<(), BundleError> {
        if unpacked > self.unpacked {
            return Err(BundleError::Unpacked { limit: self.unpacked });
        }
        if unpacked > FREE_OF_RATIO && unpacked / self.ratio > packed {
            return Err(BundleError::Ratio { limit: self.ratio });
        }
        Ok(())
    }
}

/// A packed folder.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The archive.
    pub bytes: Vec<u8>,
    /// SHA-256 of the archive, in hex.
    pub sha256: String,
    /// How many files are in it.
    pub files: usize,
    /// Bytes of the files together.
    pub size: u64,
}

/// SHA-256 in hex, as bundles are named.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|half| char::from(digits[usize::from(half)]))
        .collect()
}

/// Why a folder cannot be packed or an archive cannot be unpacked.
#[derive(Debug, Error)]
pub enum BundleError {
    /// A file or folder of the user's could not be read.
    #[error("Cannot read {}: {source}.", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Walking through the folder failed.
    #[error("Cannot look through the folder: {0}.")]
    Walk(#[from] ignore::Error),
    /// A link leads out of the folder.
    #[error(
        "{} is a link to {}, outside of the folder. Copy the file into the folder, or add the link to \
         .runyardignore.", path.display(), target.display()
    )]
    LinkOutside {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A link to a folder that contains it.
    #[error("{} is a link that leads back to where it is. Remove it, or add it to .runyardignore.", path.display())]
    LinkLoop {
        /// The link.
        path: PathBuf,
    },
    /// A socket, pipe or device.
    #[error("{} is neither a file nor a folder. Remove it, or add it to .runyardignore.", path.display())]
    Special {
        /// Which.
        path: PathBuf,
    },
    /// A name that is not UTF-8.
    #[error("{} has a name that is not UTF-8. Rename it, or add it to .runyardignore.", path.display())]
    NotUtf8 {
        /// Which, as far as it can be shown.
        path: PathBuf,
    },
    /// Nothing to pack.
    #[error("{} has no files to deploy; perhaps an ignore file hides them all.", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// The archive is too big.
    #[error(
        "The folder packs to more than {} MiB. Leave out what is not code with .runyardignore; put big models on \
         a volume.", limit / MIB
    )]
    Packed {
        /// In bytes.
        limit: u64,
    },
    /// The content is too big.
    #[error("The files are more than {} MiB together. Leave some out with .runyardignore.", limit / MIB)]
    Unpacked {
        /// In bytes.
        limit: u64,
    },
    /// The content is too big for the size of the archive.
    #[error("The files are more than {limit} times as big as their archive, which no program is.")]
    Ratio {
        /// Unpacked bytes per packed one.
        limit: u64,
    },
    /// Too many files.
    #[error("There are more than {limit} files. Leave some out with .runyardignore.")]
    Files {
        /// How many may be.
        limit: usize,
    },
    /// A path is too long.
    #[error("A path is longer than {limit} bytes: {}...", start)]
    PathTooLong {
        /// In bytes.
        limit: usize,
        /// Its beginning.
        start: String,
    },
    /// The bytes are not an archive.
    #[error("The bundle is damaged or not a gzip-compressed tar archive: {0}.")]
    Damaged(#[source] io::Error),
    /// The archive has an entry that is not accepted.
    #[error("The bundle's entry {entry:?} {problem}.")]
    Entry {
        /// Its path as written there.
        entry: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Writing what was unpacked failed.
    #[error("Cannot write {}: {source}.", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
