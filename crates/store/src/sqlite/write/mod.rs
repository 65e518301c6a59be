//! A batch of commands inside the writer's transaction. Each command loads what it names, asks `domain` what
//! becomes of it, and writes that; commands of one batch see each other. One file per kind of command.

mod batches;
mod deliver;
mod drop;
mod failures;
mod metrics;
mod output;
mod records;
mod secrets;
mod step;
mod submit;
mod take;

use std::collections::{HashMap, HashSet};

use runyard_domain::{BatchId, EndpointId, Job, Payload, Timestamp};
use runyard_metrics::Interval;
use rusqlite::Connection;

use super::rows::is_named;
use super::sql::{column, first, run};
use crate::{Command, Reply, StoreError};
pub(super) use metrics::Current;
use step::Tally;
use take::Counts;

/// The transaction so far.
pub(super) struct Batch<'a> {
    conn: &'a Connection,
    now: Timestamp,
    next_seq: u64,
    /// How the counts of each endpoint changed.
    tallies: HashMap<EndpointId, Tally>,
    /// What was counted of each endpoint.
    marks: HashMap<EndpointId, Interval>,
    current: &'a mut Current,
    /// Jobs that failed, with their fingerprints.
    failed: Vec<(String, Job)>,
    /// Files that may have lost the last row that names them.
    loose: HashSet<String>,
    /// Batches whose jobs moved.
    moved: HashSet<BatchId>,
    /// The jobs themselves do not show any more which numbers were given out.
    keep_number: bool,
}

/// What is left to do when the transaction is committed.
pub(super) struct End {
    /// The next `seq` to give out.
    pub(super) next_seq: u64,
    /// Files that no row names any more.
    pub(super) unnamed: HashSet<String>,
}

/// The next `seq` of a database that was just opened.
pub(super) fn next_seq(conn: &Connection) -> Result<u64, StoreError> {
    const SQL: &str = "SELECT max(coalesce((SELECT value FROM numbers WHERE name = 'next_seq'), 1),
                                  coalesce((SELECT max(n) + 1 FROM jobs), 1))";
    let next = first(conn, "read the next job number", SQL, [], |row| column::<i64>(row, 0))?;
    Ok(next.unwrap_or(1) as u64)
}

impl<'a> Batch<'a> {
    pub(super) fn new(conn: &'a Connection, now: Timestamp, next_seq: u64, current: &'a mut Current) -> Self {
        let (tallies, marks) = (HashMap::new(), HashMap::new());
        let (loose, moved) = (HashSet::new(), HashSet::new());
        let failed = Vec::new();
        Self { conn, now, next_seq, tallies, marks, current, failed, loose, moved, keep_number: false }
    }

    /// Decides and writes one command.
    pub(super) fn apply(&mut self, command: &Command) -> Result<Reply, StoreError> {
        match command {
            Command::Submit(submission) => self.submit(submission),
            Command::Repeat { endpoint, key } => self.repeat(endpoint, key),
            Command::Take { endpoint, worker, release, pinned_only, max, ahead } => {
                let counts = Counts { max: *max, ahead: *ahead };
                self.take(endpoint, worker, *release, *pinned_only, counts)
            }
            Command::Begin { job, worker } => self.begin(job, worker),
            Command::CallBack { worker } => self.call_back(worker),
            Command::Finish { job, worker, answer, output, posted } => {
                let (worker, answer) = (worker.clone(), answer.clone());
                self.finish(
                    job,
                    &runyard_domain::job::Command::Finish { worker, answer, posted: *posted },
                    output.as_ref(),
                )
            }
            Command::Progress { job, worker, value } => self.progress(job, worker, value),
            Command::Chunk { job, worker, number, value } => self.chunk(job, worker, *number, value),
            Command::Delivered { job, upto } => self.delivered(job, *upto),
            Command::Lose { worker, which, loss } => self.lose(worker, which, loss),
            Command::GiveBack { worker, which } => self.give_back(worker, which),
            Command::Cancel { job, by } => self.cancel(job, by),
            Command::Purge { endpoint, by } => self.purge(endpoint, by),
            Command::Tried { delivery, tried, again } => self.tried(delivery, tried, *again),
            Command::Redeliver(delivery) => self.redeliver(delivery),
            Command::Retry { job } => self.retry(job),
            Command::SetTtl { job, ttl_ms } => self.set_ttl(job, *ttl_ms),
            Command::Expire { job } => self.expire(job),
            Command::MakeBatch { batch, requests, idempotency_key } => {
                self.make_batch(batch, requests, idempotency_key.as_deref())
            }
            Command::AddToBatch { batch, requests, idempotency_key } => {
                self.add_to_batch(batch, requests, idempotency_key.as_deref())
            }
            Command::FinalizeBatch(batch) => self.finalize_batch(batch),
            Command::CancelBatch { batch, by } => self.cancel_batch(batch, by),
            Command::ChangeBatch { batch, change } => self.change_batch(batch, change),
            Command::ExpireBatch(batch) => self.expire_batch(batch),
            Command::PutEndpoint(record) => self.put_endpoint(record),
            Command::DropEndpoint(id) => self.drop_endpoint(id),
            Command::PutRelease(record) => self.put_release(record),
            Command::PutWorker(record) => self.put_worker(record),
            Command::PutKey(record) => self.put_key(record),
            Command::PutConnection(record) => self.put_connection(record),
            Command::DropConnection(id) => self.drop_connection(id),
            Command::PutRegistry(record) => self.put_registry(record),
            Command::DropRegistry(name) => self.drop_registry(name),
            Command::PutResource(record) => self.put_resource(record),
            Command::DropResource(id) => self.drop_resource(id),
            Command::PutExample(record) => self.put_example(record),
            Command::DropExample(endpoint, name) => self.drop_example(endpoint, name),
            Command::PutSecret(record) => self.put_secret(record),
            Command::DropSecret(name) => self.drop_secret(name),
            Command::UseSecrets { names, at } => self.use_secrets(names, *at),
            Command::PutDataKeys(records) => self.put_data_keys(records),
            Command::PutAudit(record) => self.put_audit(record),
            Command::Recorded { command, record } => {
                let reply = self.apply(command)?;
                if reply.is_change() {
                    self.put_audit(record)?;
                }
                Ok(reply)
            }
            Command::PutMember(record) => self.put_member(record),
            Command::DropMember(id) => self.drop_member(id),
            Command::DropKeys(ids) => self.drop_keys(ids),
            Command::UseKeys(uses) => self.use_keys(uses),
            Command::Measure(points) => self.measure(points),
        }
    }

    /// Writes what was gathered over the batch.
    pub(super) fn end(mut self) -> Result<End, StoreError> {
        self.settle_batches()?;
        self.write_tallies()?;
        self.write_marks()?;
        self.write_failures()?;
        if self.keep_number {
            run(
                self.conn,
                "keep the next job number",
                "INSERT OR REPLACE INTO numbers (name, value) VALUES ('next_seq', ?1)",
                [self.next_seq as i64],
            )?;
        }
        let mut unnamed = HashSet::new();
        for file in self.loose.drain() {
            if !is_named(self.conn, &file)? {
                unnamed.insert(file);
            }
        }
        Ok(End { next_seq: self.next_seq, unnamed })
    }

    /// A payload that came with a command and is not kept: its file has no other owner.
    fn let_go(&mut self, payload: Option<&Payload>) {
        if let Some(Payload::File { name, .. }) = payload {
            self.loose.insert(name.clone());
        }
    }
}
