//! Every kind of thing that takes space: in a data directory, and on the container engines that it uses.

mod caches;
mod code;
#[cfg(feature = "docker")]
pub(super) mod images;
mod left_behind;
mod logs;

use std::path::PathBuf;

use runyard_runtime::Paths;

use super::account::{Account, Look, Thing};
use crate::config::Keep;

/// All of them, in the order in which they are shown; `engines` are those of container engines.
pub(super) fn all(paths: &Paths, keep: Keep, engines: Vec<Box<dyn Account>>) -> Vec<Box<dyn Account>> {
    let code: [Box<dyn Account>; 2] = [
        Box::new(code::Environments { dir: paths.envs() }),
        Box::new(code::Bundles { dir: paths.bundles() }),
    ];
    code.into_iter().chain(engines).chain(own(paths, keep)).collect()
}

/// That of logs.
pub(super) fn logs(paths: &Paths, keep: Keep) -> Box<dyn Account> {
    Box::new(logs::Logs { dir: paths.logs(), days: keep.logs_days, most: keep.logs_bytes })
}

/// Those of the data directory that are no code.
fn own(paths: &Paths, keep: Keep) -> Vec<Box<dyn Account>> {
    vec![
        Box::new(caches::Caches { dir: paths.cache(), most: keep.cache_bytes }),
        logs(paths, keep),
        Box::new(left_behind::LeftBehind {
            bundles: paths.bundles(),
            envs: paths.envs(),
            work: paths.work(),
            cache: paths.cache(),
        }),
        Box::new(Kept {
            kind: "jobs",
            why: "goes with its retention",
            dirs: vec![paths.db(), paths.blobs(), paths.spool()],
        }),
        Box::new(Kept { kind: "volumes", why: "goes when it is deleted", dirs: vec![paths.volumes()] }),
        Box::new(Kept {
            kind: "own",
            why: "the server needs it",
            dirs: vec![paths.tools(), paths.work(), paths.reserve()],
        }),
    ]
}

/// What is only counted: something else decides how long it stays.
struct Kept {
    kind: &'static str,
    why: &'static str,
    dirs: Vec<PathBuf>,
}

impl Account for Kept {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn things(&self, _look: &Look<'_>) -> Vec<Thing> {
        let there = self.dirs.iter().filter(|dir| dir.exists());
        there.map(|dir| Thing::stays(dir.clone(), self.why)).collect()
    }
}
