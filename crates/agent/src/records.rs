//! The spool's file as a row of records: an entry is a JSON line followed by its body and a line feed; the end of one is
//! a JSON line with its number. Line and body have a sum each, so that damage is seen; reading then goes on at the next
//! record that is whole.
//!
//! What stands in a body is its worker's. After damage a record may be found in what was one: it can do no more than its
//! worker can by itself, because each request carries the token that it goes by.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use runyard_domain::{EndpointId, JobId, WorkerId};
use serde::{Deserialize, Serialize};

/// The longest line that is one.
const LONGEST_LINE: u64 = 1 << 20;

/// How much is read at once in search of a line's end or of a record.
const PIECE: u64 = 64 << 10;

/// How a record begins.
const BEGINNINGS: [&[u8]; 2] = [b"{\"number\":", b"{\"finished\":"];

/// After damage, numbers that are further from the last one than this are no spool's.
const FARTHEST: u64 = 1 << 32;

/// An entry's line in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) worker: WorkerId,
    pub(crate) endpoint: EndpointId,
    pub(crate) release: u32,
    pub(crate) job: JobId,
    pub(crate) last: bool,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) len: u64,
    /// Of the body.
    pub(crate) sum: String,
    /// Of this line without it; older agents wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) line_sum: Option<String>,
}

/// The line of an entry that is done with.
#[derive(Debug, Serialize, Deserialize)]
struct Finished {
    finished: u64,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Entry(Box<Entry>),
    Finished(Finished),
}

/// A record that is whole.
#[derive(Debug)]
pub(crate) enum Record {
    /// A post that waits, and where its body lies.
    Entry(Box<Entry>, u64),
    /// The one with this number is done with.
    Finished(u64),
}

impl Entry {
    /// Its line, with the line's sum.
    pub(crate) fn line(&self) -> io::Result<Vec<u8>> {
        let sealed = Self { line_sum: Some(self.sum_of_line()?), ..self.clone() };
        let mut line = serde_json::to_vec(&sealed)?;
        line.push(b'\n');
        Ok(line)
    }

    fn sum_of_line(&self) -> io::Result<String> {
        Ok(sum(&serde_json::to_vec(&Self { line_sum: None, ..self.clone() })?))
    }

    fn is_whole(&self) -> io::Result<bool> {
        Ok(self.line_sum.is_none() || self.line_sum == Some(self.sum_of_line()?))
    }
}

/// The line that ends the entry with this number.
pub(crate) fn finished(number: u64) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Finished { finished: number })?;
    line.push(b'\n');
    Ok(line)
}

/// The sum of a body.
pub(crate) fn sum(body: &[u8]) -> String {
    let sum = body.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{sum:016x}")
}

/// Shows every record that is whole, in order; says where the last one ends. What is torn behind it was never
/// answered with 200.
pub(crate) fn read(file: &File, mut see: impl FnMut(Record)) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let (mut at, mut end, mut number) = (0, 0, 0_u64);
    while at < size {
        let found = record_at(file, at, size)?.filter(|(record, _)| record.may_follow(number, at == end));
        if let Some((record, ends)) = found {
            if at > end {
                tracing::error!(from = end, bytes = at - end, "The spool is damaged: what lay there is lost");
            }
            if let Record::Entry(entry, _) = &record {
                number = number.max(entry.number);
            }
            see(record);
            (at, end) = (ends, ends);
        } else if let Some(next) = beginning_from(file, at + 1, size)? {
            at = next;
        } else {
            break;
        }
    }
    Ok(end)
}

impl Record {
    /// Whether it may come behind an entry with this number, or, where the file is damaged, somewhere behind it.
    fn may_follow(&self, number: u64, is_next: bool) -> bool {
        match self {
            Self::Entry(entry, _) => {
                (entry.number > number && entry.number < u64::MAX)
                    && (is_next || entry.number - number < FARTHEST)
            }
            Self::Finished(_) => true,
        }
    }
}

/// The record that begins at `at`, where one does that is whole, and where it ends.
fn record_at(file: &File, at: u64, size: u64) -> io::Result<Option<(Record, u64)>> {
    let Some(line) = line_at(file, at, size)? else { return Ok(None) };
    let body_at = at + line.len() as u64;
    match serde_json::from_slice(&line) {
        Ok(Line::Finished(Finished { finished })) => Ok(Some((Record::Finished(finished), body_at))),
        Ok(Line::Entry(entry)) if entry.len < size - body_at && entry.is_whole()? => {
            let end = body_at + entry.len + 1;
            let mut body = vec![0; entry.len as usize + 1];
            file.read_exact_at(&mut body, body_at)?;
            let is_whole = body.pop() == Some(b'\n') && sum(&body) == entry.sum;
            Ok(is_whole.then_some((Record::Entry(entry, body_at), end)))
        }
        _ => Ok(None),
    }
}

/// The line that begins at `at`, with its line feed.
fn line_at(file: &File, at: u64, size: u64) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let end = size.min(at + LONGEST_LINE);
    loop {
        let from = at + line.len() as u64;
        if from >= end {
            return Ok(None);
        }
        let piece = piece(file, from, end)?;
        if let Some(ends) = piece.iter().position(|byte| *byte == b'\n') {
            line.extend_from_slice(&piece[..=ends]);
            return Ok(Some(line));
        }
        line.extend(piece);
    }
}

/// Where something begins like a record, from `at` on.
fn beginning_from(file: &File, mut at: u64, size: u64) -> io::Result<Option<u64>> {
    let longest = BEGINNINGS.map(<[u8]>::len).into_iter().max().unwrap_or_default();
    while at < size {
        let piece = piece(file, at, size)?;
        let begins = |from: usize| BEGINNINGS.iter().any(|text| piece[from..].starts_with(text));
        if let Some(found) = (0..piece.len()).find(|from| piece[*from] == b'{' && begins(*from)) {
            return Ok(Some(at + found as u64));
        }
        // One may begin at the end of this piece and go on in the next.
        at += (piece.len().saturating_sub(longest).max(1)) as u64;
    }
    Ok(None)
}

fn piece(file: &File, at: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut piece = vec![0; PIECE.min(end - at) as usize];
    file.read_exact_at(&mut piece, at)?;
    Ok(piece)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn entry(number: u64, body: &[u8]) -> Entry {
        Entry {
            number,
            worker: WorkerId::new("w"),
            endpoint: EndpointId::new("e"),
            release: 1,
            job: JobId::new(format!("job-{number}")),
            last: true,
            path: "/w/token/v2/e/job-done/w/job".into(),
            headers: vec![("content-type".into(), "x".into())],
            len: body.len() as u64,
            sum: sum(body),
            line_sum: None,
        }
    }

    fn record(number: u64, body: &[u8]) -> Vec<u8> {
        [&entry(number, body).line().unwrap(), body, b"\n"].concat()
    }

    /// The numbers of what is read, ends as negative ones, and where that stops.
    fn numbers(bytes: &[u8]) -> (Vec<i64>, u64) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let mut numbers = vec![];
        let end = read(&file, |record| {
            numbers.push(match record {
                Record::Entry(entry, _) => entry.number as i64,
                Record::Finished(number) => -(number as i64),
            });
        });
        (numbers, end.unwrap())
    }

    #[test]
    fn whatever_byte_is_damaged_only_its_record_is_lost() {
        let large = vec![b'{'; PIECE as usize + 100];
        for first in [&b"{\"output\": 1}"[..], &large] {
            let (second, third) = (record(2, b"2\n2"), record(3, b"3"));
            let all = [record(1, first), second.clone(), finished(1).unwrap(), third.clone()].concat();
            assert_eq!(numbers(&all), (vec![1, 2, -1, 3], all.len() as u64));
            let end_of_first = record(1, first).len();
            for at in (0..all.len() - third.len()).filter(|at| *at < 400 || *at + 600 > end_of_first) {
                let mut damaged = all.clone();
                damaged[at] ^= 0x15;
                let (read, end) = numbers(&damaged);
                assert_eq!(end, all.len() as u64, "byte {at}");
                assert!(read.len() == 3 && read.ends_with(&[3]), "byte {at}: {read:?}");
            }
        }
    }

    #[test]
    fn what_an_older_agent_wrote_is_read() {
        let mut line = serde_json::to_vec(&entry(7, b"body")).unwrap();
        assert!(!String::from_utf8_lossy(&line).contains("line_sum"));
        line.extend(b"\nbody\n");
        assert_eq!(numbers(&line).0, [7]);
    }

    #[test]
    fn a_torn_end_is_cut_off_and_no_number_is_believed_after_damage() {
        let whole = record(1, b"1");
        let torn = [&whole[..], &record(2, b"2")[..20]].concat();
        assert_eq!(numbers(&torn), (vec![1], whole.len() as u64));
        for number in [1, u64::MAX - 1] {
            let forged = [&whole[..], b"###", &record(number, b"x")].concat();
            assert_eq!(numbers(&forged).0, [1]);
        }
    }
}
