//! A quota that is used up is a full disk. To SQLite a write that fails for it is a failure of the disk like any other,
//! and does not say which; so after such a failure a write of our own asks the file system once more.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use rusqlite::ffi::SQLITE_IOERR_WRITE;

/// More than what SQLite may have had no room for.
const PROBE_BYTES: usize = 1 << 20;

/// Whether what failed was a write to a database in `dir`, because a quota is used up.
pub(super) fn is_over(dir: &Path, error: &rusqlite::Error) -> bool {
    let is_write = error.sqlite_error().is_some_and(|code| code.extended_code == SQLITE_IOERR_WRITE);
    is_write && matches!(probe(dir), Err(error) if is_for_room(&error))
}

fn is_for_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::QuotaExceeded | io::ErrorKind::StorageFull)
}

/// Writes a file for nothing.
fn probe(dir: &Path) -> io::Result<()> {
    let path = dir.join("probe");
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0; PROBE_BYTES])?;
        file.sync_data()
    });
    std::fs::remove_file(&path)?;
    written
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use rusqlite::ffi::{Error, SQLITE_IOERR_FSYNC};

    use super::*;

    #[test]
    fn a_write_that_fails_with_room_to_spare_is_a_failure_of_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        for code in [SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC] {
            assert!(!is_over(dir.path(), &rusqlite::Error::SqliteFailure(Error::new(code), None)));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left of the probe");
        assert!(is_for_room(&io::Error::from_raw_os_error(122)), "EDQUOT");
    }
}
