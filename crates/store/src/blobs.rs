//! Large payloads: one file each, in one folder. A file is complete and synced, with its name, before
//! [`Blobs::put`] returns, so a command that names it can be committed at once; it never changes afterwards.
//! Files that no row names (written, but never committed) are swept when the store is opened.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use runyard_domain::Payload;
use runyard_domain::id::is_well_formed;

use crate::{Reserve, StoreError, crash};

/// A payload of more bytes than this belongs into a file instead of the database.
pub const SPILL_ABOVE: usize = 256 * 1024;

/// The folder of large payloads. Cheap to clone, usable from any thread.
#[derive(Debug, Clone)]
pub struct Blobs {
    dir: Arc<Path>,
    reserve: Reserve,
    held: Arc<Mutex<Held>>,
}

/// Removals that wait because somebody copies the files.
#[derive(Debug, Default)]
struct Held {
    holds: usize,
    names: Vec<String>,
}

/// As long as this lives, no file is removed; what should have been goes when the last of them is dropped.
#[derive(Debug)]
pub struct Hold(Blobs);

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.0.held();
        held.holds -= 1;
        let names = if held.holds == 0 { std::mem::take(&mut held.names) } else { Vec::new() };
        drop(held);
        self.0.unlink_all(names);
    }
}

impl Blobs {
    /// Uses `dir`, and makes it where it is missing.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let dir = dir.into();
        make_dir(&dir)?;
        Ok(Self { dir: dir.into(), reserve: Reserve::default(), held: Arc::default() })
    }

    /// With room for results on a full disk.
    #[must_use]
    pub fn with_reserve(self, reserve: Reserve) -> Self {
        Self { reserve, ..self }
    }

    /// Keeps every file until the hold is dropped. Whoever copies a database takes one before, so that the files that
    /// the copy names are still there.
    pub fn hold(&self) -> Hold {
        self.held().holds += 1;
        Hold(self.clone())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The room that is kept for a full disk.
    pub fn reserve(&self) -> &Reserve {
        &self.reserve
    }

    /// [`put`](Self::put) for what must not be lost: on a full disk it goes into the reserve.
    pub fn put_into_reserve(&self, id: &str, bytes: &[u8]) -> Result<Payload, StoreError> {
        loop {
            match self.put(id, bytes) {
                Err(StoreError::DiskFull) if self.reserve.give(bytes.len() as u64) => {}
                other => return other,
            }
        }
    }

    /// Writes `bytes` under a name that the caller makes unique (a well-formed id) and syncs file and folder.
    pub fn put(&self, id: &str, bytes: &[u8]) -> Result<Payload, StoreError> {
        let path = self.path(id)?;
        let temporary = path.with_extension("tmp");
        let written = write_synced(&temporary, bytes)
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| sync_dir(&self.dir));
        if let Err(source) = written {
            // What is left of it would be swept at the next start; a full disk cannot wait for that.
            let _ = fs::remove_file(&temporary);
            return Err(file_error("write", &path, source));
        }
        crash::point("blob-written");
        Ok(Payload::File { name: id.to_owned(), len: bytes.len() as u64 })
    }

    /// The bytes of a payload, from its file where they lie in one.
    pub fn read(&self, payload: &Payload) -> Result<Bytes, StoreError> {
        match payload {
            Payload::Inline(bytes) => Ok(bytes.clone()),
            Payload::File { name, .. } => {
                let path = self.path(name)?;
                fs::read(&path).map(Bytes::from).map_err(|source| file_error("read", &path, source))
            }
        }
    }

    /// Removes the payload's file, where it has one. A file that is gone already is as good as removed.
    pub fn remove(&self, payload: &Payload) -> Result<(), StoreError> {
        match payload {
            Payload::Inline(_) => Ok(()),
            Payload::File { name, .. } => self.unlink(name),
        }
    }

    /// Removes every file that `keep` does not name, also what an interrupted write left. Only while nobody
    /// writes. Says how many were removed.
    pub fn sweep(&self, keep: &HashSet<String>) -> Result<usize, StoreError> {
        let mut removed = 0;
        let entries = fs::read_dir(&self.dir).map_err(|source| file_error("list", &self.dir, source))?;
        for entry in entries {
            let path = entry.map_err(|source| file_error("list", &self.dir, source))?.path();
            let kept = path.file_name().and_then(|n| n.to_str()).is_some_and(|name| keep.contains(name));
            if !kept && path.is_file() {
                fs::remove_file(&path).map_err(|source| file_error("remove", &path, source))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Removes a file by its name.
    pub(crate) fn unlink(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name)?;
        let mut held = self.held();
        if held.holds > 0 {
            held.names.push(name.to_owned());
            return Ok(());
        }
        drop(held);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(file_error("remove", &path, source))
            }
            _ => Ok(()),
        }
    }

    /// Removes files that no row names any more. A file that stays is only reported: the next start sweeps it.
    pub(crate) fn unlink_all(&self, names: impl IntoIterator<Item = String>) {
        for name in names {
            if let Err(error) = self.unlink(&name) {
                tracing::warn!(%name, %error, "a payload file could not be removed; the next start will");
            }
        }
    }

    /// Where `name` lies. A name is an id, so it cannot lead out of the folder.
    fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        if is_well_formed(name) {
            return Ok(self.dir.join(name));
        }
        let source = io::Error::new(io::ErrorKind::InvalidInput, "the name of a payload file must be an id");
        Err(StoreError::File { operation: "use", path: name.escape_debug().to_string(), source })
    }
}

/// Makes a folder whose name survives a power cut.
pub(crate) fn make_dir(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(|source| file_error("make", dir, source))?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            sync_dir(parent).map_err(|source| file_error("sync", parent, source))
        }
        _ => Ok(()),
    }
}

/// What a failed operation on a file means to the store.
pub(crate) fn file_error(operation: &'static str, path: &Path, source: io::Error) -> StoreError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull,
        _ => StoreError::File { operation, path: path.display().to_string(), source },
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_read_back_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path().join("deep/blobs")).unwrap();
        let payload = blobs.put("a-1", b"\"hello\"").unwrap();
        assert_eq!(payload, Payload::File { name: "a-1".into(), len: 7 });
        assert_eq!(blobs.read(&payload).unwrap(), "\"hello\"");
        blobs.remove(&payload).unwrap();
        blobs.remove(&payload).unwrap();
        assert!(matches!(blobs.read(&payload), Err(StoreError::File { operation: "read", .. })));
        assert_eq!(blobs.read(&Payload::inline("1")).unwrap(), "1");
    }

    #[test]
    fn a_sweep_removes_what_nobody_names() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let kept = blobs.put("kept", b"1").unwrap();
        blobs.put("orphan", b"2").unwrap();
        fs::write(dir.path().join("half.tmp"), b"3").unwrap();
        assert_eq!(blobs.sweep(&HashSet::from(["kept".to_owned()])).unwrap(), 2);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(blobs.read(&kept).unwrap(), "1");
    }

    #[test]
    fn a_held_file_goes_when_the_last_hold_does() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let file = blobs.put("a", b"1").unwrap();
        let (one, other) = (blobs.hold(), blobs.clone().hold());
        blobs.remove(&file).unwrap();
        drop(one);
        assert_eq!(blobs.read(&file).unwrap(), "1");
        drop(other);
        assert!(blobs.read(&file).is_err());
        blobs.put("b", b"1").unwrap();
        blobs.unlink("b").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_name_never_leads_out_of_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path().join("blobs")).unwrap();
        for name in ["../x", "/etc/passwd", "", "a.tmp", "a/b"] {
            assert!(blobs.put(name, b"1").is_err(), "{name}");
            assert!(blobs.read(&Payload::File { name: name.into(), len: 1 }).is_err(), "{name}");
        }
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        // Linux's own full disk: every write to it fails with ENOSPC.
        let full = write_synced(Path::new("/dev/full"), b"1").expect_err("it is full");
        assert!(matches!(file_error("write", Path::new("/dev/full"), full), StoreError::DiskFull));
    }
}
