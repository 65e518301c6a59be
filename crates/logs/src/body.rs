//! The records of a block, unpacked: their marks (number, time, level, job, …) as small numbers, their texts one after
//! another as people see them, and their exact bytes where the text is not exact. A search looks at the texts first;
//! marks are read where something was found, and a [`Record`] is made of what is given out.

use std::collections::HashMap;
use std::ops::Range;

use runyard_domain::{JobId, Timestamp};

use crate::block::Facts;
use crate::filter::Filter;
use crate::record::Exact;
use crate::{Level, Record, Source};

const HAS_JOB: u8 = 1 << 2;
const HAS_RAW: u8 = 1 << 3;
const HAS_GAP: u8 = 1 << 4;
const INFERRED: u8 = 1 << 5;
const PARTIAL: u8 = 1 << 6;
const HAS_ATTEMPT: u8 = 1 << 7;

/// The three parts of a body.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) marks: Vec<u8>,
    pub(crate) texts: String,
    pub(crate) raws: Vec<u8>,
}

/// The records as parts; notes texts and jobs in the filter.
pub(crate) fn encode(records: &[Record], filter: &mut Filter) -> Parts {
    let mut parts = Parts::default();
    let jobs = jobs(records, &mut parts.marks, filter);
    let (mut seq, mut at) = (0, 0);
    for record in records {
        let text = record.shown();
        let raw = record.bytes();
        let exact = raw.as_ref() == text.as_bytes();
        let job = record.job.as_ref().and_then(|job| jobs.get(job));
        let mut flags = source_number(record.source);
        for (is, flag) in [
            (job.is_some(), HAS_JOB),
            (!exact, HAS_RAW),
            (record.gap.is_some(), HAS_GAP),
            (record.inferred, INFERRED),
            (record.partial, PARTIAL),
            (record.attempt.is_some(), HAS_ATTEMPT),
        ] {
            flags |= if is { flag } else { 0 };
        }
        parts.marks.push(flags);
        parts.marks.push(record.level.map_or(0, |level| level as u8 + 1));
        put(&mut parts.marks, zigzag(record.seq.wrapping_sub(seq).cast_signed()));
        put(&mut parts.marks, zigzag(record.at.0.wrapping_sub(at)));
        (seq, at) = (record.seq, record.at.0);
        let attempt = record.attempt.map(u64::from);
        for number in [job.copied(), attempt, record.gap].into_iter().flatten() {
            put(&mut parts.marks, number);
        }
        put(&mut parts.marks, text.len() as u64);
        filter.add_text(&text);
        parts.texts.push_str(&text);
        // A text that is looked for has no line feed, so it is never found across two records.
        parts.texts.push('\n');
        if !exact {
            put(&mut parts.marks, raw.len() as u64);
            parts.raws.extend_from_slice(&raw);
        }
    }
    parts
}

/// Writes the jobs' names; answers their numbers.
fn jobs<'a>(records: &'a [Record], marks: &mut Vec<u8>, filter: &mut Filter) -> HashMap<&'a JobId, u64> {
    let mut numbers: HashMap<&JobId, u64> = HashMap::new();
    let mut names = Vec::new();
    for job in records.iter().filter_map(|record| record.job.as_ref()) {
        numbers.entry(job).or_insert_with(|| {
            names.push(job);
            names.len() as u64 - 1
        });
    }
    put(marks, names.len() as u64);
    for job in names {
        filter.add_job(job.as_str());
        put(marks, job.as_str().len() as u64);
        marks.extend_from_slice(job.as_str().as_bytes());
    }
    numbers
}

/// What is known of a record without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    pub(crate) source: Source,
    pub(crate) level: Option<Level>,
    /// Which of the block's jobs.
    pub(crate) job: Option<usize>,
    attempt: Option<u32>,
    gap: Option<u64>,
    inferred: bool,
    partial: bool,
    /// Where its text lies.
    pub(crate) text: Range<usize>,
    raw: Option<Range<usize>>,
}

/// The unpacked records of a block.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// Marks, texts, exact bytes.
    data: Vec<u8>,
    marks: usize,
    raws: usize,
    /// All texts, each with a line feed after it.
    pub(crate) texts: String,
}

impl Body {
    /// A body of these bytes, in the memory of one that is over; none where they are not what the head says.
    pub(crate) fn parse(data: Vec<u8>, facts: &Facts, mut texts: String) -> Option<Self> {
        let (marks, raws) = (facts.marks as usize, facts.marks as usize + facts.texts as usize);
        if data.len() as u64 != facts.size() {
            return None;
        }
        texts.clear();
        texts.push_str(std::str::from_utf8(data.get(marks..raws)?).ok()?);
        Some(Self { data, marks, raws, texts })
    }

    /// Its memory, for the next one.
    pub(crate) fn into_parts(self) -> (Vec<u8>, String) {
        (self.data, self.texts)
    }

    /// The jobs, and those marks of the records whose text lies where it is `wanted`; none where they do not fit the texts.
    pub(crate) fn marks(&self, wanted: impl FnMut(&Range<usize>) -> bool) -> Option<(Vec<JobId>, Vec<Mark>)> {
        marks(self.data.get(..self.marks)?, [self.texts.len(), self.data.len() - self.raws], wanted)
    }

    /// What it takes in memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.data.len() + self.texts.len()
    }

    /// The record of a mark.
    pub(crate) fn record(&self, facts: &Facts, jobs: &[JobId], mark: &Mark) -> Record {
        let text = self.texts.get(mark.text.clone()).unwrap_or_default();
        let raws = self.data.get(self.raws..).unwrap_or_default();
        let raw = mark.raw.clone().and_then(|raw| raws.get(raw));
        let Exact { message, raw } = Exact::of(raw.unwrap_or(text.as_bytes()));
        Record {
            at: mark.at,
            seq: mark.seq,
            endpoint: facts.endpoint.clone(),
            worker: facts.worker.clone(),
            release: facts.release,
            source: mark.source,
            level: mark.level,
            job: mark.job.and_then(|number| jobs.get(number)).cloned(),
            attempt: mark.attempt,
            inferred: mark.inferred,
            partial: mark.partial,
            gap: mark.gap,
            message,
            raw,
        }
    }
}

/// The jobs, and those marks of records whose text lies where it is `wanted`, as they were written; none where they do not
/// fit so many bytes of texts and of exact bytes.
pub(crate) fn marks(
    bytes: &[u8],
    [texts, raws]: [usize; 2],
    mut wanted: impl FnMut(&Range<usize>) -> bool,
) -> Option<(Vec<JobId>, Vec<Mark>)> {
    let mut reader = Reader { bytes };
    let mut jobs = Vec::new();
    for _ in 0..reader.number()? {
        let name = std::str::from_utf8(reader.take()?).ok()?;
        jobs.push(JobId::parse(name).ok()?);
    }
    let (mut marks, mut seq, mut at, mut text, mut raw) = (Vec::new(), 0_u64, 0_i64, 0_usize, 0_usize);
    while !reader.bytes.is_empty() {
        let (flags, level) = (reader.byte()?, reader.byte()?);
        seq = seq.wrapping_add(unzigzag(reader.number()?).cast_unsigned());
        at = at.wrapping_add(unzigzag(reader.number()?));
        let mut number = |flag| if flags & flag != 0 { reader.number().map(Some) } else { Some(None) };
        let (job, attempt, gap) = (number(HAS_JOB)?, number(HAS_ATTEMPT)?, number(HAS_GAP)?);
        let text_end = text.checked_add(usize::try_from(reader.number()?).ok()?)?;
        let raw_len = if flags & HAS_RAW != 0 { Some(usize::try_from(reader.number()?).ok()?) } else { None };
        let raw_end = raw.checked_add(raw_len.unwrap_or(0))?;
        if text_end >= texts || raw_end > raws || job.is_some_and(|n| n >= jobs.len() as u64) {
            return None;
        }
        if wanted(&(text..text_end)) {
            marks.push(Mark {
                seq,
                at: Timestamp(at),
                source: SOURCES[usize::from(flags & 3)],
                level: LEVELS.get(usize::from(level).wrapping_sub(1)).copied(),
                job: job.map(|number| number as usize),
                attempt: attempt.and_then(|number| u32::try_from(number).ok()),
                gap,
                inferred: flags & INFERRED != 0,
                partial: flags & PARTIAL != 0,
                text: text..text_end,
                raw: raw_len.map(|_| raw..raw_end),
            });
        }
        (text, raw) = (text_end + 1, raw_end);
    }
    Some((jobs, marks))
}

const SOURCES: [Source; 4] = [Source::Stdout, Source::Stderr, Source::System, Source::Build];
const LEVELS: [Level; 4] = [Level::Debug, Level::Info, Level::Warn, Level::Error];

/// The number of a source in marks and heads, below 4.
pub(crate) fn source_number(source: Source) -> u8 {
    SOURCES.iter().position(|known| *known == source).unwrap_or(0) as u8
}

fn put(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    #[inline]
    fn number(&mut self) -> Option<u64> {
        match self.bytes.split_first() {
            // Most of them are small.
            Some((first, rest)) if *first < 0x80 => {
                self.bytes = rest;
                Some(u64::from(*first))
            }
            _ => self.long_number(),
        }
    }

    fn long_number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// As many bytes as a number before them says.
    fn take(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (taken, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in [0, 1, -1, 63, -64, 1 << 40, i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            put(&mut bytes, zigzag(number));
            assert_eq!(Reader { bytes: &bytes }.number().map(unzigzag), Some(number));
        }
    }
}
