//! Commands that move one job, or all jobs of a worker or a queue, by one decision of `domain`: `Finish`,
//! `Cancel`, `Purge`, `Lose`, `GiveBack`, `Retry`, `SetTtl`, `Expire`. And what every move entails: the row,
//! and the counts of its endpoint.

use runyard_domain::job::{self, Loss, Refusal, decide};
use runyard_domain::{EndpointId, Job, JobId, Payload, WorkerId};
use runyard_metrics::count;
use rusqlite::params;

use super::Batch;
use crate::sqlite::rows::{self, JobRow, Kind, job_row};
use crate::sqlite::sql::{all, run};
use crate::{Refused, Reply, Standing, StoreError, Which};

/// What a worker has and has not started.
const HELD_BY: &str = "SELECT n, header FROM jobs INDEXED BY jobs_held
                       WHERE worker = ?1 AND standing = -1 ORDER BY seq";

/// Changes of an endpoint's counts, in the order of the table's columns.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    completed: i64,
    failed: i64,
    retried: i64,
    cancelled: i64,
    waiting: i64,
    running: i64,
}

impl Batch<'_> {
    pub(super) fn finish(
        &mut self,
        id: &JobId,
        command: &job::Command,
        output: Option<&Payload>,
    ) -> Result<Reply, StoreError> {
        let reply = match rows::load(self.conn, id)? {
            None => no_such_job(),
            Some(row) => match decide(&row.job, command, self.now) {
                Err(refusal) => refused(refusal, row),
                Ok(next) => {
                    self.write(&row, &next)?;
                    if let Some(output) = output {
                        self.add_payload(Kind::Output.key(row.n), output)?;
                        count::output(self.marks_of(&next.endpoint), &next, output.len());
                    }
                    return Ok(Reply::Job(Box::new(next)));
                }
            },
        };
        self.let_go(output);
        Ok(reply)
    }

    pub(super) fn begin(&mut self, id: &JobId, worker: &WorkerId) -> Result<Reply, StoreError> {
        self.step(id, &job::Command::Begin { worker: worker.clone() })
    }

    pub(super) fn call_back(&mut self, worker: &WorkerId) -> Result<Reply, StoreError> {
        let held = all(self.conn, "list a worker's list", HELD_BY, [worker.as_str()], job_row)?;
        self.step_all(held, &job::Command::CallBack { worker: worker.clone() })
    }

    pub(super) fn cancel(&mut self, id: &JobId, by: &str) -> Result<Reply, StoreError> {
        self.step(id, &job::Command::Cancel { by: by.to_owned() })
    }

    pub(super) fn set_ttl(&mut self, id: &JobId, ttl_ms: i64) -> Result<Reply, StoreError> {
        self.step(id, &job::Command::SetTtl { ttl_ms })
    }

    pub(super) fn retry(&mut self, id: &JobId) -> Result<Reply, StoreError> {
        let reply = self.step(id, &job::Command::Retry { seq: self.next_seq })?;
        if let Reply::Job(_) = reply {
            self.next_seq += 1;
            self.keep_number = true;
        }
        Ok(reply)
    }

    pub(super) fn expire(&mut self, id: &JobId) -> Result<Reply, StoreError> {
        match rows::load(self.conn, id)? {
            Some(row) if self.is_forgettable(&row)? => {
                self.forget(row.n)?;
                Ok(Reply::Forgotten(id.clone()))
            }
            Some(row) => self.step_row(row, &job::Command::Expire),
            None => Ok(no_such_job()),
        }
    }

    fn is_forgettable(&self, row: &JobRow) -> Result<bool, StoreError> {
        let over = row.job.is_forgettable(None, self.now);
        if !over || row.job.webhook.is_none() {
            return Ok(over);
        }
        Ok(row.job.is_forgettable(self.held_until(row.n)?, self.now))
    }

    pub(super) fn purge(&mut self, endpoint: &EndpointId, by: &str) -> Result<Reply, StoreError> {
        const SQL: &str = "SELECT n, header FROM jobs INDEXED BY jobs_waiting
                           WHERE endpoint = ?1 AND standing = 0 ORDER BY seq";
        const HELD: &str = "SELECT n, header FROM jobs INDEXED BY jobs_held
                            WHERE endpoint = ?1 AND standing = -1";
        let mut waiting = all(self.conn, "list a queue", SQL, [endpoint.as_str()], job_row)?;
        waiting.extend(all(self.conn, "list workers' lists", HELD, [endpoint.as_str()], job_row)?);
        waiting.sort_by_key(|row| row.job.seq);
        self.step_all(waiting, &job::Command::Cancel { by: by.to_owned() })
    }

    pub(super) fn lose(
        &mut self,
        worker: &WorkerId,
        which: &Which,
        loss: &Loss,
    ) -> Result<Reply, StoreError> {
        let command = job::Command::Lose { worker: worker.clone(), loss: loss.clone() };
        self.step_held(worker, which, &command)
    }

    pub(super) fn give_back(&mut self, worker: &WorkerId, which: &Which) -> Result<Reply, StoreError> {
        self.step_held(worker, which, &job::Command::GiveBack { worker: worker.clone() })
    }

    fn step(&mut self, id: &JobId, command: &job::Command) -> Result<Reply, StoreError> {
        match rows::load(self.conn, id)? {
            Some(row) => self.step_row(row, command),
            None => Ok(no_such_job()),
        }
    }

    fn step_row(&mut self, row: JobRow, command: &job::Command) -> Result<Reply, StoreError> {
        match decide(&row.job, command, self.now) {
            Err(refusal) => Ok(refused(refusal, row)),
            Ok(next) => {
                self.write(&row, &next)?;
                Ok(Reply::Job(Box::new(next)))
            }
        }
    }

    pub(super) fn step_all(
        &mut self,
        rows: Vec<JobRow>,
        command: &job::Command,
    ) -> Result<Reply, StoreError> {
        let mut changed = vec![];
        for row in rows {
            if let Reply::Job(job) = self.step_row(row, command)? {
                changed.push(*job);
            }
        }
        Ok(Reply::Jobs(changed))
    }

    fn step_held(
        &mut self,
        worker: &WorkerId,
        which: &Which,
        command: &job::Command,
    ) -> Result<Reply, StoreError> {
        const SQL: &str = "SELECT n, header FROM jobs INDEXED BY jobs_running
                           WHERE worker = ?1 AND standing = 1 ORDER BY seq";
        match which {
            Which::All => {
                let mut held = all(self.conn, "list a worker's jobs", SQL, [worker.as_str()], job_row)?;
                held.extend(all(self.conn, "list a worker's list", HELD_BY, [worker.as_str()], job_row)?);
                held.sort_by_key(|row| row.job.seq);
                self.step_all(held, command)
            }
            Which::Jobs(ids) => {
                let mut changed = vec![];
                for id in ids {
                    if let Reply::Job(job) = self.step(id, command)? {
                        changed.push(*job);
                    }
                }
                Ok(Reply::Jobs(changed))
            }
        }
    }

    /// Writes a job that became `next`, with what that entails: its counts, for one that ended its delivery, and
    /// for one that returned to the queue the end of what the last attempt left.
    pub(super) fn write(&mut self, row: &JobRow, next: &Job) -> Result<(), StoreError> {
        let held_until = self.add_delivery(row.n, next)?.and_then(|delivery| delivery.held_until());
        rows::update(self.conn, row.n, next, next.due_while_held(held_until))?;
        self.count(Some(&row.job), next);
        if let Some(batch) = &next.batch
            && row.job.is_done() != next.is_done()
        {
            self.moved.insert(batch.clone());
        }
        let waits = Standing::of(next) == Standing::Waiting && !next.is_held();
        if waits && (Standing::of(&row.job) != Standing::Waiting || row.job.is_held()) {
            self.clear_stream(row.n)?;
            if row.job.is_done() {
                self.remove_payload(Kind::Output.key(row.n))?;
            }
        }
        Ok(())
    }

    /// Counts a job that went from `before` to `next`. Tests are not counted.
    pub(super) fn count(&mut self, before: Option<&Job>, next: &Job) {
        let (from, to) = (before.map(Standing::of), Standing::of(next));
        self.mark_job(before, next);
        if next.pinned.is_some() || from == Some(to) {
            return;
        }
        let tally = match self.tallies.get_mut(&next.endpoint) {
            Some(tally) => tally,
            None => self.tallies.entry(next.endpoint.clone()).or_default(),
        };
        match from {
            Some(Standing::Waiting) => tally.waiting -= 1,
            Some(Standing::Running) => tally.running -= 1,
            _ => {}
        }
        match to {
            Standing::Draft => {}
            Standing::Waiting => tally.waiting += 1,
            Standing::Running => tally.running += 1,
            Standing::Completed => tally.completed += 1,
            Standing::Failed | Standing::TimedOut => tally.failed += 1,
            Standing::Cancelled => tally.cancelled += 1,
        }
        // Back in the queue by a loss or by hand, and not because it was given back.
        if let Some(before) = before
            && to == Standing::Waiting
            && (before.is_done() || next.lost_by.len() > before.lost_by.len())
        {
            tally.retried += 1;
        }
    }

    pub(super) fn write_tallies(&mut self) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO counts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (endpoint) DO
            UPDATE SET completed = completed + excluded.completed, failed = failed + excluded.failed,
                       retried = retried + excluded.retried, cancelled = cancelled + excluded.cancelled,
                       waiting = waiting + excluded.waiting, running = running + excluded.running";
        for (endpoint, t) in &self.tallies {
            let columns = params![
                endpoint.as_str(),
                t.completed,
                t.failed,
                t.retried,
                t.cancelled,
                t.waiting,
                t.running
            ];
            run(self.conn, "count jobs", SQL, columns)?;
        }
        Ok(())
    }
}

pub(super) fn no_such_job() -> Reply {
    Reply::Refused(Refused::NoSuchJob)
}

pub(super) fn refused(refusal: Refusal, row: JobRow) -> Reply {
    Reply::Refused(Refused::ByState(refusal, Box::new(row.job)))
}
