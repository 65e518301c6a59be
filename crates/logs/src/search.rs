//! A search that goes on step by step, from the newest records to the oldest. Each step reads some blocks, on as many
//! processors, or a piece of a file, so that whoever holds it can give out what was found, say how far it is, and stop.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::thread;

use runyard_domain::{Timestamp, WorkerId};

use crate::block::Room;
use crate::plan::Place;
use crate::waiting::{Looked, Waiting};
use crate::{LogError, Query, Record};

/// The most blocks that one search unpacks at the same time.
const MOST_LANES: usize = 4;
/// How much of blocks that are not through stays unpacked, in bytes: of many workers each may have one.
const KEPT: usize = 16 << 20;

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
    /// What is unpacked of blocks that are not through, in bytes.
    kept: usize,
    /// How many blocks are looked into at once.
    lanes: usize,
    /// For each that is looked into at once; no more than there are.
    rooms: Vec<Room>,
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

/// A place by the time of its newest record.
#[derive(Debug)]
pub(crate) struct Next(pub(crate) Place);

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
        let places: BinaryHeap<Next> = places.into_iter().map(Next).collect();
        let total = places.iter().map(|Next(place)| place.size()).sum();
        let most = thread::available_parallelism().map_or(1, NonZero::get).min(MOST_LANES);
        let rooms = std::iter::repeat_with(Room::default).take(most).collect();
        Self { query, dir, places, found: BinaryHeap::new(), done: 0, total, kept: 0, lanes: 1, rooms }
    }

    /// Looks at one more place, or at some blocks at once.
    pub fn step(&mut self) -> Result<Step, LogError> {
        if let Some(next) = self.places.pop() {
            let looked = self.look(next);
            looked.map_err(|source| LogError::Read { path: self.dir.clone(), source })?;
        }
        // Of the millisecond at which the next place ends there may be more.
        let bound = self.places.peek().map(|Next(place)| place.to());
        let mut records = Vec::new();
        while let Some(first) = self.found.peek_mut()
            && bound.is_none_or(|bound| first.0.at > bound)
        {
            records.push(PeekMut::pop(first).0);
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

    fn look(&mut self, Next(place): Next) -> io::Result<()> {
        match place {
            Place::Lines(mut lines) => {
                let slice = lines.slice(&self.query, self.query.limit)?;
                self.found.extend(slice.found.into_iter().map(Found));
                if slice.is_last {
                    self.done += lines.left.max(slice.read);
                } else {
                    self.done += slice.read;
                    self.places.push(Next(Place::Lines(lines)));
                }
                Ok(())
            }
            Place::Block(block) => self.look_into(*block),
        }
    }

    /// Looks into a block, and where it has to be unpacked, at the same time into those that come after it: one in the
    /// first step, and more in each, since who finds enough in the newest one wants no others.
    fn look_into(&mut self, first: Waiting) -> io::Result<()> {
        let mut blocks = vec![first];
        if let Some(bytes) = blocks[0].unpacked_bytes() {
            self.kept -= bytes;
        } else {
            while blocks.len() < self.lanes
                && let Some(next) = self.places.peek_mut()
                && matches!(&next.0, Place::Block(block) if block.unpacked_bytes().is_none())
                && let Next(Place::Block(block)) = PeekMut::pop(next)
            {
                blocks.push(*block);
            }
            self.lanes = (self.lanes * 2).min(self.rooms.len());
        }
        for (mut block, looked) in in_parallel(blocks, &self.query, &mut self.rooms) {
            let Looked { found, more } = looked?;
            self.found.extend(found.into_iter().map(Found));
            if !more {
                self.done += block.head.facts.size();
                continue;
            }
            match block.unpacked_bytes() {
                Some(bytes) if self.kept + bytes <= KEPT => self.kept += bytes,
                _ => block.pack(),
            }
            self.places.push(Next(Place::Block(Box::new(block))));
        }
        Ok(())
    }
}

/// Looks into blocks, each on a thread of its own but the first. There are as many rooms.
fn in_parallel(
    mut blocks: Vec<Waiting>,
    query: &Query,
    rooms: &mut [Room],
) -> Vec<(Waiting, io::Result<Looked>)> {
    let looked: Vec<io::Result<Looked>> = thread::scope(|scope| {
        let mut each = blocks.iter_mut().zip(rooms);
        let Some((first, room)) = each.next() else { return Vec::new() };
        let others: Vec<_> = each.map(|(block, room)| scope.spawn(|| block.look(query, room))).collect();
        let mut looked = vec![first.look(query, room)];
        let failed = || Err(io::Error::other("a part of the search failed"));
        looked.extend(others.into_iter().map(|other| other.join().unwrap_or_else(|_| failed())));
        looked
    });
    blocks.into_iter().zip(looked).collect()
}

impl Next {
    fn to(&self) -> Timestamp {
        self.0.to()
    }
}

impl Ord for Next {
    fn cmp(&self, other: &Self) -> Ordering {
        self.to().cmp(&other.to())
    }
}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Next {
    fn eq(&self, other: &Self) -> bool {
        self.to() == other.to()
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
