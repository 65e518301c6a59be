//! Follows logs: remembers how far each file was read and answers what is new. Whoever holds it polls when
//! it is told that there is output; it keeps no timer.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::reader::{newest, open_if_there, search};
use crate::{LogError, Query, Reader, Record};

/// The most that one poll reads of one file.
const STEP: u64 = 8 * 1024 * 1024;

/// A query that goes on.
#[derive(Debug)]
pub struct Tail {
    reader: Reader,
    query: Query,
    offsets: HashMap<PathBuf, u64>,
    started: bool,
}

impl Tail {
    pub(crate) fn new(reader: Reader, query: Query) -> Self {
        Self { reader, query, offsets: HashMap::new(), started: false }
    }

    /// At first the newest records that match, later all that came since the poll before; oldest first.
    pub fn poll(&mut self) -> Result<Vec<Record>, LogError> {
        if self.started { self.step() } else { self.start() }
    }

    fn start(&mut self) -> Result<Vec<Record>, LogError> {
        let mut found = Vec::new();
        for path in self.reader.files(&Query { since: None, ..self.query.clone() })? {
            let read = |source| LogError::Read { path: path.clone(), source };
            let Some(file) = open_if_there(&path).map_err(read)? else { continue };
            let end = whole_lines(&file).map_err(read)?;
            search(file, end, &self.query, &mut found).map_err(read)?;
            self.offsets.insert(path, end);
        }
        self.started = true;
        Ok(newest(found, self.query.limit))
    }

    fn step(&mut self) -> Result<Vec<Record>, LogError> {
        let mut found = Vec::new();
        let files = self.reader.files(&Query { since: None, ..self.query.clone() })?;
        self.offsets.retain(|path, _| files.contains(path));
        for path in files {
            let read = |source| LogError::Read { path: path.clone(), source };
            let Some(file) = open_if_there(&path).map_err(read)? else { continue };
            let len = file.metadata().map_err(read)?.len();
            let offset = self.offsets.entry(path.clone()).or_insert(0);
            while *offset < len {
                let mut bytes = vec![0; (len - *offset).min(STEP) as usize];
                file.read_exact_at(&mut bytes, *offset).map_err(read)?;
                let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else { break };
                *offset += end as u64 + 1;
                let lines = bytes[..end].split(|byte| *byte == b'\n');
                let records = lines.filter_map(|line| self.query.parse(line));
                found.extend(records.filter(|record| self.query.matches(record)));
            }
        }
        Ok(newest(found, usize::MAX))
    }
}

/// The file's length up to its last line feed.
fn whole_lines(file: &std::fs::File) -> std::io::Result<u64> {
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
