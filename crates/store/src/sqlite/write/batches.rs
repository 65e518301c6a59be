//! Batches: made, added to, finalized, cancelled, renamed, ended with their last job, and forgotten with all of them.

use runyard_domain::batch::{Batch as Group, BatchEnd, BatchRefusal, BatchState, MAX_ACTIVE};
use runyard_domain::job;
use runyard_domain::{BatchId, Job, JobId, Payload, Timestamp};
use rusqlite::params;

use super::Batch;
use crate::command::{BATCH_SLICE, LOOK_AGAIN_MS};
use crate::sqlite::batches::{batch_counts, load_batch};
use crate::sqlite::rows::{self, JobRow, job_row};
use crate::sqlite::sql::{all, column, first, run, to_document};
use crate::{BatchChange, Reply, StoreError, Submission};

/// Some jobs of a batch, as many as one command moves.
#[derive(Default)]
struct Slice {
    jobs: Vec<JobRow>,
    /// There are more.
    is_cut: bool,
}

/// Who cancels a draft that nobody touched any more.
const CLOCK: &str = "draft expired";

impl Batch<'_> {
    pub(super) fn make_batch(
        &mut self,
        made: &Group,
        requests: &[Submission],
        key: Option<&str>,
    ) -> Result<Reply, StoreError> {
        const ACTIVE: &str = "SELECT count(*) FROM batches WHERE endpoint = ?1 AND active = 1";
        const INSERT: &str = "INSERT INTO batches (id, endpoint, active, due_at, record)
                              VALUES (?1, ?2, 1, ?3, ?4)";
        let scope = made.endpoint.as_str();
        if let Some(reply) = self.repeated_call(scope, key, requests)? {
            return Ok(reply);
        }
        if let Some(batch) = load_batch(self.conn, &made.id)? {
            self.let_go_of(requests);
            return Ok(changed(batch, vec![], true));
        }
        let active: Option<i64> = first(self.conn, "count batches", ACTIVE, [scope], |row| column(row, 0))?;
        if active.unwrap_or(0) as usize >= MAX_ACTIVE {
            return Ok(self.refuse_requests(BatchRefusal::TooManyActive, requests));
        }
        let batch = match made.added(0, requests.len(), self.now) {
            Ok(batch) => batch,
            Err(refusal) => return Ok(self.refuse_requests(refusal, requests)),
        };
        let columns = (batch.id.as_str(), scope, batch.due_at().0, to_document(&batch, "batch")?);
        run(self.conn, "add a batch", INSERT, columns)?;
        self.add_requests(batch, requests, scope, key)
    }

    pub(super) fn add_to_batch(
        &mut self,
        id: &BatchId,
        requests: &[Submission],
        key: Option<&str>,
    ) -> Result<Reply, StoreError> {
        if let Some(reply) = self.repeated_call(id.as_str(), key, requests)? {
            return Ok(reply);
        }
        let Some(batch) = load_batch(self.conn, id)? else {
            return Ok(self.refuse_requests(BatchRefusal::NoSuchBatch, requests));
        };
        let has = batch_counts(self.conn, id)?.total() as usize;
        match batch.added(has, requests.len(), self.now) {
            Ok(batch) => {
                self.put_batch(&batch)?;
                self.add_requests(batch, requests, id.as_str(), key)
            }
            Err(refusal) => Ok(self.refuse_requests(refusal, requests)),
        }
    }

    fn add_requests(
        &mut self,
        batch: Group,
        requests: &[Submission],
        scope: &str,
        key: Option<&str>,
    ) -> Result<Reply, StoreError> {
        const KEEP: &str =
            "INSERT INTO batch_calls (scope, key, batch, first, count) VALUES (?1, ?2, ?3, ?4, ?5)";
        let from = self.next_seq;
        let mut jobs = Vec::with_capacity(requests.len());
        for request in requests {
            if let Reply::Submitted { job, existing: false } = self.submit(request)? {
                jobs.push(*job);
            }
        }
        if let Some(key) = key {
            let columns = params![scope, key, batch.id.as_str(), from as i64, jobs.len() as i64];
            run(self.conn, "keep a call's idempotency key", KEEP, columns)?;
        }
        Ok(changed(batch, jobs, false))
    }

    /// What the first call with this key did.
    fn repeated_call(
        &mut self,
        scope: &str,
        key: Option<&str>,
        requests: &[Submission],
    ) -> Result<Option<Reply>, StoreError> {
        const FIND: &str = "SELECT batch, first, count FROM batch_calls WHERE scope = ?1 AND key = ?2";
        const JOBS: &str = "SELECT n, header FROM jobs
                            WHERE batch = ?1 AND n >= ?2 AND n < ?2 + ?3 ORDER BY n";
        let Some(key) = key else { return Ok(None) };
        let found = first(self.conn, "look up a call", FIND, (scope, key), |row| {
            Ok((BatchId::new(column::<String>(row, 0)?), column::<i64>(row, 1)?, column::<i64>(row, 2)?))
        })?;
        let Some((id, from, count)) = found else { return Ok(None) };
        let Some(batch) = load_batch(self.conn, &id)? else { return Ok(None) };
        let jobs = all(self.conn, "list a call's jobs", JOBS, (id.as_str(), from, count), job_row)?;
        self.let_go_of(requests);
        Ok(Some(changed(batch, jobs.into_iter().map(|row| row.job).collect(), true)))
    }

    pub(super) fn finalize_batch(&mut self, id: &BatchId) -> Result<Reply, StoreError> {
        let Some(batch) = load_batch(self.conn, id)? else { return Ok(no_such_batch()) };
        let next = match batch.finalized(self.now) {
            Ok(next) => next,
            Err(refusal) => return Ok(Reply::BatchRefused(refusal)),
        };
        let drafts = self.slice_of_batch(id, "AND standing = 6")?;
        if !batch.is_draft() && drafts.jobs.is_empty() {
            return Ok(changed(next, vec![], true));
        }
        self.move_slice(&next, drafts, &job::Command::Release)
    }

    pub(super) fn cancel_batch(&mut self, id: &BatchId, by: &str) -> Result<Reply, StoreError> {
        let Some(batch) = load_batch(self.conn, id)? else { return Ok(no_such_batch()) };
        let next = batch.cancelled(by, self.now);
        let live = if next.is_cancelled() { self.live_slice(id)? } else { Slice::default() };
        if !batch.is_active() && live.jobs.is_empty() {
            return Ok(changed(next, vec![], true));
        }
        self.move_slice(&next, live, &job::Command::Cancel { by: by.to_owned() })
    }

    /// Moves some jobs of a batch; while there are more, it is due.
    fn move_slice(
        &mut self,
        batch: &Group,
        slice: Slice,
        command: &job::Command,
    ) -> Result<Reply, StoreError> {
        let jobs = self.step_rows(slice.jobs, command)?;
        let batch = batch.settled(&batch_counts(self.conn, &batch.id)?, self.now);
        self.put_batch(&batch)?;
        if slice.is_cut {
            self.put_due(&batch.id, self.now)?;
        }
        Ok(changed(batch, jobs, false))
    }

    pub(super) fn change_batch(&mut self, id: &BatchId, change: &BatchChange) -> Result<Reply, StoreError> {
        let Some(batch) = load_batch(self.conn, id)? else { return Ok(no_such_batch()) };
        let next = match change {
            BatchChange::Rename(name) => {
                const RENAME: &str = "UPDATE batches SET record = ?2 WHERE id = ?1";
                let next = Group { name: name.clone(), ..batch };
                run(self.conn, "rename a batch", RENAME, (id.as_str(), to_document(&next, "batch")?))?;
                return Ok(changed(next, vec![], false));
            }
            BatchChange::Remove(job) => {
                let Some(row) = self.job_of_batch(id, job)? else {
                    return Ok(Reply::BatchRefused(BatchRefusal::NoSuchRequest));
                };
                match batch.touched(self.now) {
                    Ok(next) => {
                        self.forget(row.n)?;
                        next
                    }
                    Err(refusal) => return Ok(Reply::BatchRefused(refusal)),
                }
            }
        };
        self.put_batch(&next)?;
        Ok(changed(next, vec![], false))
    }

    pub(super) fn expire_batch(&mut self, id: &BatchId) -> Result<Reply, StoreError> {
        const DUE: &str = "SELECT due_at FROM batches WHERE id = ?1";
        let Some(batch) = load_batch(self.conn, id)? else { return Ok(no_such_batch()) };
        let due: Option<i64> =
            first(self.conn, "look when a batch is due", DUE, [id.as_str()], |row| column(row, 0))?;
        if due.is_none_or(|due| due > self.now.0) {
            return Ok(Reply::Nothing);
        }
        match &batch.state {
            BatchState::Draft { .. } => self.cancel_batch(id, CLOCK),
            BatchState::Finalized { .. } => {
                let drafts = self.slice_of_batch(id, "AND standing = 6")?;
                self.move_slice(&batch, drafts, &job::Command::Release)
            }
            BatchState::Ended { how: BatchEnd::Cancelled { by }, .. } if batch.due_at() > self.now => {
                let (live, cancel) = (self.live_slice(id)?, job::Command::Cancel { by: by.clone() });
                self.move_slice(&batch, live, &cancel)
            }
            BatchState::Ended { .. } => self.forget_batch(id),
        }
    }

    fn forget_batch(&mut self, id: &BatchId) -> Result<Reply, StoreError> {
        if let Some(until) = self.batch_kept_until(id)? {
            self.put_due(id, until)?;
            return Ok(Reply::Nothing);
        }
        let slice = self.slice_of_batch(id, "")?;
        for row in slice.jobs {
            self.forget(row.n)?;
        }
        if !slice.is_cut {
            const CALLS: &str = "DELETE FROM batch_calls WHERE batch = ?1";
            run(self.conn, "forget a batch's calls", CALLS, [id.as_str()])?;
            run(self.conn, "forget a batch", "DELETE FROM batches WHERE id = ?1", [id.as_str()])?;
        }
        Ok(Reply::Nothing)
    }

    /// Until when an ended batch stays beyond its retention: a request that was retried runs, or a webhook is on
    /// its way.
    fn batch_kept_until(&self, id: &BatchId) -> Result<Option<Timestamp>, StoreError> {
        const NEWEST: &str = "SELECT max(deliveries.made_at) FROM jobs
            JOIN deliveries ON deliveries.job = jobs.n
            WHERE jobs.batch = ?1 AND deliveries.next_at IS NOT NULL";
        if batch_counts(self.conn, id)?.live() > 0 {
            return Ok(Some(self.now.plus(LOOK_AGAIN_MS)));
        }
        let newest: Option<Option<i64>> =
            first(self.conn, "look for pending deliveries", NEWEST, [id.as_str()], |row| column(row, 0))?;
        let held = newest.flatten().map(|at| Timestamp(at).plus(runyard_domain::delivery::HOLD_MS));
        Ok(held.filter(|until| *until > self.now))
    }

    /// Ends batches whose last job ended, and takes them up again where one was retried.
    pub(super) fn settle_batches(&mut self) -> Result<(), StoreError> {
        for id in std::mem::take(&mut self.moved) {
            if let Some(batch) = load_batch(self.conn, &id)? {
                let next = batch.settled(&batch_counts(self.conn, &id)?, self.now);
                if next != batch {
                    self.put_batch(&next)?;
                }
            }
        }
        Ok(())
    }

    fn put_batch(&self, batch: &Group) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE batches SET active = ?2, due_at = ?3, record = ?4 WHERE id = ?1";
        let document = to_document(batch, "batch")?;
        let columns = (batch.id.as_str(), batch.is_active(), batch.due_at().0, document);
        run(self.conn, "change a batch", SQL, columns)?;
        Ok(())
    }

    fn put_due(&self, id: &BatchId, at: Timestamp) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE batches SET due_at = ?2 WHERE id = ?1";
        run(self.conn, "say when a batch is due", SQL, (id.as_str(), at.0)).map(drop)
    }

    fn live_slice(&self, id: &BatchId) -> Result<Slice, StoreError> {
        self.slice_of_batch(id, "AND standing IN (-1, 0, 1, 6)")
    }

    fn slice_of_batch(&self, id: &BatchId, which: &str) -> Result<Slice, StoreError> {
        let sql = format!("SELECT n, header FROM jobs WHERE batch = ?1 {which} ORDER BY n LIMIT ?2");
        let columns = (id.as_str(), BATCH_SLICE as i64 + 1);
        let mut jobs = all(self.conn, "list a batch's jobs", &sql, columns, job_row)?;
        let is_cut = jobs.len() > BATCH_SLICE;
        jobs.truncate(BATCH_SLICE);
        Ok(Slice { jobs, is_cut })
    }

    fn job_of_batch(&self, id: &BatchId, job: &JobId) -> Result<Option<JobRow>, StoreError> {
        Ok(rows::load(self.conn, job)?.filter(|row| row.job.batch.as_ref() == Some(id)))
    }

    fn step_rows(&mut self, rows: Vec<JobRow>, command: &job::Command) -> Result<Vec<Job>, StoreError> {
        match self.step_all(rows, command)? {
            Reply::Jobs(jobs) => Ok(jobs),
            _ => Ok(vec![]),
        }
    }

    fn refuse_requests(&mut self, refusal: BatchRefusal, requests: &[Submission]) -> Reply {
        self.let_go_of(requests);
        Reply::BatchRefused(refusal)
    }

    fn let_go_of(&mut self, requests: &[Submission]) {
        for request in requests {
            self.let_go(Some(&request.input));
            self.let_go(request.s3.as_ref() as Option<&Payload>);
        }
    }
}

fn no_such_batch() -> Reply {
    Reply::BatchRefused(BatchRefusal::NoSuchBatch)
}

fn changed(batch: Group, jobs: Vec<Job>, existing: bool) -> Reply {
    Reply::Batch { batch: Box::new(batch), jobs, existing }
}
