//! The one writer of one log file: takes bytes as they come out of a pipe and appends records. Nothing is
//! dropped: long lines become several records, a line without an end is written when it has waited long
//! enough, and what the disk refuses is kept and tried again.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use runyard_domain::{EndpointId, JobId, Timestamp, WorkerId};

use crate::detect::detect;
use crate::mask::Mask;
use crate::reverse::ReverseLines;
use crate::{Level, LogError, Record, Source};

/// The longest line of one record, in bytes.
pub const MAX_LINE: usize = 64 * 1024;
/// How long a line without an end waits for its rest, in milliseconds.
const PARTIAL_MS: i64 = 200;
/// How many lines are remembered for [`Writer::last_lines`].
const LAST: usize = 20;
/// How much is kept in memory while the disk refuses to take it.
const BACKLOG: usize = 4 * 1024 * 1024;

/// What every record of one file has in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Whose endpoint's.
    pub endpoint: EndpointId,
    /// Which worker's; none for a build.
    pub worker: Option<WorkerId>,
    /// Which release's.
    pub release: u32,
}

impl Origin {
    /// The file of this origin below the logs folder.
    pub fn path(&self, dir: &Path) -> PathBuf {
        let name = match &self.worker {
            Some(worker) => format!("{worker}.jsonl"),
            None => format!("build-{}.jsonl", self.release),
        };
        dir.join(self.endpoint.as_str()).join(name)
    }
}

/// A line that has not ended yet.
#[derive(Debug, Default)]
struct Open {
    bytes: Vec<u8>,
    since: Timestamp,
}

/// Appends to one log file.
#[derive(Debug)]
pub struct Writer {
    origin: Origin,
    path: PathBuf,
    file: File,
    /// The file's length up to the last whole record.
    len: u64,
    seq: u64,
    open: [Open; 3],
    pending: Vec<u8>,
    lost: u64,
    last: VecDeque<String>,
    mask: Mask,
}

impl Writer {
    /// Opens (or goes on with) the file of `origin` below the logs folder `dir`.
    pub fn open(dir: &Path, origin: Origin) -> Result<Self, LogError> {
        let path = origin.path(dir);
        let opened = || -> io::Result<(File, u64, u64, bool)> {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
            let len = file.seek(SeekFrom::End(0))?;
            let mut torn = false;
            if len > 0 {
                file.seek(SeekFrom::Start(len - 1))?;
                let mut last = [0];
                file.read_exact(&mut last)?;
                torn = last != *b"\n";
            }
            let mut seq = 0;
            let mut lines = ReverseLines::new(File::open(&path)?, len);
            while let Some(line) = lines.next()? {
                if let Ok(record) = serde_json::from_slice::<Record>(&line) {
                    seq = record.seq;
                    break;
                }
            }
            Ok((file, len, seq, torn))
        };
        match opened() {
            Ok((file, len, seq, torn)) => {
                let pending = if torn { b"\n".to_vec() } else { Vec::new() };
                let last = VecDeque::with_capacity(LAST);
                let (open, mask) = (Default::default(), Mask::default());
                Ok(Self { origin, path, file, len, seq, open, pending, lost: 0, last, mask })
            }
            Err(source) => Err(LogError::Open { path, source }),
        }
    }

    /// The same, with these values masked in what it takes from now on, where they have at least 8 bytes.
    #[must_use]
    pub fn masking(self, values: &[String]) -> Self {
        Self { mask: Mask::new(values), ..self }
    }

    /// Takes bytes that were read from `source`. `running` are the jobs that the worker holds. Answers how
    /// many records were made.
    pub fn write(
        &mut self,
        now: Timestamp,
        source: Source,
        chunk: &[u8],
        running: &[JobId],
    ) -> Result<usize, LogError> {
        let mut line = std::mem::take(&mut self.open[slot(source)]);
        let mut count = 0;
        let mut rest = chunk;
        while !rest.is_empty() {
            if line.bytes.is_empty() {
                line.since = now;
            }
            let end = rest.iter().position(|byte| *byte == b'\n');
            line.bytes.extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
            rest = end.map_or(&[][..], |end| &rest[end + 1..]);
            // What begins before the cut is there as a whole, so that it is masked and not cut in two.
            let longest = MAX_LINE + self.mask.longest();
            while line.bytes.len() > longest {
                self.mask.apply(&mut line.bytes);
                if line.bytes.len() <= longest {
                    break;
                }
                let cut = boundary(&line.bytes, MAX_LINE);
                let tail = line.bytes.split_off(cut);
                self.push(now, source, &line.bytes, true, running);
                line.bytes = tail;
                count += 1;
            }
            if end.is_some() {
                count += self.push_masked(now, source, &mut line.bytes, false, running);
                line.bytes.clear();
            }
        }
        self.open[slot(source)] = line;
        self.flush()?;
        Ok(count)
    }

    /// When [`Writer::tick`] has something to do.
    pub fn due(&self) -> Option<Timestamp> {
        self.open.iter().filter(|line| !line.bytes.is_empty()).map(|line| line.since.plus(PARTIAL_MS)).min()
    }

    /// Writes lines whose end has been missing for 200 ms. Answers whether there were any.
    pub fn tick(&mut self, now: Timestamp, running: &[JobId]) -> Result<bool, LogError> {
        self.flush_open(running, now, |line| now.since(line.since) >= PARTIAL_MS || now < line.since)
    }

    /// Writes what is left of lines without an end: the pipes are closed.
    pub fn close(&mut self, now: Timestamp, running: &[JobId]) -> Result<bool, LogError> {
        self.flush_open(running, now, |_| true)
    }

    /// Writes a whole message as one record, as runyard's own or a build's.
    pub fn note(
        &mut self,
        now: Timestamp,
        source: Source,
        level: Level,
        job: Option<JobId>,
        message: &str,
    ) -> Result<(), LogError> {
        let mut record = self.record(now, source, message.as_bytes());
        record.level = Some(level);
        record.job = job;
        self.encode(&record);
        self.flush()
    }

    /// The last lines of the worker's own output, oldest first, at most 20.
    pub fn last_lines(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn flush_open(
        &mut self,
        running: &[JobId],
        now: Timestamp,
        due: impl Fn(&Open) -> bool,
    ) -> Result<bool, LogError> {
        let mut any = false;
        for source in [Source::Stdout, Source::Stderr, Source::Build] {
            if !self.open[slot(source)].bytes.is_empty() && due(&self.open[slot(source)]) {
                let mut bytes = std::mem::take(&mut self.open[slot(source)].bytes);
                self.push_masked(now, source, &mut bytes, true, running);
                any = true;
            }
        }
        self.flush()?;
        Ok(any)
    }

    fn record(&mut self, at: Timestamp, source: Source, bytes: &[u8]) -> Record {
        let message = String::from_utf8_lossy(bytes);
        let raw = matches!(message, std::borrow::Cow::Owned(_)).then(|| bytes.escape_ascii().to_string());
        self.seq += 1;
        Record {
            at,
            seq: self.seq,
            endpoint: self.origin.endpoint.clone(),
            worker: self.origin.worker.clone(),
            release: self.origin.release,
            source,
            level: None,
            job: None,
            inferred: false,
            partial: false,
            message: message.into_owned(),
            raw,
        }
    }

    /// What there is of a line, masked and in as many records as it takes; answers how many.
    fn push_masked(
        &mut self,
        at: Timestamp,
        source: Source,
        line: &mut Vec<u8>,
        partial: bool,
        running: &[JobId],
    ) -> usize {
        self.mask.apply(line);
        let mut count = 1;
        while line.len() > MAX_LINE {
            let tail = line.split_off(boundary(line, MAX_LINE));
            self.push(at, source, line, true, running);
            *line = tail;
            count += 1;
        }
        self.push(at, source, line, partial, running);
        count
    }

    fn push(&mut self, at: Timestamp, source: Source, bytes: &[u8], partial: bool, running: &[JobId]) {
        let mut record = self.record(at, source, bytes);
        let found = detect(&record.message, running);
        record.level = found.level;
        record.job = found.job;
        record.inferred = found.inferred;
        record.partial = partial;
        self.encode(&record);
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        self.last.push_back(record.text());
    }

    fn encode(&mut self, record: &Record) {
        if self.pending.len() > BACKLOG {
            self.lost += 1;
            return;
        }
        // Writing plain data to memory cannot fail.
        if serde_json::to_writer(&mut self.pending, record).is_ok() {
            self.pending.push(b'\n');
        }
    }

    fn flush(&mut self) -> Result<(), LogError> {
        self.put()?;
        if self.lost > 0 {
            let message = format!("{} lines were lost: the log could not be written", self.lost);
            self.lost = 0;
            let mut record = self.record(Timestamp(0), Source::System, message.as_bytes());
            record.level = Some(Level::Error);
            self.encode(&record);
            self.put()?;
        }
        Ok(())
    }

    fn put(&mut self) -> Result<(), LogError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if let Err(source) = self.file.write_all(&self.pending) {
            // Half a record must not stand before the next attempt's.
            let _ = self.file.set_len(self.len);
            return Err(LogError::Write { path: self.path.clone(), source });
        }
        self.len += self.pending.len() as u64;
        self.pending.clear();
        if self.pending.capacity() > 2 * MAX_LINE {
            self.pending.shrink_to(MAX_LINE);
        }
        Ok(())
    }
}

fn slot(source: Source) -> usize {
    match source {
        Source::Stdout => 0,
        Source::Stderr => 1,
        Source::System | Source::Build => 2,
    }
}

/// The last place at or before `at` that does not cut a UTF-8 character in two.
fn boundary(bytes: &[u8], at: usize) -> usize {
    (at.saturating_sub(3)..=at).rev().find(|cut| bytes[*cut] & 0xc0 != 0x80).unwrap_or(at)
}
