//! What workers run: bundles of code and Python environments. What a kept release names stays, and whatever a
//! running worker may need.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runyard_build::environment;

use crate::sweep::account::{Account, Look, Thing, YOUNG};
use crate::sweep::files::{self, entries, is_digest, name};

/// How long an environment stays that no release names, unless somebody asks for the room.
const UNUSED: Duration = Duration::from_hours(7 * 24);

/// Why everything stays while a worker of an unknown release runs.
pub(super) const STRANGERS: &str = "a worker of a removed endpoint still runs";

/// Unpacked bundles.
pub(super) struct Bundles {
    pub(super) dir: PathBuf,
}

impl Account for Bundles {
    fn kind(&self) -> &'static str {
        "bundles"
    }

    fn things(&self, look: &Look<'_>) -> Vec<Thing> {
        let bundles = entries(&self.dir).filter(|entry| is_digest(&name(entry)));
        bundles
            .map(|entry| {
                let path = entry.path();
                match look.known.bundles.get(&name(&entry)) {
                    Some(why) => Thing::stays(path, why),
                    None if look.known.strangers => Thing::stays(path, STRANGERS),
                    None if !look.is_older(&path, YOUNG) => Thing::stays(path, "it is new"),
                    None => Thing::goes(path, "no release that is kept needs it"),
                }
            })
            .collect()
    }
}

/// Python environments.
pub(super) struct Environments {
    pub(super) dir: PathBuf,
}

impl Account for Environments {
    fn kind(&self) -> &'static str {
        "environments"
    }

    fn things(&self, look: &Look<'_>) -> Vec<Thing> {
        let all = entries(&self.dir).filter(|entry| is_digest(&name(entry)));
        all.map(|entry| self.judge(look, entry.path(), &name(&entry))).collect()
    }

    fn remove(&self, thing: &Thing) -> io::Result<bool> {
        // Whoever makes or looks for the environment holds this.
        let lock_path = self.dir.join(format!("{}.lock", thing.name));
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path)?;
        if lock.try_lock().is_err() {
            return Ok(false);
        }
        files::remove(&thing.path)?;
        let _ = fs::remove_file(&lock_path);
        Ok(true)
    }
}

impl Environments {
    fn judge(&self, look: &Look<'_>, path: PathBuf, hash: &str) -> Thing {
        if is_locked(&self.dir.join(format!("{hash}.lock"))) {
            return Thing::stays(path, "it is being made");
        }
        if !environment::is_complete(&path) && look.is_left_behind(&path, YOUNG) {
            return Thing::goes(path, "it was left half made");
        }
        if let Some(why) = look.known.environments.get(hash) {
            return Thing::stays(path, why);
        }
        if look.known.strangers {
            return Thing::stays(path, STRANGERS);
        }
        let age = if look.is_asked { YOUNG } else { UNUSED };
        let unused = match environment::last_used(&path) {
            Ok(used) => look.is_past(used, age),
            Err(_) => look.is_older(&path, age),
        };
        if unused {
            return Thing::goes(path, "no release that is kept needs it");
        }
        Thing::stays(path, "it was used lately")
    }
}

fn is_locked(path: &Path) -> bool {
    File::options().write(true).open(path).is_ok_and(|file| file.try_lock().is_err())
}
