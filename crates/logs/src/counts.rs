//! How many lines there are of each level over time: what a histogram above a log draws. It reads from the newest line
//! back, so that what is not reached for want of patience is the oldest, and the answer says from when on it counts.

use runyard_domain::Timestamp;

use crate::{Level, LogError, Query, Search};

/// Lines by level in steps of one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Where the first step begins.
    pub since: Timestamp,
    /// The length of a step in milliseconds.
    pub step_ms: i64,
    /// Lines of each step: `debug`, `info`, `warn`, `error`. A line without a level counts as `info`.
    pub steps: Vec<[u64; 4]>,
    /// From when on all lines are counted, where not all are: what was printed before was not looked at.
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
        let place = at.since(self.since).div_euclid(self.step_ms);
        if let Some(step) = usize::try_from(place).ok().and_then(|place| self.steps.get_mut(place)) {
            step[level as usize] += 1;
        }
    }

    /// Counts what a search finds, until it is through or has looked at so many bytes; answers how many of them are
    /// left.
    pub(crate) fn count(&mut self, mut search: Search, most_bytes: u64) -> Result<u64, LogError> {
        let mut oldest = self.until();
        loop {
            let step = search.step()?;
            for record in &step.records {
                self.add(record.at, record.gravity());
                oldest = oldest.min(record.at);
            }
            if step.is_last {
                return Ok(most_bytes.saturating_sub(step.done));
            }
            if step.done >= most_bytes {
                // Of the millisecond that was reached last there may be more.
                let from = oldest.plus(1);
                self.counted_since = Some(self.counted_since.map_or(from, |since| since.max(from)));
                return Ok(0);
            }
        }
    }
}

impl crate::Reader {
    /// Adds to `counts` the lines that match, within its time; the query's own times and limit do not count. It reads at
    /// most about `most_bytes` of logs and answers how many of those are left.
    pub fn count(&self, query: &Query, counts: &mut Counts, most_bytes: u64) -> Result<u64, LogError> {
        let query = Query {
            since: Some(counts.since),
            until: Some(counts.until().plus(-1)),
            limit: usize::MAX,
            ..query.clone()
        };
        counts.count(self.search(&query)?, most_bytes)
    }
}
