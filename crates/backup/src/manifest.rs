//! What stands at the beginning of an archive: who made it, when, of what, and every file that follows.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::BackupError;
use crate::names;

/// The form of archives that this program makes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// The largest manifest, in bytes.
pub(crate) const LARGEST: u64 = 256 << 20;

/// The first file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The form of the archive.
    pub format: u32,
    /// The runyard that made it.
    pub version: String,
    /// The schema of its database.
    pub schema: u32,
    /// When, in milliseconds since the Unix epoch.
    pub created_at: i64,
    /// The data directory it was made of.
    pub data: String,
    /// Whether logs are in it.
    pub logs: bool,
    /// Whether the keys are in it, closed with a passphrase.
    pub keys: bool,
    /// Every file that follows, in order.
    pub files: Vec<Listed>,
}

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name in the archive.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Whether it may be executed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exec: bool,
}

impl Manifest {
    /// Bytes of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }

    /// Reads a manifest that can be acted upon.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, BackupError> {
        #[derive(Deserialize)]
        struct Form {
            format: u32,
            #[serde(default)]
            version: String,
        }
        let damaged = |why: String| BackupError::Damaged(why);
        let form: Form = serde_json::from_slice(bytes)
            .map_err(|error| damaged(format!("{} cannot be read: {error}", names::MANIFEST)))?;
        if form.format > FORMAT {
            return Err(BackupError::Newer(form.version));
        }
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|error| damaged(format!("{} cannot be read: {error}", names::MANIFEST)))?;
        if manifest.schema > runyard_store::sqlite::newest_schema() {
            return Err(BackupError::Newer(manifest.version));
        }
        let mut seen = HashSet::with_capacity(manifest.files.len());
        for file in &manifest.files {
            if !names::is_allowed(&file.name) {
                return Err(damaged(format!("'{}' does not belong into one", file.name.escape_debug())));
            }
            if !seen.insert(file.name.as_str()) {
                return Err(damaged(format!("'{}' is in it twice", file.name)));
            }
        }
        if !seen.contains(names::DATABASE) {
            return Err(damaged("it holds no database".to_owned()));
        }
        if manifest.keys != seen.contains(names::KEYS) {
            return Err(damaged("it does not hold the keys that it speaks of".to_owned()));
        }
        Ok(manifest)
    }
}
