//! What a running job says: `Progress`, `Chunk`, and `Delivered`; and the rows of payloads.

use runyard_domain::{JobId, Payload, WorkerId};
use runyard_metrics::count;

use super::Batch;
use super::step::{no_such_job, refused};
use crate::command::output_refusal;
use crate::sqlite::rows::{self, Kind, payload_columns};
use crate::sqlite::sql::{column, each, first, run};
use crate::{Reply, StoreError};

impl Batch<'_> {
    pub(super) fn progress(
        &mut self,
        id: &JobId,
        worker: &WorkerId,
        value: &Payload,
    ) -> Result<Reply, StoreError> {
        let reply = match rows::load(self.conn, id)? {
            None => no_such_job(),
            Some(row) if !row.job.takes_output_of(worker) => refused(output_refusal(&row.job), row),
            Some(row) => {
                let key = Kind::Progress.key(row.n);
                self.remove_payload(key)?;
                self.add_payload(key, value)?;
                return Ok(Reply::Job(Box::new(row.job)));
            }
        };
        self.let_go(Some(value));
        Ok(reply)
    }

    pub(super) fn chunk(
        &mut self,
        id: &JobId,
        worker: &WorkerId,
        number: Option<u64>,
        value: &Payload,
    ) -> Result<Reply, StoreError> {
        let reply = match rows::load(self.conn, id)? {
            None => no_such_job(),
            Some(row) if self.is_repetition(row.n, worker, number)? => Reply::Job(Box::new(row.job)),
            Some(row) if !row.job.takes_output_of(worker) => refused(output_refusal(&row.job), row),
            Some(row) => {
                self.add_chunk(row.n, worker, number, value)?;
                count::output(self.marks_of(&row.job.endpoint), &row.job, value.len());
                return Ok(Reply::Job(Box::new(row.job)));
            }
        };
        self.let_go(Some(value));
        Ok(reply)
    }

    pub(super) fn delivered(&mut self, id: &JobId, upto: u64) -> Result<Reply, StoreError> {
        const SQL: &str = "UPDATE streams SET delivered = max(delivered, min(?2, chunks))
                           WHERE job = (SELECT n FROM jobs WHERE substr(id, -15) = substr(?1, -15) AND id = ?1)";
        run(self.conn, "keep a stream's cursor", SQL, (id.as_str(), number(upto.saturating_add(1))))?;
        Ok(Reply::Nothing)
    }

    fn is_repetition(&self, n: i64, worker: &WorkerId, sent: Option<u64>) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT last FROM chunk_numbers WHERE job = ?1 AND worker = ?2";
        let Some(sent) = sent else { return Ok(false) };
        let last: Option<i64> =
            first(self.conn, "look up a chunk's number", SQL, (n, worker.as_str()), |row| column(row, 0))?;
        Ok(last.is_some_and(|last| number(sent) <= last))
    }

    fn add_chunk(
        &mut self,
        n: i64,
        worker: &WorkerId,
        sent: Option<u64>,
        value: &Payload,
    ) -> Result<(), StoreError> {
        const NUMBER: &str = "INSERT OR REPLACE INTO chunk_numbers (job, worker, last) VALUES (?1, ?2, ?3)";
        const PLACE: &str = "INSERT INTO streams (job, chunks, delivered) VALUES (?1, 1, 0)
                             ON CONFLICT (job) DO UPDATE SET chunks = chunks + 1 RETURNING chunks - 1";
        const CHUNK: &str = "INSERT INTO chunks (job, place, bytes, file, len) VALUES (?1, ?2, ?3, ?4, ?5)";
        if let Some(sent) = sent {
            run(self.conn, "keep a chunk's number", NUMBER, (n, worker.as_str(), number(sent)))?;
        }
        let place: Option<i64> = first(self.conn, "place a chunk", PLACE, [n], |row| column(row, 0))?;
        let (bytes, file, len) = payload_columns(value);
        run(self.conn, "add a chunk", CHUNK, (n, place, bytes, file, len))?;
        Ok(())
    }

    /// Ends what the last attempt of job `n` left: chunks, cursor, progress. Chunk numbers stay, so that a
    /// late repetition is still known as one.
    pub(super) fn clear_stream(&mut self, n: i64) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE streams SET chunks = 0, delivered = 0 WHERE job = ?1";
        if run(self.conn, "clear a stream", SQL, [n])? > 0 {
            self.remove_chunks(n)?;
        }
        self.remove_payload(Kind::Progress.key(n))
    }

    pub(super) fn remove_chunks(&mut self, n: i64) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM chunks WHERE job = ?1 RETURNING file";
        self.remove(SQL, n)
    }

    pub(super) fn add_payload(&mut self, key: i64, payload: &Payload) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO payloads (id, bytes, file, len) VALUES (?1, ?2, ?3, ?4)";
        let (bytes, file, len) = payload_columns(payload);
        run(self.conn, "add a payload", SQL, (key, bytes, file, len))?;
        Ok(())
    }

    pub(super) fn remove_payload(&mut self, key: i64) -> Result<(), StoreError> {
        self.remove("DELETE FROM payloads WHERE id = ?1 RETURNING file", key)
    }

    /// Runs a deletion that returns the files which lost their row.
    pub(super) fn remove(&mut self, sql: &str, key: i64) -> Result<(), StoreError> {
        each(self.conn, "remove payloads", sql, [key], |row| {
            self.loose.extend(column::<Option<String>>(row, 0)?);
            Ok(true)
        })
    }
}

/// A number as the database keeps it. Nobody counts to 2^63.
fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
