//! Batches as rows, and the queries about them.

use runyard_domain::{Batch, BatchCounts, BatchId, EndpointId, Job, Timestamp};
use rusqlite::Connection;

use super::sql::{all, column, document, each, first};
use crate::StoreError;

/// A batch by its id.
pub(super) fn load_batch(conn: &Connection, id: &BatchId) -> Result<Option<Batch>, StoreError> {
    const SQL: &str = "SELECT record FROM batches WHERE id = ?1";
    first(conn, "load a batch", SQL, [id.as_str()], |row| document(row, 0, "batch"))
}

/// Its jobs by where they stand.
pub(super) fn batch_counts(conn: &Connection, id: &BatchId) -> Result<BatchCounts, StoreError> {
    const SQL: &str = "SELECT standing, count(*) FROM jobs INDEXED BY jobs_of_batch_standing
                       WHERE batch = ?1 GROUP BY standing";
    let mut counts = BatchCounts::default();
    each(conn, "count a batch's jobs", SQL, [id.as_str()], |row| {
        let count = column::<i64>(row, 1)? as u64;
        match column::<i64>(row, 0)? {
            1 => counts.running += count,
            2 => counts.completed += count,
            4 => {
                counts.failed += count;
                counts.cancelled += count;
            }
            3 | 5 => counts.failed += count,
            _ => counts.waiting += count,
        }
        Ok(true)
    })?;
    Ok(counts)
}

/// The batches of an endpoint, newest first.
pub(super) fn list_batches(
    conn: &Connection,
    endpoint: &EndpointId,
    offset: usize,
    limit: usize,
) -> Result<Vec<Batch>, StoreError> {
    const SQL: &str = "SELECT record FROM batches WHERE endpoint = ?1 ORDER BY n DESC LIMIT ?3 OFFSET ?2";
    let columns = (endpoint.as_str(), offset as i64, limit as i64);
    all(conn, "list batches", SQL, columns, |row| document(row, 0, "batch"))
}

/// The jobs of a batch in the order in which they were added.
pub(super) fn list_jobs(
    conn: &Connection,
    id: &BatchId,
    offset: usize,
    limit: usize,
) -> Result<Vec<Job>, StoreError> {
    const SQL: &str = "SELECT header FROM jobs INDEXED BY jobs_of_batch
                       WHERE batch = ?1 ORDER BY n LIMIT ?3 OFFSET ?2";
    let columns = (id.as_str(), offset as i64, limit as i64);
    all(conn, "list a batch's jobs", SQL, columns, |row| document(row, 0, "job"))
}

/// The batches that the clock changes by now.
pub(super) fn due_batches(
    conn: &Connection,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<BatchId>, StoreError> {
    const SQL: &str = "SELECT id FROM batches WHERE due_at <= ?1 ORDER BY due_at, n LIMIT ?2";
    all(conn, "list batches that are due", SQL, (now.0, limit as i64), |row| {
        Ok(BatchId::new(column::<String>(row, 0)?))
    })
}
