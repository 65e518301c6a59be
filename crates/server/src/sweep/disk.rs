//! The files that a sweep removes, by what is known and by their age.

use std::fs::{self, DirEntry, File};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use runyard_build::environment;
use runyard_domain::{EndpointId, WorkerId};

use super::{Known, Root, Swept};

/// What a deploy or a start in progress may just have made is younger.
const YOUNG: Duration = Duration::from_hours(1);

/// How long an environment stays that no release names.
const UNUSED: Duration = Duration::from_hours(7 * 24);

/// How long the logs of a worker that ended stay.
const LOGS: Duration = Duration::from_hours(14 * 24);

/// No build takes longer.
const BUILD: Duration = Duration::from_hours(24);

/// The most that one sweep removes.
const MOST: usize = 5_000;

/// What begins so is on its way out: it was renamed first, so that nobody finds half of it.
const REMOVING: &str = ".removing-";

/// Removes what is not known any more and old enough.
pub(super) fn clear(root: &Root, known: &Known) -> Swept {
    let now = UNIX_EPOCH + Duration::from_millis(known.wall.0.try_into().unwrap_or(0));
    let mut sweep = Sweep { known, now, left: MOST, swept: Swept::default() };
    sweep.logs(&root.logs);
    if !known.strangers {
        sweep.bundles(&root.bundles);
        sweep.environments(&root.envs);
    }
    sweep.left_behind(root);
    sweep.swept
}

struct Sweep<'a> {
    known: &'a Known,
    now: SystemTime,
    left: usize,
    swept: Swept,
}

impl Sweep<'_> {
    /// Whether it was last changed at least so long ago. What cannot be asked is young.
    fn is_older(&self, path: &Path, age: Duration) -> bool {
        let changed = fs::symlink_metadata(path).and_then(|meta| meta.modified());
        changed.is_ok_and(|changed| self.is_past(changed, age))
    }

    fn is_past(&self, time: SystemTime, age: Duration) -> bool {
        self.now.duration_since(time).is_ok_and(|passed| passed >= age)
    }

    /// Removes a file or a folder; says whether it is gone.
    fn remove(&mut self, path: &Path) -> bool {
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        match remove(path) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "what nobody needs could not be removed");
                false
            }
        }
    }

    fn logs(&mut self, logs: &Path) {
        for folder in entries(logs) {
            let endpoint = EndpointId::new(name(&folder));
            for file in entries(&folder.path()) {
                let path = file.path();
                let goes = name(&file)
                    .strip_suffix(".jsonl")
                    .is_some_and(|of| self.log_goes(&endpoint, of) && self.is_older(&path, YOUNG));
                if goes && self.remove(&path) {
                    self.swept.logs += 1;
                }
            }
            if !self.known.endpoints.contains_key(&endpoint) && self.is_older(&folder.path(), YOUNG) {
                // Only when it is empty.
                let _ = fs::remove_dir(folder.path());
            }
        }
    }

    /// Whether the log `of` a worker or a build may go.
    fn log_goes(&self, endpoint: &EndpointId, of: &str) -> bool {
        if let Some(number) = of.strip_prefix("build-").and_then(|number| number.parse().ok()) {
            return !self.known.endpoints.get(endpoint).is_some_and(|releases| releases.contains(&number));
        }
        let worker = WorkerId::new(of);
        if self.known.observed.contains(&worker) {
            return false;
        }
        match self.known.workers.get(&worker) {
            Some(Some(ended)) => {
                let ended = UNIX_EPOCH + Duration::from_millis(ended.0.try_into().unwrap_or(0));
                self.is_past(ended, LOGS)
            }
            Some(None) => false,
            None => true,
        }
    }

    fn bundles(&mut self, bundles: &Path) {
        for entry in entries(bundles) {
            let (path, name) = (entry.path(), name(&entry));
            if is_digest(&name) && !self.known.bundles.contains(&name) && self.is_older(&path, YOUNG) {
                self.swept.bundles += usize::from(self.remove(&path));
            }
        }
    }

    fn environments(&mut self, envs: &Path) {
        for entry in entries(envs) {
            let (path, name) = (entry.path(), name(&entry));
            let hash = name.strip_suffix(".lock").unwrap_or(&name);
            if !is_digest(hash) || self.known.environments.contains(hash) || self.left == 0 {
                continue;
            }
            // Whoever makes or looks for the environment holds this.
            let lock_path = envs.join(format!("{hash}.lock"));
            let mut options = File::options();
            let options = options.create(name == hash).truncate(false).write(true);
            let Ok(lock) = options.open(&lock_path) else { continue };
            if lock.try_lock().is_err() {
                continue;
            }
            let dir = envs.join(hash);
            if dir.exists() {
                let unused = match environment::last_used(&dir) {
                    Ok(used) => self.is_past(used, UNUSED),
                    Err(_) => self.is_older(&dir, UNUSED),
                };
                if name != hash || !unused || !self.remove(&path) {
                    continue;
                }
                self.swept.environments += 1;
                let _ = fs::remove_file(&lock_path);
            } else if self.is_older(&path, YOUNG) && self.remove(&path) {
                self.swept.left_behind += 1;
            }
        }
    }

    /// Working directories of workers that nobody knows, and temporary files of what was cut off.
    fn left_behind(&mut self, root: &Root) {
        let starts = |entry: &DirEntry, prefix: &str| name(entry).starts_with(prefix);
        let work = entries(&root.work)
            .filter(|entry| !self.known.observed.contains(&WorkerId::new(name(entry))))
            .filter(|entry| self.is_older(&entry.path(), YOUNG));
        let unpacking = entries(&root.bundles)
            .filter(|entry| starts(entry, ".unpacking-") && self.is_older(&entry.path(), YOUNG));
        let removing =
            [&root.bundles, &root.envs, &root.work, &root.cache].into_iter().flat_map(|dir| entries(dir));
        let removing = removing.filter(|entry| starts(entry, REMOVING));
        let homes = entries(&root.cache)
            .filter(|entry| starts(entry, "home-") && self.is_older(&entry.path(), BUILD));
        let goes: Vec<DirEntry> = work.chain(unpacking).chain(removing).chain(homes).collect();
        for entry in goes {
            self.swept.left_behind += usize::from(self.remove(&entry.path()));
        }
    }
}

/// What is in a folder; nothing where it is not there.
fn entries(dir: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten()
}

fn name(entry: &DirEntry) -> String {
    entry.file_name().to_string_lossy().into_owned()
}

/// Bundles and environments are named by SHA-256 in hex; whatever else lies there is not ours.
fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn remove(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    if file_name.starts_with(REMOVING) {
        return fs::remove_dir_all(path);
    }
    let removing = path.with_file_name(format!("{REMOVING}{file_name}"));
    fs::rename(path, &removing)?;
    fs::remove_dir_all(removing)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
