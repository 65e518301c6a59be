//! A search that goes on step by step, from the newest records to the oldest. Each step reads one block or a piece of a
//! file, so that whoever holds it can give out what was found, say how far it is, and stop.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use runyard_domain::{Timestamp, WorkerId};

use crate::block::Head;
use crate::plan::Place;
use crate::query::Marks;
use crate::{Level, LogError, Query, Record, Source};

/// The most records of one block that are in memory at once: of many workers each has a block that waits.
const TOGETHER: usize = 1_000;

/// A search in progress.
#[derive(Debug)]
pub struct Search {
    query: Query,
    dir: PathBuf,
    places: BinaryHeap<Next>,
    /// What was found and may still have newer records before it.
    found: BinaryHeap<Found>,
    done: u64,
    total: u64,
}

/// What a step of a search had.
#[derive(Debug)]
pub struct Step {
    /// Records that match, newest first; all of them older than those of the steps before.
    pub records: Vec<Record>,
    /// Bytes of logs, unpacked, that were looked at or ruled out so far.
    pub done: u64,
    /// Bytes that there are to look at.
    pub total: u64,
    /// Whether there is nothing more.
    pub is_last: bool,
}

/// A place with the time of its newest record.
#[derive(Debug)]
struct Next {
    to: Timestamp,
    place: Place,
}

/// A record by its place in time.
#[derive(Debug)]
struct Found(Record);

impl Found {
    fn key(&self) -> (Timestamp, Option<&WorkerId>, u64) {
        (self.0.at, self.0.worker.as_ref(), self.0.seq)
    }
}

impl Search {
    pub(crate) fn new(dir: PathBuf, query: Query, places: Vec<Place>) -> Self {
        let next = |place: Place| {
            let to = match &place {
                Place::Lines(lines) => lines.to,
                Place::Block(_, head, _) => head.facts.to,
            };
            Next { to, place }
        };
        let places: BinaryHeap<Next> = places.into_iter().map(next).collect();
        let total = places.iter().map(|next| size(&next.place)).sum();
        Self { query, dir, places, found: BinaryHeap::new(), done: 0, total }
    }

    /// Looks at one more place.
    pub fn step(&mut self) -> Result<Step, LogError> {
        if let Some(next) = self.places.pop() {
            let looked = self.look(next);
            looked.map_err(|source| LogError::Read { path: self.dir.clone(), source })?;
        }
        // Of the millisecond at which the next place ends there may be more.
        let bound = self.places.peek().map(|next| next.to);
        let mut records = Vec::new();
        while let Some(first) = self.found.peek_mut()
            && bound.is_none_or(|bound| first.0.at > bound)
        {
            records.push(std::collections::binary_heap::PeekMut::pop(first).0);
        }
        Ok(Step { records, done: self.done, total: self.total, is_last: self.places.is_empty() })
    }

    /// The newest records that match, oldest first, up to the query's limit and to so many bytes of text; and whether
    /// there may be more.
    pub fn newest(mut self, max_bytes: usize) -> Result<(Vec<Record>, bool), LogError> {
        let (mut records, mut bytes, mut more) = (Vec::new(), 0, false);
        'search: loop {
            let step = self.step()?;
            for record in step.records {
                bytes += record.message.len();
                if records.len() >= self.query.limit || bytes > max_bytes && !records.is_empty() {
                    more = true;
                    break 'search;
                }
                records.push(record);
            }
            if step.is_last {
                break;
            }
            if records.len() >= self.query.limit {
                more = true;
                break;
            }
        }
        records.reverse();
        Ok((records, more))
    }

    fn look(&mut self, next: Next) -> io::Result<()> {
        match next.place {
            Place::Lines(mut lines) => {
                let slice = lines.slice(&self.query, self.query.limit)?;
                self.found.extend(slice.found.into_iter().map(Found));
                if slice.is_last {
                    self.done += lines.left.max(slice.read);
                } else {
                    self.done += slice.read;
                    self.places.push(Next { to: lines.to, place: Place::Lines(lines) });
                }
            }
            Place::Block(file, head, before) => {
                let (found, rest) = in_block(&file, &head, &self.query, before)?;
                match rest.then(|| found.last().map(|oldest| (oldest.at, oldest.seq))).flatten() {
                    // What a step before it had may be newer; what comes is not.
                    Some((to, before)) => {
                        self.places.push(Next { to, place: Place::Block(file, head, before) });
                    }
                    None => self.done += head.facts.size(),
                }
                self.found.extend(found.into_iter().map(Found));
            }
        }
        Ok(())
    }
}

fn size(place: &Place) -> u64 {
    match place {
        Place::Lines(lines) => lines.left,
        Place::Block(_, head, _) => head.facts.size(),
    }
}

/// The newest records of a block that match, before this number, and whether there may be more that are wanted. A damaged
/// block is one record that says so.
fn in_block(file: &File, head: &Head, query: &Query, before: u64) -> io::Result<(Vec<Record>, bool)> {
    let facts = &head.facts;
    let Some(body) = head.body(file)? else { return Ok((vec![damaged(head)], false)) };
    let mut places: Option<Vec<usize>> = None;
    if let Some(found) = query.pattern.as_ref().and_then(|pattern| pattern.places(&body.texts)) {
        let found: Vec<usize> = found.collect();
        if found.is_empty() {
            return Ok((Vec::new(), false));
        }
        places = Some(found);
    }
    let Some((jobs, marks)) = body.marks() else { return Ok((vec![damaged(head)], false)) };
    let mut records = Vec::new();
    for mark in marks.iter().rev().filter(|mark| mark.seq < before) {
        if records.len() >= query.limit {
            break;
        }
        if records.len() >= TOGETHER {
            return Ok((records, true));
        }
        if let Some(places) = &mut places {
            // Those that stand after this record were its successors'.
            while places.last().is_some_and(|at| *at > mark.text.end) {
                places.pop();
            }
            if places.last().is_none_or(|at| *at < mark.text.start) {
                continue;
            }
        }
        let job = mark.job.and_then(|number| jobs.get(number));
        let known = Marks { at: mark.at, seq: mark.seq, source: mark.source, level: mark.level, job };
        let text = body.texts.get(mark.text.clone()).unwrap_or_default();
        if query.matches_marks(&known) && query.matches_text(text) {
            records.push(body.record(facts, &jobs, mark));
        }
    }
    Ok((records, false))
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

impl Ord for Next {
    fn cmp(&self, other: &Self) -> Ordering {
        self.to.cmp(&other.to)
    }
}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Next {
    fn eq(&self, other: &Self) -> bool {
        self.to == other.to
    }
}

impl Eq for Next {}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Found {}
