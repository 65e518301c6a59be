//! Queries, on read-only connections that are opened when they are needed and kept for the next query. Each
//! query is one statement and so sees one state of the database.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use runyard_domain::git;
use runyard_domain::registry::Registry;
use runyard_domain::{
    AuditFilter, AuditRecord, Batch, BatchCounts, BatchId, ConnectionId, DataKeyRecord, Delivery, Endpoint,
    EndpointId, Example, FailureGroup, Job, JobId, KeyRecord, Member, Payload, Release, Resource, ResourceId,
    SecretRecord, Timestamp, WorkerId, WorkerRecord,
};
use runyard_metrics::{self as metrics, Grain, Interval, Subject};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::batches::{batch_counts, due_batches, list_batches, list_jobs, load_batch};
use super::metrics::{intervals, totals};
use super::open_reader;
use super::rows::{self, Kind, payload};
use super::sql::{During, all, column, document, each, first, to_document};
use crate::{Chunk, Counts, Filter, Reader, Standing, StoreError};

/// The pool of reading connections.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

/// Connections kept for later; what a burst needs beyond them is closed after use.
const KEPT: usize = 8;

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default() }
    }

    /// Closes the connections that nobody uses at the moment.
    pub(super) fn close_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn with<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => open_reader(&self.path).during("open the database for queries")?,
        };
        let answer = query(&conn);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(conn);
        }
        answer
    }

    fn payload(&self, id: &JobId, kind: Kind) -> Result<Option<Payload>, StoreError> {
        const SQL: &str = "SELECT payloads.bytes, payloads.file, payloads.len FROM jobs
                           JOIN payloads ON payloads.id = 4 * jobs.n + ?2 WHERE substr(jobs.id, -15) = substr(?1, -15) AND jobs.id = ?1";
        self.with(|conn| {
            first(conn, "load a payload", SQL, (id.as_str(), kind as i64), |row| payload(row, 0))
        })
    }
}

impl Reader for Readers {
    fn job(&self, id: &JobId) -> Result<Option<Job>, StoreError> {
        self.with(|conn| Ok(rows::load(conn, id)?.map(|row| row.job)))
    }

    fn input(&self, id: &JobId) -> Result<Option<Payload>, StoreError> {
        self.payload(id, Kind::Input)
    }

    fn s3(&self, id: &JobId) -> Result<Option<Payload>, StoreError> {
        self.payload(id, Kind::S3)
    }

    fn output(&self, id: &JobId) -> Result<Option<Payload>, StoreError> {
        self.payload(id, Kind::Output)
    }

    fn progress(&self, id: &JobId) -> Result<Option<Payload>, StoreError> {
        self.payload(id, Kind::Progress)
    }

    fn undelivered(&self, id: &JobId, max_bytes: u64) -> Result<(Vec<Chunk>, bool), StoreError> {
        const SQL: &str = "SELECT chunks.bytes, chunks.file, chunks.len, chunks.place FROM jobs
            JOIN streams ON streams.job = jobs.n
            JOIN chunks ON chunks.job = jobs.n AND chunks.place >= streams.delivered
            WHERE substr(jobs.id, -15) = substr(?1, -15) AND jobs.id = ?1 ORDER BY chunks.place";
        let (mut chunks, mut bytes, mut more) = (vec![], 0, false);
        self.with(|conn| {
            each(conn, "load chunks", SQL, [id.as_str()], |row| {
                bytes += column::<i64>(row, 2)? as u64;
                more = bytes > max_bytes && !chunks.is_empty();
                if !more {
                    let index = column::<i64>(row, 3)? as u64;
                    chunks.push(Chunk { index, value: payload(row, 0)? });
                }
                Ok(!more)
            })
        })?;
        Ok((chunks, more))
    }

    fn jobs(&self, filter: &Filter) -> Result<Vec<Job>, StoreError> {
        let (sql, values) = select_jobs(filter);
        self.with(|conn| {
            all(conn, "list jobs", &sql, params_from_iter(values), |row| document(row, 0, "job"))
        })
    }

    fn live(&self) -> Result<Vec<Job>, StoreError> {
        const SQL: &str = "SELECT header, seq FROM jobs WHERE standing = 0
                           UNION ALL SELECT header, seq FROM jobs WHERE standing = -1
                           UNION ALL SELECT header, seq FROM jobs WHERE standing = 1 ORDER BY seq";
        self.with(|conn| all(conn, "list live jobs", SQL, [], |row| document(row, 0, "job")))
    }

    fn counts(&self, endpoint: &EndpointId) -> Result<Counts, StoreError> {
        const SQL: &str = "SELECT completed, failed, retried, cancelled, waiting, running
                           FROM counts WHERE endpoint = ?1";
        let counts = self.with(|conn| {
            first(conn, "load counts", SQL, [endpoint.as_str()], |row| {
                let count = |index| Ok(column::<i64>(row, index)? as u64);
                Ok(Counts {
                    completed: count(0)?,
                    failed: count(1)?,
                    retried: count(2)?,
                    cancelled: count(3)?,
                    waiting: count(4)?,
                    running: count(5)?,
                })
            })
        })?;
        Ok(counts.unwrap_or_default())
    }

    fn deliveries(&self, job: &JobId) -> Result<Vec<Delivery>, StoreError> {
        const SQL: &str = "SELECT deliveries.record FROM jobs JOIN deliveries ON deliveries.job = jobs.n
                           WHERE substr(jobs.id, -15) = substr(?1, -15) AND jobs.id = ?1
                           ORDER BY deliveries.n";
        self.with(|conn| {
            all(conn, "list a job's deliveries", SQL, [job.as_str()], |row| document(row, 0, "delivery"))
        })
    }

    fn pending_deliveries(&self, without: &[String], limit: usize) -> Result<Vec<Delivery>, StoreError> {
        const SQL: &str = "SELECT record FROM deliveries INDEXED BY deliveries_pending
            WHERE next_at IS NOT NULL AND destination NOT IN (SELECT value FROM json_each(?1))
            ORDER BY next_at, n LIMIT ?2";
        let without = to_document(&without, "list of destinations")?;
        self.with(|conn| {
            all(conn, "list pending deliveries", SQL, (without, rows_at_most(limit)), |row| {
                document(row, 0, "delivery")
            })
        })
    }

    fn batch(&self, id: &BatchId) -> Result<Option<(Batch, BatchCounts)>, StoreError> {
        self.with(|conn| {
            // One state for both statements.
            let tx = conn.unchecked_transaction().during("begin a query")?;
            match load_batch(&tx, id)? {
                Some(batch) => Ok(Some((batch, batch_counts(&tx, id)?))),
                None => Ok(None),
            }
        })
    }

    fn batches(
        &self,
        endpoint: &EndpointId,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<(Batch, BatchCounts)>, StoreError> {
        self.with(|conn| {
            let tx = conn.unchecked_transaction().during("begin a query")?;
            let found = list_batches(&tx, endpoint, offset, limit)?;
            let counted = |batch: Batch| batch_counts(&tx, &batch.id).map(|counts| (batch, counts));
            found.into_iter().map(counted).collect()
        })
    }

    fn batch_jobs(&self, id: &BatchId, offset: usize, limit: usize) -> Result<Vec<Job>, StoreError> {
        self.with(|conn| list_jobs(conn, id, offset, limit))
    }

    fn due_batches(&self, now: Timestamp, limit: usize) -> Result<Vec<BatchId>, StoreError> {
        self.with(|conn| due_batches(conn, now, limit))
    }

    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, StoreError> {
        const SQL: &str = "SELECT id FROM jobs WHERE due_at <= ?1 ORDER BY due_at, n LIMIT ?2";
        self.with(|conn| {
            all(conn, "list jobs that are due", SQL, (now.0, rows_at_most(limit)), |row| {
                Ok(JobId::new(column::<String>(row, 0)?))
            })
        })
    }

    fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut earliest: Option<i64> = None;
        self.with(|conn| {
            for sql in ["SELECT min(due_at) FROM jobs", "SELECT min(due_at) FROM batches"] {
                let found: Option<Option<i64>> =
                    first(conn, "find what is due next", sql, [], |row| column(row, 0))?;
                earliest = earliest.into_iter().chain(found.flatten()).min();
            }
            Ok(())
        })?;
        Ok(earliest.map(Timestamp))
    }

    fn endpoints(&self) -> Result<Vec<Endpoint>, StoreError> {
        const SQL: &str = "SELECT record FROM endpoints ORDER BY name, id";
        self.with(|conn| all(conn, "list endpoints", SQL, [], |row| document(row, 0, "endpoint")))
    }

    fn releases(&self, endpoint: &EndpointId) -> Result<Vec<Release>, StoreError> {
        const SQL: &str = "SELECT record FROM releases WHERE endpoint = ?1 ORDER BY number DESC";
        self.with(|conn| {
            all(conn, "list releases", SQL, [endpoint.as_str()], |row| document(row, 0, "release"))
        })
    }

    fn workers(&self, endpoint: Option<&EndpointId>, limit: usize) -> Result<Vec<WorkerRecord>, StoreError> {
        const ALL: &str = "SELECT record FROM workers ORDER BY gone, created_at DESC, id DESC LIMIT ?1";
        const OF_ONE: &str = "SELECT record FROM workers WHERE endpoint = ?2
                              ORDER BY gone, created_at DESC, id DESC LIMIT ?1";
        const WHAT: &str = "list workers";
        let limit = rows_at_most(limit);
        let read = |row: &Row<'_>| document(row, 0, "worker");
        self.with(|conn| match endpoint {
            None => all(conn, WHAT, ALL, [limit], read),
            Some(endpoint) => all(conn, WHAT, OF_ONE, (limit, endpoint.as_str()), read),
        })
    }

    fn worker(&self, id: &WorkerId) -> Result<Option<WorkerRecord>, StoreError> {
        const SQL: &str = "SELECT record FROM workers WHERE id = ?1";
        self.with(|conn| first(conn, "load a worker", SQL, [id.as_str()], |row| document(row, 0, "worker")))
    }

    fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        const SQL: &str = "SELECT record FROM keys ORDER BY created_at, id";
        self.with(|conn| all(conn, "list keys", SQL, [], |row| document(row, 0, "key")))
    }

    fn members(&self) -> Result<Vec<Member>, StoreError> {
        const SQL: &str = "SELECT record FROM members ORDER BY id";
        let read = |row: &Row<'_>| document::<Member>(row, 0, "member");
        let mut found = self.with(|conn| all(conn, "list members", SQL, [], read))?;
        found.sort_by_key(|member| member.created_at);
        Ok(found)
    }

    fn connections(&self) -> Result<Vec<git::Connection>, StoreError> {
        const SQL: &str = "SELECT record FROM connections ORDER BY id";
        self.with(|conn| all(conn, "list connections", SQL, [], |row| document(row, 0, "connection")))
    }

    fn connection(&self, id: &ConnectionId) -> Result<Option<git::Connection>, StoreError> {
        const SQL: &str = "SELECT record FROM connections WHERE id = ?1";
        let read = |row: &Row<'_>| document(row, 0, "connection");
        self.with(|conn| first(conn, "load a connection", SQL, [id.as_str()], read))
    }

    fn registries(&self) -> Result<Vec<Registry>, StoreError> {
        const SQL: &str = "SELECT record FROM registries ORDER BY name";
        self.with(|conn| all(conn, "list registries", SQL, [], |row| document(row, 0, "registry")))
    }

    fn resources(&self) -> Result<Vec<Resource>, StoreError> {
        const SQL: &str = "SELECT record FROM resources ORDER BY id";
        self.with(|conn| all(conn, "list resources", SQL, [], |row| document(row, 0, "resource")))
    }

    fn resource(&self, id: &ResourceId) -> Result<Option<Resource>, StoreError> {
        const SQL: &str = "SELECT record FROM resources WHERE id = ?1";
        let read = |row: &Row<'_>| document(row, 0, "resource");
        self.with(|conn| first(conn, "load a resource", SQL, [id.as_str()], read))
    }

    fn examples(&self, endpoint: &EndpointId) -> Result<Vec<Example>, StoreError> {
        const SQL: &str = "SELECT record FROM examples WHERE endpoint = ?1 ORDER BY name";
        let read = |row: &Row<'_>| document(row, 0, "example");
        self.with(|conn| all(conn, "list examples", SQL, [endpoint.as_str()], read))
    }

    fn secrets(&self) -> Result<Vec<SecretRecord>, StoreError> {
        const SQL: &str = "SELECT record FROM secrets ORDER BY name";
        self.with(|conn| all(conn, "list secrets", SQL, [], |row| document(row, 0, "secret")))
    }

    fn secret(&self, name: &str) -> Result<Option<SecretRecord>, StoreError> {
        const SQL: &str = "SELECT record FROM secrets WHERE name = ?1";
        self.with(|conn| first(conn, "load a secret", SQL, [name], |row| document(row, 0, "secret")))
    }

    fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRecord>, StoreError> {
        const ALL: &str = "SELECT n, record FROM audit WHERE n < ?1 AND at >= ?2 ORDER BY n DESC";
        const OF_ONE: &str =
            "SELECT n, record FROM audit WHERE n < ?1 AND at >= ?2 AND endpoint = ?3 ORDER BY n DESC";
        let before = filter.before.and_then(|n| i64::try_from(n).ok()).unwrap_or(i64::MAX);
        let since = filter.since.map_or(i64::MIN, |at| at.0);
        let mut found = vec![];
        let see = |row: &Row<'_>| {
            let seq = column::<i64>(row, 0)? as u64;
            let record = AuditRecord { seq, ..document(row, 1, "audit record")? };
            if found.len() < filter.limit && filter.fits(&record) {
                found.push(record);
            }
            Ok(found.len() < filter.limit)
        };
        const WHAT: &str = "list the audit log";
        self.with(|conn| match &filter.endpoint {
            None => each(conn, WHAT, ALL, (before, since), see),
            Some(endpoint) => each(conn, WHAT, OF_ONE, (before, since, endpoint.as_str()), see),
        })?;
        Ok(found)
    }

    fn data_keys(&self) -> Result<Vec<DataKeyRecord>, StoreError> {
        const SQL: &str = "SELECT record FROM data_keys ORDER BY id";
        self.with(|conn| all(conn, "list data keys", SQL, [], |row| document(row, 0, "data key")))
    }

    fn intervals(
        &self,
        subject: &Subject,
        grain: Grain,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<metrics::Row>, StoreError> {
        self.with(|conn| intervals(conn, subject, grain, since, until))
    }

    fn failures(&self, endpoint: &EndpointId) -> Result<Vec<FailureGroup>, StoreError> {
        const SQL: &str =
            "SELECT record FROM failures WHERE endpoint = ?1 ORDER BY last_at DESC, fingerprint";
        self.with(|conn| {
            all(conn, "list failures", SQL, [endpoint.as_str()], |row| document(row, 0, "group of failures"))
        })
    }

    fn totals(&self) -> Result<Vec<(Subject, Interval)>, StoreError> {
        self.with(totals)
    }
}

/// A limit as SQLite takes it, which reads a negative one as none.
fn rows_at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// What the column `standing` says of jobs that ended so; nothing that ended has that of the others.
fn ended_code(standing: Standing) -> i64 {
    match standing {
        Standing::Draft | Standing::Waiting | Standing::Running => 0,
        Standing::Completed => 2,
        Standing::Failed => 3,
        Standing::Cancelled => 4,
        Standing::TimedOut => 5,
    }
}

/// The statement for a filter: only the terms that it has, so that each gets the index that fits.
fn select_jobs(filter: &Filter) -> (String, Vec<Value>) {
    let mut terms = if filter.no_tests { " AND lane < 0".to_owned() } else { String::new() };
    let mut values: Vec<Value> = vec![];
    let mut term = |text: &str, value: Value| {
        terms.push_str(text);
        values.push(value);
    };
    if let Some(endpoint) = &filter.endpoint {
        term(" AND endpoint = ?", endpoint.as_str().to_owned().into());
    }
    if let Some(since) = filter.since {
        term(" AND submitted_at >= ?", since.0.into());
    }
    if let Some(until) = filter.until {
        term(" AND submitted_at < ?", until.0.into());
    }
    let by_end = filter.ended_since.is_some() || filter.ended_until.is_some();
    if let Some(since) = filter.ended_since {
        term(" AND ended_at >= ?", since.0.into());
    }
    if let Some(until) = filter.ended_until {
        term(" AND ended_at < ?", until.0.into());
    }
    if let Some(before) = &filter.before {
        const BEFORE: &str =
            " AND (submitted_at, n) < (SELECT submitted_at, n FROM jobs, (SELECT ? AS before)
                               WHERE substr(id, -15) = substr(before, -15) AND id = before)";
        term(BEFORE, before.as_str().to_owned().into());
    }
    let page = filter.page();
    if by_end {
        let standing =
            filter.standing.map_or_else(String::new, |s| format!(" AND standing = {}", ended_code(s)));
        // The index alone says which; their rows are read afterwards.
        let which = format!(
            "SELECT n FROM jobs INDEXED BY jobs_ended WHERE ended_at IS NOT NULL{standing}{terms}
             ORDER BY submitted_at DESC, n DESC LIMIT {page}"
        );
        let sql = format!("SELECT header FROM jobs WHERE n IN ({which}) ORDER BY submitted_at DESC, n DESC");
        return (sql, values);
    }
    // The literals name the partial indexes.
    let from = match filter.standing {
        None => format!("jobs WHERE 1{terms}"),
        Some(Standing::Draft) => format!("jobs WHERE standing = 6 AND standing > 2{terms}"),
        Some(Standing::Waiting) => {
            values.extend_from_within(..);
            let arm =
                |code| format!("SELECT header, submitted_at, n FROM jobs WHERE standing = {code}{terms}");
            format!("({} UNION ALL {})", arm(0), arm(-1))
        }
        Some(Standing::Running) => format!("jobs WHERE standing = 1{terms}"),
        Some(Standing::Completed) => format!("jobs WHERE standing = 2{terms}"),
        Some(Standing::Failed) => format!("jobs WHERE standing = 3 AND standing > 2{terms}"),
        Some(Standing::Cancelled) => format!("jobs WHERE standing = 4 AND standing > 2{terms}"),
        Some(Standing::TimedOut) => format!("jobs WHERE standing = 5 AND standing > 2{terms}"),
    };
    (format!("SELECT header FROM {from} ORDER BY submitted_at DESC, n DESC LIMIT {page}"), values)
}
