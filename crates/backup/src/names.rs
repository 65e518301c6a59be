//! Which names a file in an archive may have, and where it goes. What is not named here cannot be restored, so that no
//! archive leads out of the directory, or to a place in it that a server would believe.

use std::path::PathBuf;

use runyard_runtime::Paths;

/// The first entry.
pub(crate) const MANIFEST: &str = "runyard-backup.json";
/// The last entry.
pub(crate) const CHECKSUMS: &str = "checksums.json";
/// The database.
pub(crate) const DATABASE: &str = "db/runyard.db";
/// The keys, closed.
pub(crate) const KEYS: &str = "keys.json";

/// Folders whose files are taken as they are.
pub(crate) const FOLDERS: [&str; 5] = ["blobs", "bundles", "git", "logs", "spool"];
/// Single files.
const FILES: [&str; 3] = [DATABASE, KEYS, "server.toml"];
/// The longest name, in bytes.
const LONGEST: usize = 1_024;
/// The deepest.
const DEEPEST: usize = 64;

/// Whether a file in an archive may be called so.
pub(crate) fn is_allowed(name: &str) -> bool {
    if FILES.contains(&name) {
        return true;
    }
    let Some((folder, rest)) = name.split_once('/') else { return false };
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    FOLDERS.contains(&folder)
        && name.len() <= LONGEST
        && rest.split('/').count() <= DEEPEST
        && rest.split('/').all(is_plain)
        && (folder != "blobs" || runyard_domain::id::is_well_formed(rest))
}

/// Where a file of this name goes in a data directory.
pub(crate) fn place(paths: &Paths, name: &str) -> PathBuf {
    match name.split_once('/') {
        Some(("blobs", rest)) => paths.blobs().join(rest),
        Some(("bundles", rest)) => paths.bundles().join(rest),
        Some(("git", rest)) => paths.git().join(rest),
        Some(("logs", rest)) => paths.logs().join(rest),
        Some(("spool", rest)) => paths.spool().join(rest),
        Some(("db", rest)) => paths.db().join(rest),
        _ => paths.config(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_backup_holds_is_allowed() {
        for good in [
            "db/runyard.db",
            "server.toml",
            "keys.json",
            "bundles/ab/src/handler.py",
            "git/pushed/e.git/HEAD",
        ] {
            assert!(is_allowed(good), "{good}");
        }
        for bad in [
            "vault.key",
            "run/owner.key",
            "db/runyard.db-wal",
            "/etc/passwd",
            "blobs/../vault.key",
            "blobs/a/b",
            "bundles/../../x",
            "bundles//x",
            "bundles/./x",
            "bundles/",
            "bundles",
            "",
            "envs/x/y",
            "checksums.json",
        ] {
            assert!(!is_allowed(bad), "{bad}");
        }
        assert!(!is_allowed(&format!("bundles/{}", "a/".repeat(70))));
    }
}
