//! The one writer of one worker's or build's log: takes bytes as they come out of a pipe and appends records. Nothing is
//! dropped: long lines become several records, a line without an end is written when it has waited long
//! enough, and what the disk refuses is kept and tried again. A file that is full is put aside to be packed.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use runyard_domain::{EndpointId, JobId, Timestamp, WorkerId};

use crate::detect::detect;
use crate::mask::Mask;
use crate::names::{self, Kind};
use crate::record::Exact;
use crate::sdk::Sdk;
use crate::seal::{self, Sealer};
use crate::{Level, LogError, Record, Running, Source, segment};

/// The longest line of one record, in bytes.
pub const MAX_LINE: usize = 64 * 1024;
/// How long a line without an end waits for its rest, in milliseconds.
const PARTIAL_MS: i64 = 200;
/// How long a progress bar that is drawn over and over waits for its end, in milliseconds: its states become one record.
const PROGRESS_MS: i64 = 2_000;
/// A file of so many bytes is full.
const FULL: u64 = 2 * 1024 * 1024;
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
    /// What its files' names begin with.
    pub(crate) fn stem(&self) -> String {
        self.worker.as_ref().map_or_else(|| format!("build-{}", self.release), ToString::to_string)
    }
}

/// A line that has not ended yet.
#[derive(Debug, Default)]
struct Open {
    bytes: Vec<u8>,
    since: Timestamp,
    /// The worker's jobs when it began, where that was with earlier bytes.
    began: Option<Vec<Running>>,
}

impl Open {
    /// When it has waited long enough for its end.
    fn due(&self) -> Timestamp {
        let redraws = self.bytes.iter().skip(1).rev().skip(1).any(|byte| *byte == b'\r');
        self.since.plus(if redraws { PROGRESS_MS } else { PARTIAL_MS })
    }

    /// Whose it may be: first who ran when it began, then who runs now.
    fn holders<'a>(&'a self, running: &'a [Running]) -> Holders<'a> {
        [self.began.as_deref(), Some(running)]
    }
}

/// Whose a line may be, the likelier first.
type Holders<'a> = [Option<&'a [Running]>; 2];

/// Appends to the log of one worker or build.
#[derive(Debug)]
pub struct Writer {
    origin: Origin,
    dir: PathBuf,
    stem: String,
    /// The file that is being written; none until there is something to write.
    file: Option<File>,
    /// The file's length up to the last whole record.
    len: u64,
    /// The number of its first record.
    first: u64,
    sealer: Option<Sealer>,
    /// The time of the last record.
    now: Timestamp,
    seq: u64,
    open: [Open; 3],
    pending: Vec<u8>,
    lost: u64,
    last: VecDeque<String>,
    mask: Mask,
    sdk: Sdk,
}

impl Writer {
    /// Opens (or goes on with) the log of `origin` below the logs folder `dir`.
    pub fn open(dir: &Path, origin: Origin) -> Result<Self, LogError> {
        let (dir, stem) = (dir.join(origin.endpoint.as_str()), origin.stem());
        let path = names::path(&dir, &stem, Kind::Live);
        let opened = || -> io::Result<(File, u64)> {
            fs::create_dir_all(&dir)?;
            let seq = take_over(&dir, &stem)?;
            Ok((create(&path)?, seq))
        };
        let (file, seq) = opened().map_err(|source| LogError::Open { path: path.clone(), source })?;
        Ok(Self {
            origin,
            dir,
            stem,
            file: Some(file),
            len: 0,
            first: seq + 1,
            sealer: None,
            now: Timestamp(0),
            seq,
            open: Default::default(),
            pending: Vec::new(),
            lost: 0,
            last: VecDeque::with_capacity(LAST),
            mask: Mask::default(),
            sdk: Sdk::default(),
        })
    }

    /// The same, with its full files packed by `sealer` and not by itself.
    #[must_use]
    pub fn sealed_by(self, sealer: &Sealer) -> Self {
        Self { sealer: Some(sealer.clone()), ..self }
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
        running: &[Running],
    ) -> Result<usize, LogError> {
        let mut line = std::mem::take(&mut self.open[slot(source)]);
        let mut count = 0;
        let mut rest = chunk;
        while !rest.is_empty() {
            if line.bytes.is_empty() {
                (line.since, line.began) = (now, None);
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
                self.push(now, source, &line.bytes, true, line.holders(running));
                line.bytes = tail;
                count += 1;
            }
            if end.is_some() {
                count += self.push_masked(now, source, &mut line, false, running);
            }
        }
        if !line.bytes.is_empty() && line.began.is_none() {
            line.began = Some(running.to_vec());
        }
        self.open[slot(source)] = line;
        self.flush()?;
        Ok(count)
    }

    /// When [`Writer::tick`] has something to do.
    pub fn due(&self) -> Option<Timestamp> {
        self.open.iter().filter(|line| !line.bytes.is_empty()).map(Open::due).min()
    }

    /// Writes lines whose end has been missing for 200 ms, progress bars after two seconds. Answers whether there were
    /// any.
    pub fn tick(&mut self, now: Timestamp, running: &[Running]) -> Result<bool, LogError> {
        self.flush_open(running, now, |line| now >= line.due() || now < line.since)
    }

    /// Writes what is left of lines without an end: the pipes are closed.
    pub fn close(&mut self, now: Timestamp, running: &[Running]) -> Result<bool, LogError> {
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

    /// The jobs of which the worker's SDK said since this was asked last that their results could not be sent, with why.
    pub fn unsent(&mut self) -> Vec<(JobId, String)> {
        self.sdk.unsent()
    }

    /// Nothing more comes for now: packs what there is, here or on the sealer's thread.
    pub fn finish(&mut self) -> Result<(), LogError> {
        self.flush()?;
        self.put_aside()
    }

    /// The file that is being written.
    pub fn path(&self) -> PathBuf {
        names::path(&self.dir, &self.stem, Kind::Live)
    }

    fn flush_open(
        &mut self,
        running: &[Running],
        now: Timestamp,
        due: impl Fn(&Open) -> bool,
    ) -> Result<bool, LogError> {
        let mut any = false;
        for source in [Source::Stdout, Source::Stderr, Source::Build] {
            if !self.open[slot(source)].bytes.is_empty() && due(&self.open[slot(source)]) {
                let mut line = std::mem::take(&mut self.open[slot(source)]);
                self.push_masked(now, source, &mut line, true, running);
                any = true;
            }
        }
        self.flush()?;
        Ok(any)
    }

    fn record(&mut self, at: Timestamp, source: Source, bytes: &[u8]) -> Record {
        let Exact { message, raw } = Exact::of(bytes);
        self.seq += 1;
        self.now = at;
        Record {
            at,
            seq: self.seq,
            endpoint: self.origin.endpoint.clone(),
            worker: self.origin.worker.clone(),
            release: self.origin.release,
            source,
            level: None,
            job: None,
            attempt: None,
            inferred: false,
            partial: false,
            gap: None,
            message,
            raw,
        }
    }

    /// What there is of a line, masked and in as many records as it takes; answers how many. Nothing is left of it.
    fn push_masked(
        &mut self,
        at: Timestamp,
        source: Source,
        line: &mut Open,
        partial: bool,
        running: &[Running],
    ) -> usize {
        let mut bytes = std::mem::take(&mut line.bytes);
        self.mask.apply(&mut bytes);
        let holders = line.holders(running);
        let mut count = 1;
        while bytes.len() > MAX_LINE {
            let tail = bytes.split_off(boundary(&bytes, MAX_LINE));
            self.push(at, source, &bytes, true, holders);
            bytes = tail;
            count += 1;
        }
        self.push(at, source, &bytes, partial, holders);
        bytes.clear();
        line.bytes = bytes;
        count
    }

    fn push(&mut self, at: Timestamp, source: Source, bytes: &[u8], partial: bool, holders: Holders<'_>) {
        let mut record = self.record(at, source, bytes);
        for running in holders.into_iter().flatten() {
            let found = detect(&record.message, running);
            record.level = found.level;
            record.attempt =
                running.iter().find(|r| Some(&r.job) == found.job.as_ref()).and_then(|r| r.attempt);
            record.job = found.job;
            record.inferred = found.inferred;
            if record.job.is_some() {
                break;
            }
        }
        record.partial = partial;
        self.sdk.read(&mut record, holders[1].unwrap_or_default());
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
            let lost = std::mem::take(&mut self.lost);
            let message =
                format!("{lost} lines are missing here: the disk took no more, and neither did memory");
            let mut record = self.record(self.now, Source::System, message.as_bytes());
            (record.level, record.gap) = (Some(Level::Error), Some(lost));
            self.encode(&record);
            self.put()?;
        }
        if self.len >= FULL { self.put_aside() } else { Ok(()) }
    }

    fn put(&mut self) -> Result<(), LogError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let path = self.path();
        let failed = |source| LogError::Write { path: path.clone(), source };
        let file = match &mut self.file {
            Some(file) => file,
            file => file.insert(create(&path).map_err(failed)?),
        };
        if let Err(source) = file.write_all(&self.pending) {
            // Half a record must not stand before the next attempt's.
            let _ = file.set_len(self.len);
            return Err(failed(source));
        }
        self.len += self.pending.len() as u64;
        self.pending.clear();
        if self.pending.capacity() > 2 * MAX_LINE {
            self.pending.shrink_to(MAX_LINE);
        }
        Ok(())
    }

    /// Puts the file aside and has it packed.
    fn put_aside(&mut self) -> Result<(), LogError> {
        if self.len == 0 {
            return Ok(());
        }
        let (live, part) = (self.path(), names::path(&self.dir, &self.stem, Kind::Part(self.first)));
        fs::rename(&live, part).map_err(|source| LogError::Write { path: live, source })?;
        (self.file, self.len, self.first) = (None, 0, self.seq + 1);
        match &self.sealer {
            Some(sealer) => sealer.stem(&self.dir, &self.stem),
            None => seal::seal(&self.dir, &self.stem)?,
        }
        Ok(())
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Puts aside what an earlier writer left; answers the number of its last record.
fn take_over(dir: &Path, stem: &str) -> io::Result<u64> {
    if names::of_stem(dir, stem)?.live {
        seal::retire(dir, stem)?;
    }
    let files = names::of_stem(dir, stem)?;
    let mut last = segment::last_packed(dir, stem, &files.segments)?;
    for part in files.parts {
        let newest = seal::last_of(&names::path(dir, stem, Kind::Part(part)))?;
        last = last.max(newest.map_or(0, |record| record.seq));
    }
    Ok(last)
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
