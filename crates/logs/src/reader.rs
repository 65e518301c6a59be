//! Searches in the logs of one endpoint: newest first through each file until enough is found, then merged
//! by time.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use runyard_domain::{EndpointId, JobId, Timestamp, WorkerId};

use crate::reverse::ReverseLines;
use crate::{Level, LogError, Record, Source, Tail};

/// How far the clock may have stepped back inside a file before a search by time misses something.
const CLOCK_SLACK_MS: i64 = 60_000;

/// What is looked for. Absent means any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Records of this worker only.
    pub worker: Option<WorkerId>,
    /// Records of this job only.
    pub job: Option<JobId>,
    /// The build log of this release instead of workers' logs.
    pub build: Option<u32>,
    /// This level or graver; records without a level count as `info`.
    pub level: Option<Level>,
    /// Records that contain this text, letters' case aside.
    pub text: Option<String>,
    /// Records from then on.
    pub since: Option<Timestamp>,
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
            level: None,
            text: None,
            since: None,
            limit: 100,
        }
    }

    /// Whether a file of the endpoint's folder can hold what is looked for.
    pub(crate) fn wants_file(&self, name: &OsStr) -> bool {
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".jsonl")) else { return false };
        match (self.build, &self.worker) {
            (Some(release), _) => stem == format!("build-{release}"),
            (None, Some(worker)) => stem == worker.as_str(),
            (None, None) => !stem.starts_with("build-"),
        }
    }

    /// Reads a line of a file, if it is a record that is looked for.
    pub(crate) fn parse(&self, line: &[u8]) -> Option<Record> {
        // Ids are written without escapes, so a line without the job's id is not worth parsing.
        if let Some(job) = &self.job
            && !contains(line, job.as_str().as_bytes())
        {
            return None;
        }
        serde_json::from_slice(line).ok()
    }

    pub(crate) fn matches(&self, record: &Record) -> bool {
        self.job.as_ref().is_none_or(|job| record.job.as_ref() == Some(job))
            && self.level.is_none_or(|level| record.level.unwrap_or(Level::Info) >= level)
            && self.since.is_none_or(|since| record.at >= since)
            && (self.build.is_none() || record.source == Source::Build || record.worker.is_none())
            && self.text.as_ref().is_none_or(|text| {
                record.message.contains(text.as_str())
                    || record.message.to_lowercase().contains(&text.to_lowercase())
            })
    }
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    // Lines are UTF-8 JSON; the search on text is the fast one.
    match (std::str::from_utf8(line), std::str::from_utf8(part)) {
        (Ok(line), Ok(part)) => line.contains(part),
        _ => line.windows(part.len()).any(|window| window == part),
    }
}

/// Reads the logs folder.
#[derive(Debug, Clone)]
pub struct Reader {
    dir: PathBuf,
}

impl Reader {
    /// A reader of the logs folder `dir`, which need not exist yet.
    pub fn open(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The newest `limit` records that match, oldest first.
    pub fn query(&self, query: &Query) -> Result<Vec<Record>, LogError> {
        let mut found = Vec::new();
        for path in self.files(query)? {
            let read = |source| LogError::Read { path: path.clone(), source };
            let Some(file) = open_if_there(&path).map_err(read)? else { continue };
            let end = file.metadata().map_err(read)?.len();
            search(file, end, query, &mut found).map_err(read)?;
        }
        Ok(newest(found, query.limit))
    }

    /// Follows what matches: the first [`Tail::poll`] answers what [`Reader::query`] would.
    pub fn follow(&self, query: Query) -> Tail {
        Tail::new(self.clone(), query)
    }

    /// The files of the endpoint that can hold what is looked for.
    pub(crate) fn files(&self, query: &Query) -> Result<Vec<PathBuf>, LogError> {
        let dir = self.dir.join(query.endpoint.as_str());
        let listed = || -> io::Result<Vec<PathBuf>> {
            let entries = match fs::read_dir(&dir) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            let mut files = Vec::new();
            for entry in entries {
                let entry = entry?;
                if query.wants_file(&entry.file_name()) && !ended_before(&entry, query.since) {
                    files.push(entry.path());
                }
            }
            files.sort();
            Ok(files)
        };
        listed().map_err(|source| LogError::Read { path: dir.clone(), source })
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

/// Collects up to `limit` matches before `end`, newest first.
pub(crate) fn search(file: File, end: u64, query: &Query, found: &mut Vec<Record>) -> io::Result<()> {
    let mut lines = ReverseLines::new(file, end);
    let mut left = query.limit;
    while left > 0 {
        let Some(line) = lines.next()? else { break };
        let Some(record) = query.parse(&line) else { continue };
        if query.since.is_some_and(|since| record.at.plus(CLOCK_SLACK_MS) < since) {
            break;
        }
        if query.matches(&record) {
            found.push(record);
            left -= 1;
        }
    }
    Ok(())
}

/// The newest `limit` of `records`, oldest first.
pub(crate) fn newest(mut records: Vec<Record>, limit: usize) -> Vec<Record> {
    records.sort_by(|a, b| (a.at, &a.worker, a.seq).cmp(&(b.at, &b.worker, b.seq)));
    records.split_off(records.len().saturating_sub(limit))
}

pub(crate) fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether nothing was written to the file since then.
fn ended_before(entry: &fs::DirEntry, since: Option<Timestamp>) -> bool {
    let Some(since) = since else { return false };
    let Ok(since) = u64::try_from(since.0.saturating_sub(CLOCK_SLACK_MS)) else { return false };
    entry
        .metadata()
        .and_then(|meta| meta.modified())
        .is_ok_and(|modified| modified < UNIX_EPOCH + Duration::from_millis(since))
}
