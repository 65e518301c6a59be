//! Archives of data directories, which an operator may have from anywhere.

use std::fs;

use runyard_backup::{BackupError, verify};

/// An archive is sound or refused, and nothing is left behind either way. Bytes that are no archive are tried as its
/// first file, so that mutations reach the manifest.
pub fn archive(data: &[u8]) {
    one(data);
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(data.len() as u64);
    header.set_mode(0o600);
    tar.append_data(&mut header, "runyard-backup.json", data).expect("memory takes it");
    one(&tar.into_inner().expect("memory takes it"));
}

fn one(archive: &[u8]) {
    let work = tempfile::tempdir().expect("a folder");
    match verify(archive, work.path(), &mut |_| {}) {
        Ok(verified) => assert!(verified.manifest.files.iter().any(|file| file.name == "db/runyard.db")),
        Err(error) => assert!(
            matches!(error, BackupError::Damaged(_) | BackupError::Newer(_)) && !error.to_string().is_empty(),
            "{error}"
        ),
    }
    assert_eq!(fs::read_dir(work.path()).expect("there").count(), 0, "something is left behind");
}
