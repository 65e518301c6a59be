//! Logs of workers and of builds, one file each.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use runyard_domain::{EndpointId, WorkerId};

use crate::sweep::account::{Account, Fate, Look, Thing, YOUNG, clock};
use crate::sweep::files::{self, entries, name};

/// How long the logs of a worker that ended stay.
const LOGS: Duration = Duration::from_hours(14 * 24);

/// The folder of logs.
pub(super) struct Logs {
    pub(super) dir: PathBuf,
}

impl Account for Logs {
    fn kind(&self) -> &'static str {
        "logs"
    }

    fn things(&self, look: &Look<'_>) -> Vec<Thing> {
        let mut things = Vec::new();
        for folder in entries(&self.dir) {
            let endpoint = EndpointId::new(name(&folder));
            let label = look.known.names.get(&endpoint).cloned().unwrap_or_else(|| name(&folder));
            for file in entries(&folder.path()) {
                let path = file.path();
                let Some(of) = name(&file).strip_suffix(".jsonl").map(str::to_owned) else { continue };
                let fate = match fate(look, &endpoint, &of) {
                    Fate::Goes(_) if !look.is_older(&path, YOUNG) => Fate::Stays("it is new".to_owned()),
                    fate => fate,
                };
                things.push(Thing { name: format!("{label}/{of}"), path, bytes: None, fate });
            }
            if !look.known.endpoints.contains_key(&endpoint) && look.is_older(&folder.path(), YOUNG) {
                things.push(Thing::goes(folder.path(), "its endpoint is gone"));
            }
        }
        things
    }

    fn remove(&self, thing: &Thing) -> std::io::Result<bool> {
        if thing.path.is_dir() {
            // Only when it is empty.
            return Ok(fs::remove_dir(&thing.path).is_ok());
        }
        fs::remove_file(&thing.path).map(|()| true)
    }

    fn size(&self, thing: &Thing) -> u64 {
        // A folder's files are things of their own.
        if thing.path.is_dir() { 0 } else { files::size(&thing.path) }
    }
}

/// What becomes of the log `of` a worker or a build.
fn fate(look: &Look<'_>, endpoint: &EndpointId, of: &str) -> Fate {
    if let Some(number) = of.strip_prefix("build-").and_then(|number| number.parse().ok()) {
        let is_known = look.known.endpoints.get(endpoint).is_some_and(|releases| releases.contains(&number));
        let stays = || Fate::Stays("its release is known".to_owned());
        return if is_known { stays() } else { Fate::Goes("its release is gone") };
    }
    let worker = WorkerId::new(of);
    if look.known.observed.contains(&worker) {
        return Fate::Stays("its worker runs".to_owned());
    }
    match look.known.workers.get(&worker) {
        Some(Some(ended)) if look.is_past(clock(*ended), LOGS) => Fate::Goes("its worker ended long ago"),
        Some(Some(_)) => Fate::Stays("kept for 14 days".to_owned()),
        Some(None) => Fate::Stays("its worker runs".to_owned()),
        None => Fate::Goes("its worker is forgotten"),
    }
}
