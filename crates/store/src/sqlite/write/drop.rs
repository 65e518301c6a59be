//! Taking things away: a job with all that belongs to it, and an endpoint with all its jobs.

use runyard_domain::EndpointId;

use super::Batch;
use crate::sqlite::rows::Kind;
use crate::sqlite::sql::{all, column, run};
use crate::{Reply, StoreError};

impl Batch<'_> {
    /// Removes job `n` with its payloads, its stream, its deliveries and its idempotency key.
    pub(super) fn forget(&mut self, n: i64) -> Result<(), StoreError> {
        const PAYLOADS: &str = "DELETE FROM payloads WHERE id BETWEEN ?1 AND ?1 + 3 RETURNING file";
        self.remove(PAYLOADS, Kind::Input.key(n))?;
        if run(self.conn, "forget a stream", "DELETE FROM streams WHERE job = ?1", [n])? > 0 {
            self.remove_chunks(n)?;
            run(self.conn, "forget chunk numbers", "DELETE FROM chunk_numbers WHERE job = ?1", [n])?;
        }
        run(self.conn, "forget an idempotency key", "DELETE FROM idempotency WHERE job = ?1", [n])?;
        run(self.conn, "forget a job's deliveries", "DELETE FROM deliveries WHERE job = ?1", [n])?;
        run(self.conn, "forget a job", "DELETE FROM jobs WHERE n = ?1", [n])?;
        self.keep_number = true;
        Ok(())
    }

    pub(super) fn drop_endpoint(&mut self, id: &EndpointId) -> Result<Reply, StoreError> {
        const JOBS: &str = "SELECT n FROM jobs INDEXED BY jobs_of_endpoint WHERE endpoint = ?1";
        let jobs = all(self.conn, "list an endpoint's jobs", JOBS, [id.as_str()], |row| column(row, 0))?;
        for n in jobs {
            self.forget(n)?;
        }
        for sql in [
            "DELETE FROM batch_calls WHERE batch IN (SELECT id FROM batches WHERE endpoint = ?1)",
            "DELETE FROM batches WHERE endpoint = ?1",
            "DELETE FROM counts WHERE endpoint = ?1",
            "DELETE FROM workers WHERE endpoint = ?1",
            "DELETE FROM releases WHERE endpoint = ?1",
            "DELETE FROM connections WHERE endpoint = ?1",
            "DELETE FROM examples WHERE endpoint = ?1",
            "DELETE FROM endpoints WHERE id = ?1",
        ] {
            run(self.conn, "drop an endpoint", sql, [id.as_str()])?;
        }
        self.tallies.remove(id);
        self.drop_metrics(id)?;
        self.drop_failures(id)?;
        Ok(Reply::Nothing)
    }
}
