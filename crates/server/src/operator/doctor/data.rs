//! Checks of the data directory: rights, keys, room, speed, what waits in it, and how old its last backup is.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use runyard_runtime::Paths;

use super::check::{Check, size};

/// Less free space than this is worth a warning, in bytes.
const LOW_DISK: u64 = 2_000_000_000;
/// Less than one in so many inodes left is worth a warning.
const LOW_INODES: u64 = 20;
/// A slower sync makes every job slow.
const SLOW_SYNC: Duration = Duration::from_millis(50);
/// How many syncs are measured.
const SYNCS: usize = 9;
/// An older backup is worth a warning.
const OLD_BACKUP: Duration = Duration::from_hours(8 * 24);
/// More than this in the spool is worth a warning, in bytes.
const MUCH_SPOOLED: u64 = 64 << 20;

/// All of them. Blocks its thread.
pub(super) fn checks(paths: &Paths, now_ms: i64) -> Vec<Check> {
    let mut checks = vec![rights(paths), keys(paths), apart(paths), free(&paths.data)];
    checks.extend(inodes(&paths.data));
    checks.extend([sync(&paths.db()), spool(paths), backup(paths, now_ms)]);
    checks
}

/// Folders that nobody else may look into.
fn rights(paths: &Paths) -> Check {
    let own = rustix::process::geteuid().as_raw();
    let private = [
        paths.run().to_owned(),
        paths.db(),
        paths.blobs(),
        paths.logs(),
        paths.spool(),
        paths.git().join("pushed"),
    ];
    let mut open = Vec::new();
    for dir in private {
        let Ok(meta) = fs::metadata(&dir) else { continue };
        if meta.permissions().mode() & 0o077 != 0 {
            open.push(format!("{} has mode {:o}", dir.display(), meta.permissions().mode() & 0o777));
        }
        if meta.uid() != own {
            open.push(format!("{} belongs to user {}", dir.display(), meta.uid()));
        }
    }
    if open.is_empty() {
        return Check::ok("data-rights", format!("{}: only its owner looks into it", paths.data.display()));
    }
    Check::fail(
        "data-rights",
        open.join("; "),
        "other users of this machine can read jobs, or the server cannot write them",
        "chown and chmod 0700 these folders; the server sets the modes at its start",
    )
}

/// The files that open everything.
fn keys(paths: &Paths) -> Check {
    let files = [paths.vault_key(), paths.webhook_secret(), paths.owner_key(), paths.agent_key()];
    let open: Vec<String> = files
        .iter()
        .filter_map(|file| {
            let mode = fs::metadata(file).ok()?.permissions().mode() & 0o777;
            (mode & 0o077 != 0).then(|| format!("{} has mode {mode:o}", file.display()))
        })
        .collect();
    if open.is_empty() {
        return Check::ok("key-files", "only their owner reads them");
    }
    let meaning = "whoever reads them opens what is sealed, or everything";
    Check::fail("key-files", open.join("; "), meaning, "chmod 600 these files, and rotate what was readable")
}

/// Whether the key lies beside what it seals.
fn apart(paths: &Paths) -> Check {
    let key = paths.vault_key();
    match fs::symlink_metadata(&key) {
        Ok(meta) if meta.is_file() => Check::warn(
            "key-apart",
            format!("{} lies beside the data that it seals", key.display()),
            "a copy of the whole directory can be opened by whoever has it",
            "leave vault.key out of plain copies of this directory; 'runyard backup create' wraps it or leaves it out",
        ),
        Ok(_) => Check::ok("key-apart", "the sealing key lies elsewhere"),
        Err(_) => Check::ok("key-apart", "no sealing key lies in the data directory"),
    }
}

fn free(data: &Path) -> Check {
    let Ok(space) = rustix::fs::statvfs(data) else {
        return Check::fail(
            "disk",
            format!("cannot look at {}", data.display()),
            "its state is unknown",
            "df",
        );
    };
    let left = space.f_bavail * space.f_frsize;
    let found = format!("{} free for {}", size(left), data.display());
    if left < LOW_DISK {
        return Check::warn(
            "disk",
            found,
            "a full disk refuses new jobs",
            "runyard disk shows what would go",
        );
    }
    Check::ok("disk", found)
}

/// Not on file systems that have as many as it takes.
fn inodes(data: &Path) -> Option<Check> {
    let space = rustix::fs::statvfs(data).ok().filter(|space| space.f_files > 0)?;
    let found = format!("{} of {} free", space.f_favail, space.f_files);
    if space.f_favail < space.f_files / LOW_INODES {
        let meaning = "without inodes no file can be made, however much space is free";
        return Some(Check::warn("inodes", found, meaning, "remove small files: runyard disk prune"));
    }
    Some(Check::ok("inodes", found))
}

/// How long it takes until bytes are durable: each job waits for it.
fn sync(dir: &Path) -> Check {
    let path = dir.join("doctor.tmp");
    let measured = measure(&path);
    let _ = fs::remove_file(&path);
    match measured {
        Ok(median) => {
            let found = format!("{:.1} ms for a write that is durable", median.as_secs_f64() * 1000.0);
            if median > SLOW_SYNC {
                let meaning = "each batch of jobs waits for two or three of these";
                return Check::warn(
                    "sync-speed",
                    found,
                    meaning,
                    "put the data directory on an SSD of this machine",
                );
            }
            Check::ok("sync-speed", found)
        }
        Err(error) => {
            let found = format!("cannot write into {}: {error}", dir.display());
            Check::fail(
                "sync-speed",
                found,
                "nothing new can be kept",
                "look at the disk and at its mount options",
            )
        }
    }
}

fn measure(path: &Path) -> std::io::Result<Duration> {
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    times.sort();
    Ok(times[SYNCS / 2])
}

/// Results that wait for the server.
fn spool(paths: &Paths) -> Check {
    let files = fs::read_dir(paths.spool()).into_iter().flatten().flatten();
    let bytes: u64 = files.filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum();
    let found = format!("{} of results wait", size(bytes));
    if bytes > MUCH_SPOOLED {
        let meaning = "results reach the agent faster than the server takes them, or it cannot take them";
        return Check::warn("spool", found, meaning, "look at agent.log and at the server's log");
    }
    Check::ok("spool", found)
}

/// The note that `runyard backup create` leaves: when, and where to.
fn backup(paths: &Paths, now_ms: i64) -> Check {
    let advice = "runyard backup create DIR, daily, to another disk";
    let note = paths.last_backup();
    let Ok(age) = age_of(&note, now_ms) else {
        let meaning = "a broken disk loses every endpoint, key and result";
        return Check::warn("backup", "none was made of this directory", meaning, advice);
    };
    let place = fs::read_to_string(&note).unwrap_or_default();
    let place = place.lines().next().unwrap_or_default().to_owned();
    let found = format!("{} days old: {place}", age.as_secs() / 86_400);
    if age > OLD_BACKUP {
        return Check::warn("backup", found, "what was made since then would be lost with the disk", advice);
    }
    Check::ok("backup", found)
}

/// How long ago a file was written, at `now_ms` since the Unix epoch.
fn age_of(path: &Path, now_ms: i64) -> std::io::Result<Duration> {
    let changed = fs::metadata(path)?.mtime();
    Ok(Duration::from_secs((now_ms / 1_000 - changed).max(0).unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    fn home() -> (tempfile::TempDir, Paths) {
        let dir = tempfile::tempdir().expect("a folder");
        let paths = Paths::new(dir.path());
        for folder in [paths.run().to_owned(), paths.db(), paths.spool()] {
            fs::create_dir_all(&folder).expect("made");
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("set");
        }
        (dir, paths)
    }

    fn verdict(paths: &Paths, name: &str) -> Verdict {
        verdict_at(paths, name, 0)
    }

    fn verdict_at(paths: &Paths, name: &str, now_ms: i64) -> Verdict {
        checks(paths, now_ms).into_iter().find(|check| check.name == name).expect("it is made").verdict
    }

    #[test]
    fn open_folders_and_key_files_fail() {
        let (_dir, paths) = home();
        fs::write(paths.vault_key(), "k").expect("written");
        fs::set_permissions(paths.vault_key(), fs::Permissions::from_mode(0o600)).expect("set");
        assert_eq!(
            (verdict(&paths, "data-rights"), verdict(&paths, "key-files")),
            (Verdict::Ok, Verdict::Ok)
        );
        fs::set_permissions(paths.db(), fs::Permissions::from_mode(0o750)).expect("set");
        fs::set_permissions(paths.vault_key(), fs::Permissions::from_mode(0o640)).expect("set");
        assert_eq!(
            (verdict(&paths, "data-rights"), verdict(&paths, "key-files")),
            (Verdict::Fail, Verdict::Fail)
        );
    }

    #[test]
    fn a_backup_is_asked_for_until_there_is_one() {
        let (_dir, paths) = home();
        assert_eq!(verdict(&paths, "backup"), Verdict::Warn);
        fs::write(paths.last_backup(), "/mnt/backup.tar\n").expect("written");
        assert_eq!(verdict(&paths, "backup"), Verdict::Ok);
        let made = fs::metadata(paths.last_backup()).expect("there").mtime();
        assert_eq!(verdict_at(&paths, "backup", made * 1_000), Verdict::Ok);
        assert_eq!(verdict_at(&paths, "backup", (made + 9 * 86_400) * 1_000), Verdict::Warn);
    }

    #[test]
    fn what_cannot_be_written_fails_and_nothing_is_left() {
        let (_dir, paths) = home();
        assert_eq!(verdict(&paths, "sync-speed"), Verdict::Ok);
        assert_eq!(fs::read_dir(paths.db()).expect("there").count(), 0);
        fs::remove_dir(paths.db()).expect("removed");
        assert_eq!(verdict(&paths, "sync-speed"), Verdict::Fail);
    }
}
