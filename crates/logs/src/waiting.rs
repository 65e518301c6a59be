//! A block that a search is to look into, or looks into: unpacked once, it gives out what matches from its newest record
//! on, some at a time.

use std::fs::File;
use std::io;
use std::sync::Arc;

use runyard_domain::{JobId, Timestamp};

use crate::block::{Head, Room};
use crate::body::{Body, Mark};
use crate::query::Marks;
use crate::{Level, Query, Record, Source};

/// The most records of one block that are given out at once: of many workers each has a block that waits.
const TOGETHER: usize = 1_000;

/// A block.
#[derive(Debug)]
pub(crate) struct Waiting {
    file: Arc<File>,
    pub(crate) head: Head,
    /// The time of the newest record that was not given out.
    pub(crate) to: Timestamp,
    /// Of its records those with lower numbers than this are still to be looked at.
    before: u64,
    unpacked: Option<Unpacked>,
}

/// What a look at a block had.
#[derive(Debug)]
pub(crate) struct Looked {
    /// What matches, newest first.
    pub(crate) found: Vec<Record>,
    /// Whether there may be more that is wanted.
    pub(crate) more: bool,
}

/// The records of a block that were not looked at.
#[derive(Debug)]
struct Unpacked {
    body: Body,
    jobs: Vec<JobId>,
    /// Of those that may match; their texts are not asked yet.
    marks: Vec<Mark>,
}

/// What became of a block that was to be unpacked.
enum Opened {
    /// It has records that may match.
    Some(Unpacked),
    /// It has none.
    None,
    /// It cannot be read.
    Damaged,
}

impl Waiting {
    /// A block of this file, whole.
    pub(crate) fn new(file: Arc<File>, head: Head) -> Self {
        Self { to: head.facts.to, file, head, before: u64::MAX, unpacked: None }
    }

    /// Whether it takes memory, how much, in bytes: not before it was looked at.
    pub(crate) fn unpacked_bytes(&self) -> Option<usize> {
        self.unpacked.as_ref().map(|unpacked| unpacked.body.size() + size_of_val(unpacked.marks.as_slice()))
    }

    /// Lets go of what is unpacked: the next look unpacks it again.
    pub(crate) fn pack(&mut self) {
        self.unpacked = None;
    }

    /// What matches next. A damaged block is one record that says so.
    pub(crate) fn look(&mut self, query: &Query, room: &mut Room) -> io::Result<Looked> {
        let nothing = || Looked { found: Vec::new(), more: false };
        if self.unpacked.is_none() {
            self.unpacked = match self.open(query, room)? {
                Opened::Some(unpacked) => Some(unpacked),
                Opened::None => return Ok(nothing()),
                Opened::Damaged => return Ok(Looked { found: vec![damaged(&self.head)], more: false }),
            };
        }
        let Some(unpacked) = &mut self.unpacked else { return Ok(nothing()) };
        let (facts, most, mut found) = (&self.head.facts, query.limit.min(TOGETHER), Vec::new());
        while found.len() < most
            && let Some(mark) = unpacked.next(query)
        {
            found.push(unpacked.body.record(facts, &unpacked.jobs, &mark));
        }
        // What a step before it had may be newer; what comes is not.
        if let Some(oldest) = found.last() {
            (self.to, self.before) = (oldest.at, oldest.seq);
        }
        let more = found.len() == most && found.len() < query.limit;
        if !more && let Some(Unpacked { body, .. }) = self.unpacked.take() {
            room.body = body;
        }
        Ok(Looked { found, more })
    }

    /// Tells time and level of everything that matches; answers how many bytes were unpacked.
    pub(crate) fn count(
        &self,
        query: &Query,
        room: &mut Room,
        mut add: impl FnMut(Timestamp, Level),
    ) -> io::Result<u64> {
        let facts = &self.head.facts;
        if query.is_of_text() || query.job.is_some() {
            match self.open(query, room)? {
                Opened::Some(mut unpacked) => {
                    while let Some(mark) = unpacked.next(query) {
                        add(mark.at, mark.gravity());
                    }
                    room.body = unpacked.body;
                }
                Opened::None => {}
                Opened::Damaged => add(facts.to, Level::Error),
            }
            return Ok(facts.size());
        }
        match self.head.marks(&self.file)? {
            Some(marks) => {
                let counted = marks.iter().filter(|mark| query.matches_marks(&mark.known(&[])));
                counted.for_each(|mark| add(mark.at, mark.gravity()));
            }
            None => add(facts.to, Level::Error),
        }
        Ok(u64::from(facts.marks))
    }

    /// Unpacks it, and finds the records that may match.
    fn open(&self, query: &Query, room: &mut Room) -> io::Result<Opened> {
        let Some(body) = self.head.body(&self.file, room)? else { return Ok(Opened::Damaged) };
        let found = query.pattern.as_ref().and_then(|pattern| pattern.places(&body.texts));
        let places: Option<Vec<usize>> = found.map(Iterator::collect);
        if places.as_ref().is_some_and(Vec::is_empty) {
            room.body = body;
            return Ok(Opened::None);
        }
        // Both go from the oldest record to the newest.
        let mut places = places.map(|places| places.into_iter().peekable());
        let marks = body.marks(|text| {
            places.as_mut().is_none_or(|places| {
                while places.next_if(|at| *at < text.start).is_some() {}
                places.peek().is_some_and(|at| *at <= text.end)
            })
        });
        Ok(match marks {
            Some((jobs, mut marks)) => {
                marks.retain(|mark| mark.seq < self.before && query.matches_marks(&mark.known(&jobs)));
                Opened::Some(Unpacked { body, jobs, marks })
            }
            None => Opened::Damaged,
        })
    }
}

impl Unpacked {
    /// The newest record that matches and was not asked for yet.
    fn next(&mut self, query: &Query) -> Option<Mark> {
        while let Some(mark) = self.marks.pop() {
            if query.matches_text(self.body.texts.get(mark.text.clone()).unwrap_or_default()) {
                return Some(mark);
            }
        }
        None
    }
}

impl Mark {
    /// What is asked of it before its text; `jobs` are the block's.
    fn known<'a>(&self, jobs: &'a [JobId]) -> Marks<'a> {
        let job = self.job.and_then(|number| jobs.get(number));
        Marks { at: self.at, seq: self.seq, source: self.source, level: self.level, job }
    }

    fn gravity(&self) -> Level {
        self.level.unwrap_or(Level::Info)
    }
}

/// Stands for the records of a block that cannot be read.
fn damaged(head: &Head) -> Record {
    let facts = &head.facts;
    let count = u64::from(facts.count);
    Record {
        at: facts.to,
        seq: facts.last,
        endpoint: facts.endpoint.clone(),
        worker: facts.worker.clone(),
        release: facts.release,
        source: Source::System,
        level: Some(Level::Error),
        job: None,
        attempt: None,
        inferred: false,
        partial: false,
        gap: Some(count),
        message: format!("{count} lines are missing here: their part of the log is damaged on the disk"),
        raw: None,
    }
}
