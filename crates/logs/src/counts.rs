//! How many lines there are of each level over time: what a histogram above a log draws. It reads from the newest line
//! back, so that what is not reached for want of patience is the oldest, and the answer says from when on it counts.

use std::collections::BinaryHeap;
use std::io;

use runyard_domain::Timestamp;

use crate::block::{Facts, Room};
use crate::plan::{Place, Plan};
use crate::search::Next;
use crate::{Level, LogError, Query};

/// Lines by level in steps of one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Where the first step begins.
    pub since: Timestamp,
    /// The length of a step in milliseconds.
    pub step_ms: i64,
    /// Lines of each step: `debug`, `info`, `warn`, `error`. A line without a level counts as `info`.
    pub steps: Vec<[u64; 4]>,
    /// From when on all lines are counted, where not all are: of what was printed before, not all was looked at.
    pub counted_since: Option<Timestamp>,
}

impl Counts {
    /// Nothing yet, over so many steps.
    pub fn new(since: Timestamp, step_ms: i64, steps: usize) -> Self {
        Self { since, step_ms: step_ms.max(1), steps: vec![[0; 4]; steps], counted_since: None }
    }

    /// Where the last step ends.
    pub fn until(&self) -> Timestamp {
        self.since.plus(self.steps.len() as i64 * self.step_ms)
    }

    /// How many lines were counted.
    pub fn lines(&self) -> u64 {
        self.steps.iter().flatten().sum()
    }

    fn add(&mut self, at: Timestamp, level: Level) {
        if let Some(step) = self.step_of(at).and_then(|place| self.steps.get_mut(place)) {
            step[level as usize] += 1;
        }
    }

    /// Adds all lines of a block by what its head says, where that is enough.
    fn add_whole(&mut self, facts: &Facts, query: &Query) -> bool {
        let asks_more = query.is_of_text()
            || query.job.is_some()
            || !query.numbers.is_empty()
            || query.source.is_some_and(|source| !facts.has_only(source));
        let Some(levels) = facts.levels.filter(|_| !asks_more) else { return false };
        let (first, last) = (self.step_of(facts.from), self.step_of(facts.to));
        let Some(step) = first.filter(|_| first == last).and_then(|place| self.steps.get_mut(place)) else {
            return false;
        };
        let least = query.level.map_or(0, |level| level as usize);
        for (level, lines) in levels.into_iter().enumerate().skip(least) {
            step[level] += u64::from(lines);
        }
        true
    }

    /// The step that holds this time.
    fn step_of(&self, at: Timestamp) -> Option<usize> {
        let place = usize::try_from(at.since(self.since).div_euclid(self.step_ms)).ok()?;
        (place < self.steps.len()).then_some(place)
    }

    /// Counts what is in these places, from the newest to the oldest, until so many bytes were unpacked or read; answers
    /// how many are left.
    fn count(&mut self, places: Vec<Place>, query: &Query, most_bytes: u64) -> io::Result<u64> {
        let mut places: BinaryHeap<Next> = places.into_iter().map(Next).collect();
        let (mut left, mut room) = (most_bytes, Room::default());
        while let Some(Next(place)) = places.pop() {
            if left == 0 {
                // Of the millisecond that was reached last there may be more.
                let from = place.to().plus(1);
                self.counted_since = Some(self.counted_since.map_or(from, |since| since.max(from)));
                break;
            }
            let read = match place {
                Place::Block(block) if self.add_whole(&block.head.facts, query) => 0,
                Place::Block(block) => block.count(query, &mut room, |at, level| self.add(at, level))?,
                Place::Lines(mut lines) => {
                    let (read, is_last) = lines.count(query, |at, level| self.add(at, level))?;
                    if !is_last {
                        places.push(Next(Place::Lines(lines)));
                    }
                    read
                }
            };
            left = left.saturating_sub(read);
        }
        Ok(left)
    }
}

impl crate::Reader {
    /// Adds to `counts` the lines that match, within its time; the query's own times and limit do not count. Blocks that
    /// lie in one step are counted by their heads; of others, and of files that are not packed, it reads at most about
    /// `most_bytes` and answers how many of those are left.
    pub fn count(&self, query: &Query, counts: &mut Counts, most_bytes: u64) -> Result<u64, LogError> {
        let query = Query {
            since: Some(counts.since),
            until: Some(counts.until().plus(-1)),
            limit: usize::MAX,
            ..query.clone()
        };
        let dir = self.folder(&query);
        let places = Plan::of(&dir, &query)?.places;
        counts.count(places, &query, most_bytes).map_err(|source| LogError::Read { path: dir, source })
    }
}
