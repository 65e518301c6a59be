//! Reading an archive: every entry where the manifest says, every byte against its checksum, the database against
//! itself, and the payload files that it names. Archives come from outside: nothing of them is believed before that.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use runyard_store::sqlite::Snapshot;
use sha2::{Digest as _, Sha256};

use crate::keys::Wrapped;
use crate::manifest::{self, Listed, Manifest};
use crate::write::{Hashing, hex};
use crate::{BackupError, Progress, names};

/// The longest name of an entry, in bytes.
const LONGEST_NAME: u64 = 4_096;
/// The largest file of keys, in bytes.
const LARGEST_KEYS: u64 = 4 << 20;

/// An archive that is sound.
#[derive(Debug)]
pub struct Verified {
    /// What it says of itself.
    pub manifest: Manifest,
    /// The keys in it, if they are.
    pub keys: Option<Wrapped>,
    /// The SHA-256 of every file.
    pub(crate) sums: BTreeMap<String, String>,
}

/// Reads an archive whole. `work` is a folder with room for its database, for as long as that is looked at. Blocks its
/// thread.
pub fn verify(archive: impl Read, work: &Path, progress: Progress<'_>) -> Result<Verified, BackupError> {
    let work = tempfile::Builder::new().prefix(".verifying-").tempdir_in(work);
    let work = work.map_err(BackupError::Write)?;
    let database = work.path().join("runyard.db");
    let mut keys = None;
    let mut take = |file: &Listed, content: &mut dyn Read| -> Result<(), BackupError> {
        match file.name.as_str() {
            names::DATABASE => {
                let mut to = File::create(&database).map_err(BackupError::file("write", &database))?;
                io::copy(content, &mut to).map_err(unreadable)?;
            }
            names::KEYS if file.size <= LARGEST_KEYS => {
                let mut text = Vec::new();
                content.read_to_end(&mut text).map_err(unreadable)?;
                let read = serde_json::from_slice(&text);
                keys = Some(read.map_err(|error| damaged(format!("its keys cannot be read: {error}")))?);
            }
            names::KEYS => return Err(damaged("its keys are too large".to_owned())),
            _ => drop(io::copy(content, &mut io::sink()).map_err(unreadable)?),
        }
        Ok(())
    };
    let (manifest, sums) = each(archive, &mut take, progress)?;
    look_at(&database, &manifest)?;
    Ok(Verified { manifest, keys, sums })
}

/// Whether the database is sound and finds its payloads.
fn look_at(database: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let broken = |error: &dyn std::error::Error| {
        let cause = error.source().map_or_else(String::new, |source| format!(": {source}"));
        damaged(format!("its database cannot be read: {error}{cause}"))
    };
    let snapshot = Snapshot::open(database).map_err(|error| broken(&error))?;
    if let Some(found) = snapshot.damage().map_err(|error| broken(&error))? {
        return Err(damaged(format!("its database is damaged: {found}")));
    }
    if snapshot.schema().map_err(|error| broken(&error))? != manifest.schema {
        return Err(damaged("its database is of another schema than it says".to_owned()));
    }
    let there: HashSet<&str> = manifest.files.iter().map(|file| file.name.as_str()).collect();
    for name in snapshot.files().map_err(|error| broken(&error))? {
        if !there.contains(format!("blobs/{name}").as_str()) {
            return Err(damaged(format!("the payload {name} is missing")));
        }
    }
    Ok(())
}

/// Reads an archive from its first entry to its last: each file goes to `take`, which need not read it whole. Answers
/// the manifest and the checksums of all files, which are those that the archive names.
pub(crate) fn each(
    archive: impl Read,
    take: &mut dyn FnMut(&Listed, &mut dyn Read) -> Result<(), BackupError>,
    progress: Progress<'_>,
) -> Result<(Manifest, BTreeMap<String, String>), BackupError> {
    let mut archive = tar::Archive::new(archive);
    let mut entries = Entries { inner: archive.entries().map_err(unreadable)?.raw(true) };
    let text = entries.whole(names::MANIFEST, manifest::LARGEST)?;
    let manifest = Manifest::read(&text)?;
    let mut sums = BTreeMap::from([(names::MANIFEST.to_owned(), hex(&Sha256::digest(&text)))]);
    let mut done = 0;
    for file in &manifest.files {
        let entry = entries.next(&file.name, Some(file.size))?;
        let mut content = Hashing { inner: entry, hash: Sha256::new(), read: 0 };
        take(file, &mut content)?;
        io::copy(&mut content, &mut io::sink()).map_err(unreadable)?;
        if content.read != file.size {
            return Err(damaged(format!("it ends in the middle of '{}'", file.name)));
        }
        sums.insert(file.name.clone(), hex(&content.hash.finalize()));
        done += file.size;
        progress(done);
    }
    let text = entries.whole(names::CHECKSUMS, manifest::LARGEST)?;
    let named: BTreeMap<String, String> = serde_json::from_slice(&text)
        .map_err(|error| damaged(format!("its checksums cannot be read: {error}")))?;
    for (name, sum) in &sums {
        if named.get(name) != Some(sum) {
            return Err(damaged(format!("'{name}' is not what it was when the backup was made")));
        }
    }
    if named.len() != sums.len() {
        return Err(damaged("it has checksums of files that it does not hold".to_owned()));
    }
    Ok((manifest, sums))
}

/// The entries of a tar stream in the order in which they are expected. Names that are too long for a header come as
/// entries of their own, which are read here within bounds.
struct Entries<'a, R: Read> {
    inner: tar::Entries<'a, R>,
}

impl<'a, R: Read> Entries<'a, R> {
    /// The next entry, which has to be this file.
    fn next(&mut self, name: &str, size: Option<u64>) -> Result<tar::Entry<'a, R>, BackupError> {
        let missing = || damaged(format!("it ends before '{name}'"));
        let mut entry = self.inner.next().ok_or_else(missing)?.map_err(unreadable)?;
        let mut found = entry.path_bytes().into_owned();
        if entry.header().entry_type().is_gnu_longname() {
            found.clear();
            entry.by_ref().take(LONGEST_NAME).read_to_end(&mut found).map_err(unreadable)?;
            found.truncate(found.iter().position(|byte| *byte == 0).unwrap_or(found.len()));
            entry = self.inner.next().ok_or_else(missing)?.map_err(unreadable)?;
        }
        if found != name.as_bytes() {
            let found = String::from_utf8_lossy(&found).escape_debug().to_string();
            return Err(damaged(format!("'{found}' stands where '{name}' should")));
        }
        if !entry.header().entry_type().is_file() || size.is_some_and(|size| size != entry.size()) {
            return Err(damaged(format!("'{name}' is not the file that it should be")));
        }
        Ok(entry)
    }

    /// The next entry with all its bytes.
    fn whole(&mut self, name: &str, most: u64) -> Result<Vec<u8>, BackupError> {
        let mut entry = self.next(name, None)?;
        let size = entry.size();
        if size > most {
            return Err(damaged(format!("'{name}' is too large")));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 != size {
            return Err(damaged(format!("it ends in the middle of '{name}'")));
        }
        Ok(bytes)
    }
}

fn damaged(why: String) -> BackupError {
    BackupError::Damaged(why)
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable(error: io::Error) -> BackupError {
    damaged(format!("it cannot be read: {error}"))
}
