//! Searches in the logs of one endpoint, and what stands around what was found.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use runyard_domain::{EndpointId, WorkerId};

use crate::names;
use crate::plan::{Place, Plan};
use crate::{LogError, Query, Record, Search, Tail};

/// The most text that one answer has, in bytes.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// First and last numbers of records.
type Ranges = Vec<RangeInclusive<u64>>;

/// Reads the logs folder.
#[derive(Debug, Clone)]
pub struct Reader {
    dir: PathBuf,
}

/// A record with the lines around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The record.
    pub record: Record,
    /// Whether it only stands near one that was looked for.
    pub is_context: bool,
}

impl Reader {
    /// A reader of the logs folder `dir`, which need not exist yet.
    pub fn open(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The newest `limit` records that match, oldest first; fewer where their text is more than 16 MiB.
    pub fn query(&self, query: &Query) -> Result<Vec<Record>, LogError> {
        Ok(self.newest(query)?.0)
    }

    /// The same, and whether there are older ones that match.
    pub fn newest(&self, query: &Query) -> Result<(Vec<Record>, bool), LogError> {
        self.search(query)?.newest(MAX_ANSWER)
    }

    /// Whether there are lines of this worker.
    pub fn has_worker(&self, endpoint: &EndpointId, worker: &WorkerId) -> bool {
        let files = names::of_stem(&self.dir.join(endpoint.as_str()), worker.as_str());
        files.is_ok_and(|files| files.live || !files.parts.is_empty() || !files.segments.is_empty())
    }

    /// A search for what matches, the newest first.
    pub fn search(&self, query: &Query) -> Result<Search, LogError> {
        let dir = self.folder(query);
        let plan = Plan::of(&dir, query)?;
        Ok(Search::new(dir, query.clone(), plan.places))
    }

    /// Follows what matches: the first [`Tail::poll`] answers what [`Reader::query`] would.
    pub fn follow(&self, query: Query) -> Tail {
        Tail::new(self.folder(&query), query)
    }

    /// These records, which are of one endpoint, with up to `lines` lines of the same worker before and after each,
    /// whatever those are. What stands together is together, and each line is there once.
    pub fn around(&self, query: &Query, records: &[Record], lines: u64) -> Result<Vec<Shown>, LogError> {
        let mut ranges: BTreeMap<(Option<WorkerId>, u32), Ranges> = BTreeMap::new();
        for record in records {
            let release = if record.worker.is_none() { record.release } else { 0 };
            let of = ranges.entry((record.worker.clone(), release)).or_default();
            let (first, last) = (record.seq.saturating_sub(lines), record.seq.saturating_add(lines));
            match of.last_mut() {
                // Records come in their order in time, and so by their numbers.
                Some(range) if first <= range.end().saturating_add(1) => *range = *range.start()..=last,
                _ => of.push(first..=last),
            }
        }
        let mut groups: Vec<Vec<Shown>> = Vec::new();
        for ((worker, release), numbers) in ranges {
            let near = Query {
                build: worker.is_none().then_some(release),
                worker: worker.clone(),
                numbers,
                limit: usize::MAX,
                ..Query::new(query.endpoint.clone())
            };
            let found: HashSet<u64> = records.iter().filter(|r| r.worker == worker).map(|r| r.seq).collect();
            let mut last = None;
            for record in self.query(&near)? {
                if last.is_none_or(|last: u64| last + 1 != record.seq) {
                    groups.push(Vec::new());
                }
                last = Some(record.seq);
                let shown = Shown { is_context: !found.contains(&record.seq), record };
                if let Some(group) = groups.last_mut() {
                    group.push(shown);
                }
            }
        }
        groups.sort_by_key(|group| group.first().map(|first| first.record.at));
        Ok(groups.into_iter().flatten().collect())
    }

    /// Bytes of heads and filters, of all that is packed of an endpoint.
    pub fn overhead(&self, endpoint: &EndpointId) -> Result<u64, LogError> {
        let query = Query::new(endpoint.clone());
        let plan = Plan::of(&self.folder(&query), &query)?;
        let heads = plan.places.iter().filter_map(|place| match place {
            Place::Block(block) => Some(block.head.overhead()),
            Place::Lines(_) => None,
        });
        Ok(heads.sum())
    }

    pub(crate) fn folder(&self, query: &Query) -> PathBuf {
        self.dir.join(query.endpoint.as_str())
    }
}

/// Removes all logs of an endpoint from the logs folder `dir`. None there is no error.
pub fn remove_endpoint(dir: &Path, endpoint: &EndpointId) -> Result<(), LogError> {
    let path = dir.join(endpoint.as_str());
    match fs::remove_dir_all(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LogError::Remove { path, source }),
        _ => Ok(()),
    }
}

/// The newest `limit` of `records`, oldest first.
pub(crate) fn newest(mut records: Vec<Record>, limit: usize) -> Vec<Record> {
    records.sort_by(|a, b| (a.at, &a.worker, a.seq).cmp(&(b.at, &b.worker, b.seq)));
    records.split_off(records.len().saturating_sub(limit))
}
