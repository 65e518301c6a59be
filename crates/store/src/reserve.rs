//! Room that is kept for a full disk: a file of a set size that holds blocks and nothing else. When the file system
//! has no more, the file is shortened piece by piece, so that what must not be lost (results, ends of jobs) still
//! finds room, and new jobs are refused. Once there is room again the file is made whole, and jobs are taken.
//!
//! New jobs are refused a little before the end already: while less than a quarter of the reserve is free beside it.
//! A file system that frees nothing for a shortened file (some that copy on write) gets less out of this.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

/// The least that is given up at once.
const STEP: u64 = 4 << 20;

/// Of a small file system the reserve takes at most this part.
const LARGEST_PART: u64 = 8;

/// With less than this free at the start a piece is given up before anything is opened: opening writes a little.
const TO_START: u64 = 1 << 20;

/// The reserve of one data directory. Cheap to clone, usable from any thread. The default keeps nothing.
#[derive(Debug, Clone, Default)]
pub struct Reserve(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    file: File,
    wanted: u64,
    /// Bytes that the file holds now.
    kept: Mutex<u64>,
}

/// How much room there is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Free for everybody.
    pub free: u64,
    /// What the reserve holds now.
    pub kept: u64,
    /// What it should hold.
    pub wanted: u64,
}

impl Reserve {
    /// Keeps `wanted` bytes in the file `path`, but no more than an eighth of its file system; 0 keeps nothing and
    /// removes the file. Where there is no room for it the reserve begins short.
    pub fn open(path: &Path, wanted: u64) -> io::Result<Self> {
        if wanted == 0 {
            return match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(Self(None)),
            };
        }
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let system = fstatvfs(&file)?;
        let wanted = wanted.min(system.f_blocks.saturating_mul(system.f_frsize) / LARGEST_PART);
        let meta = file.metadata()?;
        // What a copy of the directory made of it may have holes.
        let kept = meta.len().min(meta.blocks() * 512).min(wanted);
        file.set_len(kept)?;
        let reserve = Self(Some(Arc::new(Inner { file, wanted, kept: Mutex::new(kept) })));
        if reserve.room().is_some_and(|room| room.free < TO_START) {
            reserve.give(STEP);
        } else {
            reserve.restore();
        }
        Ok(reserve)
    }

    /// How much room there is; `None` where nothing is kept.
    pub fn room(&self) -> Option<Room> {
        let inner = self.0.as_ref()?;
        let kept = *inner.kept();
        Some(Room { free: inner.free(), kept, wanted: inner.wanted })
    }

    /// Whether the reserve is whole and enough is free beside it for new jobs. Where they were refused before,
    /// twice as much has to be free.
    pub fn has_room(&self, refused_before: bool) -> bool {
        let Some(room) = self.room() else { return true };
        let part = if refused_before { 2 } else { 4 };
        room.kept == room.wanted && room.free >= room.wanted / part
    }

    /// The disk is full, and `bytes` must still be written: gives up so much, or the rest. `false` where there is
    /// nothing left.
    pub fn give(&self, bytes: u64) -> bool {
        let Some(inner) = &self.0 else { return false };
        let mut kept = inner.kept();
        if *kept == 0 {
            return false;
        }
        let left = kept.saturating_sub(bytes.max(STEP));
        // Synced: some file systems free the blocks of a shortened file only then.
        if let Err(error) = inner.file.set_len(left).and_then(|()| inner.file.sync_all()) {
            tracing::error!(%error, "the disk is full, and the reserve cannot be used");
            return false;
        }
        tracing::warn!(
            given = *kept - left,
            left,
            "the disk is full: part of the reserve is used for results; make room"
        );
        *kept = left;
        true
    }

    /// Makes the reserve whole where there is room for that and for new jobs; says whether it is whole.
    pub fn restore(&self) -> bool {
        let Some(inner) = &self.0 else { return true };
        let mut kept = inner.kept();
        let missing = inner.wanted - *kept;
        if missing == 0 {
            return true;
        }
        if inner.free() < missing.saturating_add(inner.wanted / 2) {
            return false;
        }
        if let Err(error) = fill(&inner.file, inner.wanted) {
            tracing::debug!(%error, "the reserve cannot be made whole yet");
            let _ = inner.file.set_len(*kept);
            return false;
        }
        *kept = inner.wanted;
        true
    }
}

impl Inner {
    fn kept(&self) -> MutexGuard<'_, u64> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing, where the file system does not say.
    fn free(&self) -> u64 {
        fstatvfs(&self.file).map_or(0, |s| s.f_bavail.saturating_mul(s.f_frsize))
    }
}

/// Gives the file `len` bytes that take room on the disk.
fn fill(file: &File, len: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, len) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let mut file = file;
            io::Seek::seek(&mut file, io::SeekFrom::Start(0))?;
            io::copy(&mut io::Read::take(io::repeat(1), len), &mut file)?;
            file.flush()
        }
        other => Ok(other?),
    }?;
    file.sync_all()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    #[test]
    fn it_holds_blocks_gives_them_up_and_takes_them_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reserve");
        let reserve = Reserve::open(&path, 10 << 20).unwrap();
        let held = || std::fs::metadata(&path).unwrap().blocks() * 512;
        assert!(held() >= 10 << 20);
        assert!(reserve.has_room(false));
        assert!(reserve.give(1));
        assert_eq!(reserve.room().unwrap().kept, 6 << 20);
        assert!(held() < 10 << 20);
        assert!(!reserve.has_room(false), "new jobs wait until it is whole");
        assert!(reserve.give(100 << 20));
        assert!(!reserve.give(1), "nothing is left");
        assert!(reserve.restore());
        assert!(reserve.has_room(true) && held() >= 10 << 20);
    }

    #[test]
    fn it_is_found_again_resized_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reserve");
        drop(Reserve::open(&path, 8 << 20).unwrap());
        assert_eq!(Reserve::open(&path, 2 << 20).unwrap().room().unwrap().kept, 2 << 20);
        let none = Reserve::open(&path, 0).unwrap();
        assert!(none.has_room(false) && none.room().is_none() && !none.give(1));
        assert!(!path.exists());
    }
}
