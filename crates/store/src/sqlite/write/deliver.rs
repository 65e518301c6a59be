//! The outbox of webhooks: a delivery is added with the end of its job, and changed by each try.

use runyard_domain::delivery::{Delivery, Try};
use runyard_domain::{DeliveryId, Job, Timestamp};
use runyard_metrics::count;
use rusqlite::params;

use super::Batch;
use crate::sqlite::rows::{JobRow, job_row};
use crate::sqlite::sql::{column, document, first, run, to_document};
use crate::{Reply, StoreError};

impl Batch<'_> {
    /// Adds the delivery that the end of job `n` entails, if it entails one.
    pub(super) fn add_delivery(&self, n: i64, job: &Job) -> Result<Option<Delivery>, StoreError> {
        const SQL: &str = "INSERT INTO deliveries (n, id, job, destination, made_at, next_at, record)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let Some(delivery) = Delivery::of(job) else { return Ok(None) };
        let columns = params![
            delivery.seq as i64,
            delivery.id.as_str(),
            n,
            delivery.destination(),
            delivery.made_at.0,
            delivery.next_at().map(|at| at.0),
            to_document(&delivery, "delivery")?,
        ];
        run(self.conn, "add a delivery", SQL, columns)?;
        Ok(Some(delivery))
    }

    pub(super) fn tried(
        &mut self,
        id: &DeliveryId,
        tried: &Try,
        again: Option<Timestamp>,
    ) -> Result<Reply, StoreError> {
        let Some((job, delivery)) = self.find_delivery(id)? else { return Ok(Reply::Nothing) };
        match delivery.after(tried, again, self.now) {
            Some(next) => {
                count::tried(self.marks_of(&job.job.endpoint), &next);
                self.put_delivery(&job, next)
            }
            None => Ok(Reply::Nothing),
        }
    }

    pub(super) fn redeliver(&self, id: &DeliveryId) -> Result<Reply, StoreError> {
        let Some((job, delivery)) = self.find_delivery(id)? else { return Ok(Reply::Nothing) };
        self.put_delivery(&job, delivery.again(self.now))
    }

    fn find_delivery(&self, id: &DeliveryId) -> Result<Option<(JobRow, Delivery)>, StoreError> {
        const FIND: &str = "SELECT jobs.n, jobs.header, deliveries.record FROM deliveries
                            JOIN jobs ON jobs.n = deliveries.job WHERE deliveries.id = ?1";
        first(self.conn, "load a delivery", FIND, [id.as_str()], |row| {
            Ok((job_row(row)?, document::<Delivery>(row, 2, "delivery")?))
        })
    }

    fn put_delivery(&self, job: &JobRow, next: Delivery) -> Result<Reply, StoreError> {
        const KEEP: &str = "UPDATE deliveries SET next_at = ?2, record = ?3 WHERE n = ?1";
        let columns = (next.seq as i64, next.next_at().map(|at| at.0), to_document(&next, "delivery")?);
        run(self.conn, "keep a try", KEEP, columns)?;
        let due_at = self.settle_due(job, &next)?;
        Ok(Reply::Tried { delivery: Box::new(next), due_at })
    }

    /// A job whose delivery was settled is not held by it any more; one whose delivery begins anew is again.
    fn settle_due(&self, row: &JobRow, delivery: &Delivery) -> Result<Timestamp, StoreError> {
        let due_at = row.job.due_while_held(self.held_until(row.n)?);
        if row.job.is_done() && (delivery.next_at().is_none() || delivery.tried == 0) {
            run(self.conn, "let go of a job", "UPDATE jobs SET due_at = ?2 WHERE n = ?1", (row.n, due_at.0))?;
        }
        Ok(due_at)
    }

    /// Until when pending deliveries keep job `n`.
    pub(super) fn held_until(&self, n: i64) -> Result<Option<Timestamp>, StoreError> {
        const SQL: &str = "SELECT max(made_at) FROM deliveries WHERE job = ?1 AND next_at IS NOT NULL";
        let newest: Option<Option<i64>> =
            first(self.conn, "look for pending deliveries", SQL, [n], |row| column(row, 0))?;
        Ok(newest.flatten().map(|at| Timestamp(at).plus(runyard_domain::delivery::HOLD_MS)))
    }
}
