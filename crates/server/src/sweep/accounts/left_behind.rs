//! Working directories of workers that nobody knows, temporary files of what was cut off, and locks of environments
//! that are gone. What was made before this server started and is no worker's, nobody finishes.

use std::fs::{DirEntry, File};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use runyard_domain::WorkerId;

use crate::sweep::account::{Account, Look, Thing, YOUNG};
use crate::sweep::files::{self, REMOVING, entries, is_digest, name};

/// No build takes longer.
const BUILD: Duration = Duration::from_hours(24);

/// Where such things lie.
pub(super) struct LeftBehind {
    pub(super) bundles: PathBuf,
    pub(super) envs: PathBuf,
    pub(super) work: PathBuf,
    pub(super) cache: PathBuf,
}

impl Account for LeftBehind {
    fn kind(&self) -> &'static str {
        "left behind"
    }

    fn things(&self, look: &Look<'_>) -> Vec<Thing> {
        let starts = |entry: &DirEntry, prefix: &str| name(entry).starts_with(prefix);
        let goes = |entry: DirEntry, why| Thing::goes(entry.path(), why);
        let work = entries(&self.work)
            .filter(|entry| !look.known.observed.contains(&WorkerId::new(name(entry))))
            .filter(|entry| look.is_left_behind(&entry.path(), YOUNG))
            .map(|entry| goes(entry, "its worker is gone"));
        let unpacking = entries(&self.bundles)
            .filter(|entry| starts(entry, ".unpacking-") && look.is_left_behind(&entry.path(), YOUNG))
            .map(|entry| goes(entry, "it was cut off"));
        let homes = entries(&self.cache)
            .filter(|entry| starts(entry, "home-") && look.is_left_behind(&entry.path(), BUILD))
            .map(|entry| goes(entry, "its build was cut off"));
        let locks = entries(&self.envs)
            .filter(|entry| {
                name(entry)
                    .strip_suffix(".lock")
                    .is_some_and(|hash| is_digest(hash) && !self.envs.join(hash).exists())
            })
            .filter(|entry| look.is_older(&entry.path(), YOUNG))
            .map(|entry| goes(entry, "its environment is gone"));
        let removing =
            [&self.bundles, &self.envs, &self.work, &self.cache].into_iter().flat_map(|dir| entries(dir));
        let removing = removing
            .filter(|entry| starts(entry, REMOVING))
            .map(|entry| goes(entry, "its removal was cut off"));
        work.chain(unpacking).chain(homes).chain(locks).chain(removing).collect()
    }

    fn remove(&self, thing: &Thing) -> io::Result<bool> {
        if thing.path.extension().is_some_and(|extension| extension == "lock") {
            let lock = File::options().write(true).open(&thing.path)?;
            // Somebody begins to make its environment.
            if lock.try_lock().is_err() || thing.path.with_extension("").exists() {
                return Ok(false);
            }
        }
        files::remove(&thing.path)?;
        Ok(true)
    }
}
