//! Doors to what is read from lines and from packed blocks, for the fuzz targets (`crates/fuzz`). No part of the interface.

use std::fs::File;
use std::io::Write as _;

use runyard_domain::{EndpointId, JobId, Timestamp};

use crate::block::{self, Facts, Room};
use crate::body::Body;
use crate::detect::detect;
use crate::{Level, Record, Running};

/// The level and the job that a line names; `running` are the jobs of its worker.
pub fn line(line: &str, running: &[JobId]) -> (Option<Level>, Option<JobId>) {
    let running: Vec<Running> = running.iter().cloned().map(Running::from).collect();
    let found = detect(line, &running);
    (found.level, found.job)
}

/// The records of an unpacked body; none where it is none. Its marks and its texts have so many bytes.
pub fn body(data: &[u8], marks: u32, texts: u32) -> Option<Vec<Record>> {
    let raws = (data.len() as u64).checked_sub(u64::from(marks) + u64::from(texts))?;
    let facts = Facts {
        endpoint: EndpointId::new("ep"),
        worker: None,
        release: 1,
        first: 1,
        last: 1,
        count: 1,
        from: Timestamp(0),
        to: Timestamp(0),
        gravest: Level::Info,
        sources: 0,
        levels: None,
        marks,
        texts,
        raws: u32::try_from(raws).ok()?,
    };
    let body = Body::parse(data.to_vec(), &facts, String::new())?;
    let (jobs, marks) = body.marks(|_| true)?;
    Some(marks.iter().map(|mark| body.record(&facts, &jobs, mark)).collect())
}

/// The records after they were packed and unpacked.
pub fn repacked(records: &[Record]) -> Option<Vec<Record>> {
    let packed = block::pack(records).ok()??;
    let mut file = tempfile(&packed)?;
    file.flush().ok()?;
    let head = block::head(&file, 0, packed.len() as u64).ok()??;
    let body = head.body(&file, &mut Room::default()).ok()??;
    let (jobs, marks) = body.marks(|_| true)?;
    Some(marks.iter().map(|mark| body.record(&head.facts, &jobs, mark)).collect())
}

/// A file of these bytes that has no name.
fn tempfile(bytes: &[u8]) -> Option<File> {
    let path = std::env::temp_dir().join(format!("runyard-probe-{}-{:p}", std::process::id(), bytes));
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).ok()?;
    std::fs::remove_file(&path).ok()?;
    file.write_all(bytes).ok()?;
    Some(file)
}
