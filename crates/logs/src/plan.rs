//! Where a search has to look: the files that are being written, those that wait to be packed, and the blocks whose
//! heads do not rule out what is looked for. Files change while they are listed: what is being written is opened first,
//! then what waits, then what is packed, so that every record is in one of them; a record that is in two counts once,
//! since records of one stem have numbers and each kind of file is newer than the next.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use runyard_domain::Timestamp;

use crate::filter::Key;
use crate::lines::Lines;
use crate::names::{self, Files, Kind};
use crate::segment::Heads;
use crate::waiting::Waiting;
use crate::{LogError, Query};

/// How far the clock may have stepped back inside a file before a search by time misses something.
pub(crate) const CLOCK_SLACK_MS: i64 = 60_000;

/// A place where records are.
#[derive(Debug)]
pub(crate) enum Place {
    /// Lines of JSON.
    Lines(Lines),
    /// A block.
    Block(Box<Waiting>),
}

impl Place {
    /// The time of its newest record that is not looked at yet.
    pub(crate) fn to(&self) -> Timestamp {
        match self {
            Self::Lines(lines) => lines.to,
            Self::Block(block) => block.to,
        }
    }

    /// Its bytes, unpacked, that are not looked at yet.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Lines(lines) => lines.left,
            Self::Block(block) => block.head.facts.size(),
        }
    }
}

/// How far the log of a stem goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The number of the first record in the file that is being written; 0 where there is none. It tells one file from
    /// the next.
    pub(crate) first: u64,
    /// How far that file was read.
    pub(crate) offset: u64,
    /// The number of the last record.
    pub(crate) last: u64,
    /// That file as it was when it was read; none where that is not known.
    pub(crate) stamp: Option<Stamp>,
}

/// A file at a moment: where nothing of this changed, nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    len: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of the file of this name, where one is there.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let about = std::fs::metadata(path).ok()?;
        let changed = (about.mtime(), about.mtime_nsec());
        Some(Self { inode: about.ino(), len: about.len(), changed })
    }
}

/// Where to look, and how far it goes.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) places: Vec<Place>,
    pub(crate) positions: BTreeMap<String, Position>,
}

impl Plan {
    /// Where to look for `query` in the folder `dir` of its endpoint.
    pub(crate) fn of(dir: &Path, query: &Query) -> Result<Self, LogError> {
        let read = |path: &Path| {
            let path = path.to_owned();
            move |source| LogError::Read { path, source }
        };
        let list = || -> Result<BTreeMap<String, Files>, LogError> {
            let mut stems = names::list(dir).map_err(read(dir))?;
            stems.retain(|stem, _| query.wants(stem));
            Ok(stems)
        };
        let mut planner =
            Planner { query, keys: query.keys(), plan: Self::default(), newer: BTreeMap::new() };
        for (stem, _) in list()?.into_iter().filter(|(_, files)| files.live) {
            let path = names::path(dir, &stem, Kind::Live);
            planner.live(&stem, &path).map_err(read(&path))?;
        }
        let mut stems = list()?;
        let waiting: Vec<(String, u64)> = stems
            .iter()
            .flat_map(|(stem, files)| files.parts.iter().rev().map(|part| (stem.clone(), *part)))
            .collect();
        for (stem, part) in &waiting {
            let path = names::path(dir, stem, Kind::Part(*part));
            planner.part(stem, *part, &path).map_err(read(&path))?;
        }
        if !waiting.is_empty() {
            stems = list()?;
        }
        for (stem, files) in &stems {
            planner.plan.positions.entry(stem.clone()).or_default();
            for first in files.segments.iter().rev() {
                let path = names::path(dir, stem, Kind::Segment(*first));
                planner.segment(stem, &path).map_err(read(&path))?;
            }
        }
        Ok(planner.plan)
    }
}

struct Planner<'a> {
    query: &'a Query,
    keys: Vec<Key>,
    plan: Plan,
    /// Of each stem the first number of what is already in the plan.
    newer: BTreeMap<String, u64>,
}

impl Planner<'_> {
    fn live(&mut self, stem: &str, path: &Path) -> io::Result<()> {
        let Some(file) = open_if_there(path)? else { return Ok(()) };
        let Some(lines) = Lines::of(file)? else { return Ok(()) };
        let position = Position { first: lines.first, offset: lines.end, last: lines.last, stamp: None };
        self.plan.positions.insert(stem.to_owned(), position);
        self.newer.insert(stem.to_owned(), lines.first);
        self.add_lines(lines);
        Ok(())
    }

    fn part(&mut self, stem: &str, first: u64, path: &Path) -> io::Result<()> {
        let newer = self.newer.get(stem).copied().unwrap_or(u64::MAX);
        if first >= newer {
            return Ok(());
        }
        let Some(lines) = open_if_there(path)?.map(Lines::of).transpose()?.flatten() else { return Ok(()) };
        if lines.first >= newer {
            return Ok(());
        }
        self.newer.insert(stem.to_owned(), lines.first);
        self.reached(stem, lines.last);
        self.add_lines(lines);
        Ok(())
    }

    fn add_lines(&mut self, lines: Lines) {
        let (since, until) = (self.query.since, self.query.until);
        let ended = since.is_some_and(|since| lines.to.plus(CLOCK_SLACK_MS) < since);
        let began_later = until.is_some_and(|until| lines.from > until.plus(CLOCK_SLACK_MS));
        if !ended && !began_later && self.query.wants_some_of(&(lines.first..=lines.last)) {
            self.plan.places.push(Place::Lines(lines));
        }
    }

    fn segment(&mut self, stem: &str, path: &Path) -> io::Result<()> {
        let newer = self.newer.get(stem).copied().unwrap_or(u64::MAX);
        let Some(file) = open_if_there(path)?.map(Arc::new) else { return Ok(()) };
        if ended_before(&file, self.query.since) {
            return Ok(());
        }
        let mut heads = Heads::of(&file)?;
        while let Some(head) = heads.next()? {
            self.reached(stem, head.facts.last);
            if head.facts.first < newer && self.query.wants_block(&head, &self.keys) {
                self.plan.places.push(Place::Block(Box::new(Waiting::new(Arc::clone(&file), head))));
            }
        }
        Ok(())
    }

    /// The log of a stem goes at least so far.
    fn reached(&mut self, stem: &str, last: u64) {
        let position = self.plan.positions.entry(stem.to_owned()).or_default();
        position.last = position.last.max(last);
    }
}

/// Whether nothing was written to the file since then.
fn ended_before(file: &File, since: Option<Timestamp>) -> bool {
    let Some(since) = since else { return false };
    let Ok(since) = u64::try_from(since.0.saturating_sub(CLOCK_SLACK_MS)) else { return false };
    let modified = file.metadata().and_then(|meta| meta.modified());
    modified.is_ok_and(|modified| modified < UNIX_EPOCH + Duration::from_millis(since))
}

pub(crate) fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
