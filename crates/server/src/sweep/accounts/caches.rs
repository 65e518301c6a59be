//! What installers keep for the next build, one folder for each user that they run as. Parts of a cache cannot be
//! told apart from outside, so it goes as a whole: the longest unused first, until the rest is within the bound.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use runyard_build::environment;

use crate::sweep::account::{Account, Look, Thing};
use crate::sweep::files::{self, REMOVING, entries, name};

/// The caches.
pub(super) struct Caches {
    pub(super) dir: PathBuf,
    /// So many bytes may stay; 0: all.
    pub(super) most: u64,
}

impl Account for Caches {
    fn kind(&self) -> &'static str {
        "caches"
    }

    fn things(&self, _look: &Look<'_>) -> Vec<Thing> {
        let is_cache = |name: &str| !name.starts_with("home-") && !name.starts_with(REMOVING);
        let mut caches: Vec<(SystemTime, PathBuf, u64)> = entries(&self.dir)
            .filter(|entry| is_cache(&name(entry)) && entry.path().is_dir())
            .map(|entry| (last_change(&entry.path()), entry.path(), files::size(&entry.path())))
            .collect();
        caches.sort();
        let mut all: u64 = caches.iter().map(|(_, _, bytes)| bytes).sum();
        let judge = |(_, path, bytes)| {
            if self.most > 0 && all > self.most {
                all -= bytes;
                return Thing::goes(path, "the caches are larger than cache_mib allows");
            }
            Thing::stays(path, "makes builds fast; bounded by cache_mib")
        };
        caches.into_iter().map(judge).collect()
    }

    fn remove(&self, thing: &Thing) -> io::Result<bool> {
        // Held by every build that goes on.
        let path = self.dir.join(environment::IN_USE);
        let in_use = File::options().create(true).truncate(false).write(true).open(path)?;
        if in_use.try_lock().is_err() {
            return Ok(false);
        }
        files::remove(&thing.path)?;
        Ok(true)
    }
}

/// When something was last put into a cache: its folders know, two levels down.
fn last_change(dir: &std::path::Path) -> SystemTime {
    let below = entries(dir).flat_map(|entry| entries(&entry.path()).chain([entry]));
    let times = below.filter_map(|entry| entry.metadata().and_then(|meta| meta.modified()).ok());
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}
