//! A kind of things that take space, and how one of them is judged.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use runyard_domain::Timestamp;

use super::{Known, files};

/// What a deploy or a start in progress may just have made is younger.
pub(super) const YOUNG: Duration = Duration::from_hours(1);

/// Things of one kind: bundles, logs, images of an engine. Everything here blocks and is called on a thread of its own.
pub(super) trait Account: Send {
    /// What people call them.
    fn kind(&self) -> &'static str;
    /// Why not all of them are known, where that is so.
    fn unknown(&self) -> Option<String> {
        None
    }
    /// All that are there, judged.
    fn things(&self, look: &Look<'_>) -> Vec<Thing>;
    /// How many bytes one takes.
    fn size(&self, thing: &Thing) -> u64 {
        thing.bytes.unwrap_or_else(|| files::size(&thing.path))
    }
    /// Removes one, unless somebody uses it now; says whether it is gone.
    fn remove(&self, thing: &Thing) -> io::Result<bool> {
        files::remove(&thing.path).map(|()| true)
    }
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Thing {
    /// What people know it by.
    pub(super) name: String,
    /// Where it lies; accounts of other things than files have something of their own here.
    pub(super) path: PathBuf,
    /// What it takes, where that is not what its files take.
    pub(super) bytes: Option<u64>,
    /// What becomes of it.
    pub(super) fate: Fate,
}

/// What becomes of a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays, and why.
    Stays(String),
    /// It goes, and why.
    Goes(&'static str),
}

impl Thing {
    pub(super) fn stays(path: PathBuf, why: impl Into<String>) -> Self {
        Self { name: name_of(&path), path, bytes: None, fate: Fate::Stays(why.into()) }
    }

    pub(super) fn goes(path: PathBuf, why: &'static str) -> Self {
        Self { name: name_of(&path), path, bytes: None, fate: Fate::Goes(why) }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What is known at the time of a look.
pub(super) struct Look<'a> {
    pub(super) known: &'a Known,
    now: SystemTime,
    started: SystemTime,
    /// Somebody asked for it: what only waits for its time goes at once.
    pub(super) is_asked: bool,
}

impl<'a> Look<'a> {
    pub(super) fn new(known: &'a Known, is_asked: bool) -> Self {
        Self { known, now: clock(known.wall), started: clock(known.started), is_asked }
    }

    /// Whether it was last changed at least so long ago. What cannot be asked is young.
    pub(super) fn is_older(&self, path: &Path, age: Duration) -> bool {
        changed(path).is_some_and(|changed| self.is_past(changed, age))
    }

    /// Whether it is older, or was made before this server: then nobody goes on with it.
    pub(super) fn is_left_behind(&self, path: &Path, age: Duration) -> bool {
        changed(path).is_some_and(|changed| changed < self.started || self.is_past(changed, age))
    }

    pub(super) fn is_past(&self, time: SystemTime, age: Duration) -> bool {
        self.now.duration_since(time).is_ok_and(|passed| passed >= age)
    }
}

pub(super) fn clock(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(at.0.try_into().unwrap_or(0))
}

fn changed(path: &Path) -> Option<SystemTime> {
    path.symlink_metadata().and_then(|meta| meta.modified()).ok()
}
