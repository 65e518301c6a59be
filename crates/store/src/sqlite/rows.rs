//! Jobs and payloads as rows.

use std::collections::HashSet;

use runyard_domain::{BatchId, Job, JobId, Payload, Timestamp, WorkerId};
use rusqlite::{Connection, Row, params};

use super::sql::{column, document, each, first, run, to_document};
use crate::{Standing, StoreError};

/// The lane of normal jobs.
pub(super) const NORMAL: i64 = -2;
/// The lane of batches: behind normal jobs, before low-priority ones.
pub(super) const BATCH: i64 = -3;
/// The lane of low-priority jobs.
pub(super) const LOW: i64 = -1;

/// `standing` of a job that a worker has and has not started.
const HELD: i64 = -1;

/// A job and the key of its rows.
pub(super) struct JobRow {
    pub(super) n: i64,
    pub(super) job: Job,
}

/// The single payloads of a job.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Input = 0,
    S3 = 1,
    Output = 2,
    Progress = 3,
}

impl Kind {
    /// The key of job `n`'s payload of this kind.
    pub(super) fn key(self, n: i64) -> i64 {
        4 * n + self as i64
    }
}

/// What the column `standing` says of a job.
fn standing(job: &Job) -> i64 {
    match Standing::of(job) {
        Standing::Waiting if job.is_held() => HELD,
        Standing::Waiting => 0,
        Standing::Draft => 6,
        Standing::Running => 1,
        Standing::Completed => 2,
        Standing::Failed => 3,
        Standing::Cancelled => 4,
        Standing::TimedOut => 5,
    }
}

/// The lane that a job waits in.
pub(super) fn lane(job: &Job) -> i64 {
    match job.pinned {
        Some(release) => i64::from(release),
        None if job.policy.low_priority => LOW,
        None if job.batch.is_some() => BATCH,
        None => NORMAL,
    }
}

/// A job by its id.
pub(super) fn load(conn: &Connection, id: &JobId) -> Result<Option<JobRow>, StoreError> {
    const SQL: &str = "SELECT n, header FROM jobs WHERE substr(id, -15) = substr(?1, -15) AND id = ?1";
    first(conn, "load a job", SQL, [id.as_str()], job_row)
}

/// Columns 0 and 1 of a row: `n` and `header`.
pub(super) fn job_row(row: &Row<'_>) -> Result<JobRow, StoreError> {
    Ok(JobRow { n: column(row, 0)?, job: document(row, 1, "job")? })
}

/// Adds a job whose first `seq` is its place. `false` if its id is there already.
pub(super) fn insert(conn: &Connection, job: &Job) -> Result<bool, StoreError> {
    let added = run(
        conn,
        "add a job",
        "INSERT INTO jobs
             (n, id, endpoint, lane, standing, seq, worker, due_at, submitted_at, header, batch, ended_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?1, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (substr(id, -15), id) DO NOTHING",
        params![
            job.seq as i64,
            job.id.as_str(),
            job.endpoint.as_str(),
            lane(job),
            standing(job),
            job.holder().map(WorkerId::as_str),
            job.due_at().0,
            job.submitted_at.0,
            to_document(job, "job")?,
            job.batch.as_ref().map(BatchId::as_str),
            job.ended_at().map(|at| at.0),
        ],
    )?;
    Ok(added > 0)
}

/// Writes what a decision may change of a job.
pub(super) fn update(conn: &Connection, n: i64, job: &Job, due_at: Timestamp) -> Result<(), StoreError> {
    run(
        conn,
        "change a job",
        "UPDATE jobs SET standing = ?2, seq = ?3, worker = ?4, due_at = ?5, header = ?6, ended_at = ?7
         WHERE n = ?1",
        params![
            n,
            standing(job),
            job.seq as i64,
            job.holder().map(WorkerId::as_str),
            due_at.0,
            to_document(job, "job")?,
            job.ended_at().map(|at| at.0),
        ],
    )?;
    Ok(())
}

/// A payload as its three columns: bytes, file, len.
pub(super) fn payload_columns(payload: &Payload) -> (Option<&[u8]>, Option<&str>, i64) {
    match payload {
        Payload::Inline(bytes) => (Some(bytes), None, bytes.len() as i64),
        Payload::File { name, len } => (None, Some(name), *len as i64),
    }
}

/// The payload in the columns bytes, file, len from `at` on.
pub(super) fn payload(row: &Row<'_>, at: usize) -> Result<Payload, StoreError> {
    match column::<Option<String>>(row, at + 1)? {
        Some(name) => Ok(Payload::File { name, len: column::<i64>(row, at + 2)? as u64 }),
        None => Ok(Payload::inline(column::<Vec<u8>>(row, at)?)),
    }
}

/// Whether any row names the file.
pub(super) fn is_named(conn: &Connection, file: &str) -> Result<bool, StoreError> {
    const SQL: &str =
        "SELECT 1 FROM payloads WHERE file = ?1 UNION ALL SELECT 1 FROM chunks WHERE file = ?1 LIMIT 1";
    Ok(first(conn, "look for a payload file", SQL, [file], |_| Ok(()))?.is_some())
}

/// The files that some row names.
pub(super) fn files(conn: &Connection) -> Result<HashSet<String>, StoreError> {
    const SQL: &str = "SELECT file FROM payloads WHERE file IS NOT NULL
                       UNION ALL SELECT file FROM chunks WHERE file IS NOT NULL";
    let mut files = HashSet::new();
    each(conn, "list the payload files", SQL, [], |row| {
        files.insert(column(row, 0)?);
        Ok(true)
    })?;
    Ok(files)
}
