//! What is looked for in the logs of an endpoint. Blocks, lines and records are asked in that order: the cheaper the
//! question, the earlier.

use std::ops::RangeInclusive;

use runyard_domain::{EndpointId, JobId, Timestamp, WorkerId};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::block::Head;
use crate::filter::{self, Key};
use crate::{Condition, Level, Pattern, Record, Source};

/// What is looked for. Absent means any.
#[derive(Debug, Clone)]
pub struct Query {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Records of this worker only.
    pub worker: Option<WorkerId>,
    /// Records of this job only.
    pub job: Option<JobId>,
    /// The build log of this release instead of workers' logs.
    pub build: Option<u32>,
    /// Records of this release only.
    pub release: Option<u32>,
    /// This level or graver; records without a level count as `info`.
    pub level: Option<Level>,
    /// Records of this source only.
    pub source: Option<Source>,
    /// Records that contain this.
    pub pattern: Option<Pattern>,
    /// Records of JSON lines that meet all of these.
    pub conditions: Vec<Condition>,
    /// Records from then on.
    pub since: Option<Timestamp>,
    /// Records until then, that millisecond included.
    pub until: Option<Timestamp>,
    /// Records with a number in one of these ranges, ends included; none means any number.
    pub numbers: Vec<RangeInclusive<u64>>,
    /// At most so many, the newest.
    pub limit: usize,
}

impl Query {
    /// Everything that workers of `endpoint` printed, the newest 100 records.
    pub fn new(endpoint: EndpointId) -> Self {
        Self {
            endpoint,
            worker: None,
            job: None,
            build: None,
            release: None,
            level: None,
            source: None,
            pattern: None,
            conditions: Vec::new(),
            since: None,
            until: None,
            numbers: Vec::new(),
            limit: 100,
        }
    }

    /// Whether the log of a stem can hold what is looked for.
    pub(crate) fn wants(&self, stem: &str) -> bool {
        match (self.build, &self.worker) {
            (Some(release), _) => stem == format!("build-{release}"),
            (None, Some(worker)) => stem == worker.as_str(),
            (None, None) => !stem.starts_with("build-"),
        }
    }

    /// What a filter must hold.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let job = self.job.iter().flat_map(|job| filter::job(job.as_str()));
        let pattern = self.pattern.iter().flat_map(|pattern| pattern.keys().iter().copied());
        job.chain(pattern).chain(self.conditions.iter().flat_map(Condition::keys)).collect()
    }

    /// Whether a block can hold what is looked for; `keys` are the query's.
    pub(crate) fn wants_block(&self, head: &Head, keys: &[Key]) -> bool {
        let facts = &head.facts;
        self.since.is_none_or(|since| facts.to >= since)
            && self.until.is_none_or(|until| facts.from <= until)
            && self.level.is_none_or(|level| facts.gravest >= level)
            && self.release.is_none_or(|release| facts.release == release)
            && self.source.is_none_or(|source| facts.has(source))
            && self.wants_some_of(&(facts.first..=facts.last))
            && head.filter.may_hold(keys)
    }

    /// Whether numbers of a range are looked for.
    pub(crate) fn wants_some_of(&self, there: &RangeInclusive<u64>) -> bool {
        let overlaps =
            |range: &RangeInclusive<u64>| range.start() <= there.end() && range.end() >= there.start();
        self.numbers.is_empty() || self.numbers.iter().any(overlaps)
    }

    /// Reads a line of a file, if it is a record that is looked for.
    pub(crate) fn parse(&self, line: &[u8]) -> Option<Record> {
        // Ids are written without escapes, so a line without the job's id is not worth parsing.
        if let Some(job) = &self.job
            && !std::str::from_utf8(line).is_ok_and(|line| line.contains(job.as_str()))
        {
            return None;
        }
        if self.pattern.as_ref().is_some_and(|pattern| pattern.is_ruled_out_by(line)) {
            return None;
        }
        serde_json::from_slice(line).ok().filter(|record| self.matches(record))
    }

    /// Whether texts are asked for something.
    pub(crate) fn is_of_text(&self) -> bool {
        self.pattern.is_some() || !self.conditions.is_empty()
    }

    /// The time and the level of a line of a file, if it is a record that is looked for: all that a count needs.
    pub(crate) fn count(&self, line: &[u8]) -> Option<(Timestamp, Level)> {
        if self.is_of_text() {
            return self.parse(line).map(|record| (record.at, record.gravity()));
        }
        let bare: Bare<'_> = serde_json::from_slice(line).ok()?;
        let job = self.job.as_ref().filter(|job| bare.job == Some(job.as_str()));
        let marks = Marks { at: bare.at, seq: bare.seq, source: bare.source, level: bare.level, job };
        let is_of_release = self.release.is_none_or(|release| bare.release == release);
        let counts = is_of_release && self.matches_marks(&marks);
        counts.then(|| (bare.at, bare.level.unwrap_or(Level::Info)))
    }

    /// Whether a record is what is looked for.
    pub(crate) fn matches(&self, record: &Record) -> bool {
        let marks = Marks {
            at: record.at,
            seq: record.seq,
            source: record.source,
            level: record.level,
            job: record.job.as_ref(),
        };
        self.matches_marks(&marks)
            && self.release.is_none_or(|release| record.release == release)
            && self.matches_text(&record.shown())
    }

    /// Whether what is known of a record without its text fits.
    pub(crate) fn matches_marks(&self, marks: &Marks<'_>) -> bool {
        self.job.as_ref().is_none_or(|job| marks.job == Some(job))
            && self.level.is_none_or(|level| marks.level.unwrap_or(Level::Info) >= level)
            && self.source.is_none_or(|source| marks.source == source)
            && self.since.is_none_or(|since| marks.at >= since)
            && self.until.is_none_or(|until| marks.at <= until)
            && (self.numbers.is_empty() || self.numbers.iter().any(|range| range.contains(&marks.seq)))
    }

    /// Whether a text as people see it fits.
    pub(crate) fn matches_text(&self, text: &str) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| pattern.is_in(text))
            && self.conditions.iter().all(|condition| condition.is_met_by(text))
    }
}

/// A [`Record`] without its text. Ids are written without escapes.
#[derive(Deserialize)]
struct Bare<'a> {
    at: Timestamp,
    seq: u64,
    release: u32,
    source: Source,
    #[serde(default)]
    level: Option<Level>,
    #[serde(default, borrow)]
    job: Option<&'a str>,
    #[serde(rename = "message")]
    _message: IgnoredAny,
}

/// What is asked of a record before its text.
pub(crate) struct Marks<'a> {
    pub(crate) at: Timestamp,
    pub(crate) seq: u64,
    pub(crate) source: Source,
    pub(crate) level: Option<Level>,
    pub(crate) job: Option<&'a JobId>,
}
