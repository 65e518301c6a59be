//! What network volumes hold: measured by walking through their folders, kept for a minute. A walk ends at a number of
//! files; an answer waits for one only so long, and shows what was measured before it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runyard_domain::{ResourceId, Timestamp};
use serde_json::{Value, json};

use crate::Manage;

/// How long what was measured is shown, in milliseconds.
const FRESH_MS: i64 = 60_000;
/// How long an answer waits for a walk.
const PATIENCE: Duration = Duration::from_millis(800);
/// After so many files and folders a walk ends.
const MOST: u64 = 200_000;

/// What a volume held when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    bytes: u64,
    files: u64,
    /// There is more: the walk ended early.
    more: bool,
    at: Timestamp,
}

impl Used {
    pub(super) fn view(self) -> Value {
        json!({"bytes": self.bytes, "files": self.files, "more": self.more, "measuredAt": self.at.0})
    }
}

/// What was measured, and what is being measured.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    last: Mutex<HashMap<ResourceId, Used>>,
    walks: Mutex<HashSet<ResourceId>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gauge {
    /// The volume is gone.
    pub(super) fn forget(&self, id: &ResourceId) {
        locked(&self.last).remove(id);
    }

    pub(super) fn last(&self, id: &ResourceId) -> Option<Used> {
        locked(&self.last).get(id).copied()
    }

    /// Those of these volumes that are not known well enough, and that nobody measures; whoever asks does.
    fn due(&self, ids: &[ResourceId], now: Timestamp) -> Vec<ResourceId> {
        let last = locked(&self.last);
        let fresh = |id: &ResourceId| last.get(id).is_some_and(|used| now.since(used.at) < FRESH_MS);
        let mut walks = locked(&self.walks);
        ids.iter().filter(|id| !fresh(id) && walks.insert((*id).clone())).cloned().collect()
    }

    fn note(&self, id: &ResourceId, used: Option<Used>) {
        if let Some(used) = used {
            locked(&self.last).insert(id.clone(), used);
        }
        locked(&self.walks).remove(id);
    }
}

impl Manage {
    /// Looks what volumes hold, where that was not looked at lately.
    pub(super) async fn measure(&self, ids: &[ResourceId]) {
        let now = self.inner.engine.now();
        let due = self.inner.rest.used.due(ids, now);
        if due.is_empty() {
            return;
        }
        let manage = self.clone();
        let walk = tokio::task::spawn_blocking(move || {
            for id in due {
                let used = walk(&manage.volume_folder(&id), MOST, now);
                manage.inner.rest.used.note(&id, used);
            }
        });
        // It goes on without us.
        let _ = tokio::time::timeout(PATIENCE, walk).await;
    }
}

/// What a folder holds on the disk; links are not followed. `None` where it is not there.
fn walk(folder: &Path, most: u64, at: Timestamp) -> Option<Used> {
    let mut used = Used { bytes: 0, files: 0, more: false, at };
    let mut left: Vec<PathBuf> = vec![folder.to_owned()];
    let mut seen = 0;
    fs::symlink_metadata(folder).ok()?;
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if seen == most {
                used.more = true;
                return Some(used);
            }
            seen += 1;
            let Ok(meta) = entry.metadata() else { continue };
            used.bytes += meta.blocks() * 512;
            if meta.is_dir() {
                left.push(entry.path());
            } else {
                used.files += 1;
            }
        }
    }
    Some(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_counts_what_is_there_follows_no_link_and_ends() {
        let dir = tempfile::tempdir().expect("a folder");
        let (inside, at) = (dir.path().join("volume"), Timestamp(7));
        fs::create_dir_all(inside.join("deep/er")).expect("folders");
        fs::write(dir.path().join("outside"), vec![1; 1 << 20]).expect("a file");
        fs::write(inside.join("deep/er/model"), vec![1; 300_000]).expect("a file");
        std::os::unix::fs::symlink(dir.path().join("outside"), inside.join("link")).expect("a link");
        let used = walk(&inside, 100, at).expect("it is there");
        assert!((300_000..900_000).contains(&used.bytes), "{used:?}");
        assert_eq!((used.files, used.more, used.at), (2, false, at));
        assert!(walk(&inside, 2, at).expect("it is there").more);
        assert_eq!(walk(&dir.path().join("none"), 100, at), None);
    }

    #[test]
    fn one_walk_at_a_time_and_none_where_the_last_is_fresh() {
        let (gauge, id) = (Gauge::default(), ResourceId::new("v1"));
        let ids = std::slice::from_ref(&id);
        assert_eq!(gauge.due(ids, Timestamp(0)), ids);
        assert!(gauge.due(ids, Timestamp(1)).is_empty(), "it is being measured");
        gauge.note(&id, Some(Used { bytes: 1, files: 1, more: false, at: Timestamp(1) }));
        assert!(gauge.due(ids, Timestamp(FRESH_MS)).is_empty());
        assert_eq!(gauge.due(ids, Timestamp(FRESH_MS + 1)), ids);
        gauge.forget(&id);
        assert_eq!(gauge.last(&id), None);
    }
}
