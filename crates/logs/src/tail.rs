//! Follows logs: remembers how far each was read and answers what is new. Whoever holds it polls when it is told that
//! there is output; it keeps no timer. Each poll reads a bounded amount. Where a worker printed more than that since the
//! poll before, the newest lines are answered, and one record says how many are left out: they are stored, and a search
//! finds them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use crate::lines::first_number;
use crate::names::{self, Files, Kind};
use crate::plan::{Place, Plan, Position, Stamp, open_if_there};
use crate::reader::newest;
use crate::{Level, LogError, Query, Record, Search, Source};

/// The most that one poll reads of files, in bytes, before it answers.
const STEP: u64 = 8 * 1024 * 1024;
/// The most lines that one poll answers, about.
const MANY: usize = 20_000;
/// The most lines that are caught up of one log that went on faster than it was read.
const CATCH_UP: usize = 5_000;

/// A query that goes on.
#[derive(Debug)]
pub struct Tail {
    dir: PathBuf,
    query: Query,
    positions: BTreeMap<String, Position>,
    started: bool,
    /// Which stem comes first in the next poll: none shall keep the others from being read.
    turn: usize,
}

/// What a poll had.
#[derive(Debug)]
pub struct Polled {
    /// At first the newest records that match, later what came since the poll before; oldest first.
    pub records: Vec<Record>,
    /// Whether there is more to read at once.
    pub more: bool,
}

impl Tail {
    pub(crate) fn new(dir: PathBuf, query: Query) -> Self {
        Self { dir, query, positions: BTreeMap::new(), started: false, turn: 0 }
    }

    /// Looks for what is new.
    pub fn poll(&mut self) -> Result<Polled, LogError> {
        if self.started { self.step() } else { self.start() }
    }

    fn start(&mut self) -> Result<Polled, LogError> {
        let plan = Plan::of(&self.dir, &self.query)?;
        self.positions = plan.positions;
        self.started = true;
        let (records, _) =
            Search::new(self.dir.clone(), self.query.clone(), plan.places).newest(STEP as usize)?;
        Ok(Polled { records, more: false })
    }

    fn step(&mut self) -> Result<Polled, LogError> {
        let failed = |source| LogError::Read { path: self.dir.clone(), source };
        let mut stems: Vec<(String, Files)> = names::list(&self.dir).map_err(failed)?.into_iter().collect();
        stems.retain(|(stem, _)| self.query.wants(stem));
        self.positions.retain(|stem, _| stems.binary_search_by(|(other, _)| other.cmp(stem)).is_ok());
        let (mut found, mut read, count) = (Vec::new(), 0, stems.len());
        for n in 0..count {
            if read >= STEP || found.len() >= MANY {
                self.turn = (self.turn + n) % count;
                return Ok(Polled { records: newest(found, usize::MAX), more: true });
            }
            let (stem, files) = &stems[(self.turn + n) % count];
            let done = self.read(stem, files, &mut found);
            read += done.map_err(|source| LogError::Read { path: self.dir.join(stem), source })?;
        }
        Ok(Polled { records: newest(found, usize::MAX), more: false })
    }

    /// Reads what is new of one log; answers how many bytes that took.
    fn read(&mut self, stem: &str, files: &Files, found: &mut Vec<Record>) -> io::Result<u64> {
        let before = self.positions.get(stem).copied();
        let mut position = before.unwrap_or_default();
        let path = names::path(&self.dir, stem, Kind::Live);
        let stamp = Stamp::of(&path);
        if stamp.is_some() && stamp == position.stamp {
            return Ok(0);
        }
        let live = open_if_there(&path)?;
        let first = live.as_ref().map(first_number).transpose()?.flatten();
        let (Some(file), Some(first)) = (live, first) else {
            // A log that was not being written at the last look either has nothing new.
            let is_over = before.is_some_and(|position| position.first == 0);
            let is_there = !files.parts.is_empty() || !files.segments.is_empty();
            if is_there && !is_over {
                position.last = self.catch_up(stem, position.last, u64::MAX, found)?;
                self.positions.insert(stem.to_owned(), Position { first: 0, stamp: None, ..position });
            }
            return Ok(0);
        };
        if first != position.first {
            if first > position.last + 1 {
                position.last = self.catch_up(stem, position.last, first, found)?;
            }
            (position.first, position.offset) = (first, 0);
        }
        let from = position.offset;
        self.read_on(&file, &mut position, found)?;
        // It was taken before the file was read: what came since is seen by the next look.
        position.stamp = stamp;
        self.positions.insert(stem.to_owned(), position);
        Ok(position.offset - from)
    }

    fn read_on(&self, file: &File, position: &mut Position, found: &mut Vec<Record>) -> io::Result<()> {
        let len = file.metadata()?.len();
        while position.offset < len {
            let mut bytes = vec![0; (len - position.offset).min(STEP) as usize];
            file.read_exact_at(&mut bytes, position.offset)?;
            let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else { break };
            position.offset += end as u64 + 1;
            let mut last = None;
            for line in bytes[..end].split(|byte| *byte == b'\n') {
                found.extend(self.query.parse(line));
                last = Some(line);
            }
            let last = last.and_then(|line| serde_json::from_slice::<Record>(line).ok());
            position.last = last.map_or(position.last, |record| record.seq);
        }
        Ok(())
    }

    /// Reads what was put aside after the record `after` and before `before`; answers the number of the last record.
    fn catch_up(&self, stem: &str, after: u64, before: u64, found: &mut Vec<Record>) -> io::Result<u64> {
        let numbers = vec![after + 1..=before - 1];
        let (worker, build) = match stem.strip_prefix("build-") {
            Some(_) => (None, self.query.build),
            None => (Some(runyard_domain::WorkerId::new(stem)), None),
        };
        let all =
            Query { worker, build, numbers, limit: CATCH_UP, ..Query::new(self.query.endpoint.clone()) };
        let error = |error: LogError| io::Error::other(error.to_string());
        let plan = Plan::of(&self.dir, &all).map_err(error)?;
        let last =
            plan.positions.get(stem).map_or(after, |position| position.last).min(before - 1).max(after);
        let places = plan.places.into_iter().filter(|place| is_put_aside(place, before)).collect();
        let search = Search::new(self.dir.clone(), all, places);
        let (records, _) = search.newest(STEP as usize).map_err(error)?;
        if let Some(first) = records.first()
            && after > 0
            && first.seq > after + 1
        {
            found.push(skipped(first, first.seq - after - 1));
        }
        found.extend(records.into_iter().filter(|record| self.query.matches(record)));
        Ok(last)
    }
}

/// Whether a place is not the file that is read as such.
fn is_put_aside(place: &Place, before: u64) -> bool {
    match place {
        Place::Lines(lines) => lines.first < before,
        Place::Block(..) => true,
    }
}

/// Stands for lines that came faster than they were followed.
fn skipped(next: &Record, count: u64) -> Record {
    Record {
        seq: next.seq - 1,
        source: Source::System,
        level: Some(Level::Warn),
        job: None,
        attempt: None,
        inferred: false,
        partial: false,
        gap: Some(count),
        message: format!(
            "{count} lines are not shown here: they came faster than they were followed; they are stored"
        ),
        raw: None,
        ..next.clone()
    }
}
