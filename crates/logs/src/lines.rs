//! A file of JSON lines as it was when it was opened, read from its newest record to its oldest.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use runyard_domain::Timestamp;

use crate::reverse::ReverseLines;
use crate::{Level, Query, Record};

/// The most that is read at a time, in bytes.
const SLICE: u64 = 1024 * 1024;
/// How many lines are read at first; each time twice as many. Who wants the newest lines of many files needs few of each.
const FEW: usize = 8;

/// The rest of a file that is still to be read.
#[derive(Debug)]
pub(crate) struct Lines {
    reader: ReverseLines,
    /// Where its last whole line ends.
    pub(crate) end: u64,
    /// Numbers of its first and its last record.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// The time of its first record, and of the newest that is not read yet.
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    /// Bytes that are not read yet.
    pub(crate) left: u64,
    /// So many lines are read next, at most.
    next: usize,
}

/// What a part of a file had.
pub(crate) struct Slice {
    /// What was looked for, newest first.
    pub(crate) found: Vec<Record>,
    /// Bytes that were read.
    pub(crate) read: u64,
    /// Whether nothing is left to read.
    pub(crate) is_last: bool,
}

impl Lines {
    /// The lines of this file; none where no record is in it.
    pub(crate) fn of(file: File) -> io::Result<Option<Self>> {
        let end = whole_lines(&file)?;
        let first = first_record(&file)?;
        let mut newest = ReverseLines::new(file.try_clone()?, end);
        let mut last = None;
        while let (None, Some(line)) = (&last, newest.next()?) {
            last = serde_json::from_slice::<Record>(&line).ok();
        }
        let (Some(first), Some(last)) = (first, last) else { return Ok(None) };
        Ok(Some(Self {
            reader: ReverseLines::new(file, end),
            end,
            first: first.seq,
            last: last.seq,
            from: first.at,
            to: last.at,
            left: end,
            next: FEW,
        }))
    }

    /// Reads the next part, up to the newest `limit` records that are looked for.
    pub(crate) fn slice(&mut self, query: &Query, limit: usize) -> io::Result<Slice> {
        let mut found = Vec::new();
        let lines = self.next;
        self.next = self.next.saturating_mul(2);
        let (read, is_last) = self.read(lines, |line| {
            found.extend(query.parse(line));
            found.len() < limit
        })?;
        Ok(Slice { found, read, is_last })
    }

    /// Reads the next part and tells time and level of the records that are looked for; answers how many bytes it read,
    /// and whether nothing is left.
    pub(crate) fn count(
        &mut self,
        query: &Query,
        mut add: impl FnMut(Timestamp, Level),
    ) -> io::Result<(u64, bool)> {
        self.read(usize::MAX, |line| {
            if let Some((at, level)) = query.count(line) {
                add(at, level);
            }
            true
        })
    }

    /// Shows the next lines, at most so many, for as long as somebody goes on.
    fn read(&mut self, lines: usize, mut goes_on: impl FnMut(&[u8]) -> bool) -> io::Result<(u64, bool)> {
        let (mut read, mut count, mut is_last) = (0, 0, true);
        while let Some(line) = self.reader.next()? {
            read += line.len() as u64 + 1;
            count += 1;
            if !goes_on(&line) {
                break;
            }
            if read >= SLICE || count >= lines {
                is_last = false;
                self.to = serde_json::from_slice(&line).map_or(self.to, |record: Record| record.at);
                break;
            }
        }
        self.left = if is_last { 0 } else { self.left.saturating_sub(read) };
        Ok((read, is_last))
    }
}

fn first_record(file: &File) -> io::Result<Option<Record>> {
    // The file's own place may be anywhere: it was read before, or is shared.
    let mut at = 0;
    let mut line = Vec::new();
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = file.read_at(&mut bytes, at)?;
        if read == 0 {
            return Ok(None);
        }
        at += read as u64;
        let mut rest = &bytes[..read];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            if let Ok(record) = serde_json::from_slice::<Record>(&line) {
                return Ok(Some(record));
            }
            line.clear();
        }
        line.extend_from_slice(rest);
    }
}

/// The number of the first record of a file.
pub(crate) fn first_number(file: &File) -> io::Result<Option<u64>> {
    Ok(first_record(file)?.map(|record| record.seq))
}

/// The file's length up to its last line feed.
fn whole_lines(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    while end > 0 {
        let len = end.min(64 * 1024);
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, end - len)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(end - len + at as u64 + 1);
        }
        end -= len;
    }
    Ok(0)
}
