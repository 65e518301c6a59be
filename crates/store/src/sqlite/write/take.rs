//! `Take`: waiting jobs for a worker. The index holds each lane of each queue in order, so a take reads as many
//! rows as it hands out, plus those that this incarnation has lost before.

use runyard_domain::job::{self, decide};
use runyard_domain::{EndpointId, Job, Payload, WorkerId};

use super::Batch;
use crate::sqlite::rows::{BATCH, JobRow, Kind, LOW, NORMAL, job_row, payload};
use crate::sqlite::sql::{column, each, first};
use crate::{AHEAD_BYTES, Reply, StoreError, TAKE_BYTES, Taken};

/// How many jobs a take gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    /// Those that start at once.
    pub(super) max: usize,
    /// Those that the worker comes to later.
    pub(super) ahead: usize,
}

impl Batch<'_> {
    pub(super) fn take(
        &mut self,
        endpoint: &EndpointId,
        worker: &WorkerId,
        release: u32,
        pinned_only: bool,
        counts: Counts,
    ) -> Result<Reply, StoreError> {
        let start = job::Command::Start { worker: worker.clone(), release };
        let lanes = [i64::from(release), NORMAL, BATCH, LOW];
        let mut chosen = vec![];
        for lane in if pinned_only { &lanes[..1] } else { &lanes } {
            if chosen.len() < counts.max {
                self.choose(endpoint, *lane, &start, counts.max, &mut chosen)?;
            }
        }
        let (mut taken, mut bytes) = (Vec::with_capacity(chosen.len()), 0);
        for (before, next) in chosen {
            if bytes >= TAKE_BYTES {
                break;
            }
            let handed = self.hand_out(&before, next)?;
            bytes += handed.input.len();
            taken.push(handed);
        }
        if taken.len() == counts.max && counts.ahead > 0 && !pinned_only {
            self.take_ahead(endpoint, worker, release, counts.ahead, &mut taken)?;
        }
        Ok(Reply::Taken(taken))
    }

    /// Adds jobs that the worker comes to later.
    fn take_ahead(
        &mut self,
        endpoint: &EndpointId,
        worker: &WorkerId,
        release: u32,
        ahead: usize,
        taken: &mut Vec<Taken>,
    ) -> Result<(), StoreError> {
        let hold = job::Command::Hold { worker: worker.clone(), release };
        let (mut chosen, mut bytes) = (vec![], 0);
        for lane in [NORMAL, BATCH] {
            if chosen.len() < ahead {
                self.choose(endpoint, lane, &hold, ahead, &mut chosen)?;
            }
        }
        for (before, next) in chosen {
            bytes += self.input_len(before.n)?;
            if bytes > AHEAD_BYTES {
                break;
            }
            taken.push(self.hand_out(&before, next)?);
        }
        Ok(())
    }

    fn hand_out(&mut self, before: &JobRow, next: Job) -> Result<Taken, StoreError> {
        self.write(before, &next)?;
        if !before.job.lost_by.is_empty() {
            // What a worker that lost the job sent while it waited is not part of the new attempt.
            self.clear_stream(before.n)?;
        }
        let (input, s3) = self.inputs(before.n)?;
        Ok(Taken { job: next, input, s3 })
    }

    fn input_len(&self, n: i64) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT len FROM payloads WHERE id = ?1";
        let len = first(self.conn, "look up an input's length", SQL, [Kind::Input.key(n)], |row| {
            column::<i64>(row, 0)
        })?;
        Ok(len.unwrap_or(0) as u64)
    }

    /// Adds jobs of one lane that may start, in order, until there are `max`.
    fn choose(
        &self,
        endpoint: &EndpointId,
        lane: i64,
        start: &job::Command,
        max: usize,
        chosen: &mut Vec<(JobRow, Job)>,
    ) -> Result<(), StoreError> {
        const SQL: &str = "SELECT n, header FROM jobs INDEXED BY jobs_waiting
                           WHERE endpoint = ?1 AND lane = ?2 AND standing = 0 ORDER BY seq";
        each(self.conn, "look for waiting jobs", SQL, (endpoint.as_str(), lane), |row| {
            let before = job_row(row)?;
            if let Ok(next) = decide(&before.job, start, self.now) {
                chosen.push((before, next));
            }
            Ok(chosen.len() < max)
        })
    }

    /// What goes to the worker beside the job.
    fn inputs(&self, n: i64) -> Result<(Payload, Option<Payload>), StoreError> {
        const SQL: &str = "SELECT id, bytes, file, len FROM payloads WHERE id BETWEEN ?1 AND ?2";
        let (from, to) = (Kind::Input.key(n), Kind::S3.key(n));
        let (mut input, mut s3) = (Payload::inline(""), None);
        each(self.conn, "load a job's input", SQL, (from, to), |row| {
            if column::<i64>(row, 0)? == from {
                input = payload(row, 1)?;
            } else {
                s3 = Some(payload(row, 1)?);
            }
            Ok(true)
        })?;
        Ok((input, s3))
    }
}
