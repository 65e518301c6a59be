//! `Take`: waiting jobs for a worker. The index holds each lane of each queue in order, so a take reads as many
//! rows as it hands out, plus those that this incarnation has lost before.

use runyard_domain::job::{self, decide};
use runyard_domain::{EndpointId, Job, Payload, WorkerId};

use super::Batch;
use crate::sqlite::rows::{JobRow, Kind, LOW, NORMAL, job_row, payload};
use crate::sqlite::sql::{column, each};
use crate::{Reply, StoreError, Taken};

impl Batch<'_> {
    pub(super) fn take(
        &mut self,
        endpoint: &EndpointId,
        worker: &WorkerId,
        release: u32,
        pinned_only: bool,
        max: usize,
    ) -> Result<Reply, StoreError> {
        let start = job::Command::Start { worker: worker.clone(), release };
        let lanes = [i64::from(release), NORMAL, LOW];
        let mut chosen = vec![];
        for lane in if pinned_only { &lanes[..1] } else { &lanes } {
            if chosen.len() < max {
                self.choose(endpoint, *lane, &start, max, &mut chosen)?;
            }
        }
        let mut taken = Vec::with_capacity(chosen.len());
        for (before, next) in chosen {
            self.write(&before, &next)?;
            if !before.job.lost_by.is_empty() {
                // What a worker that lost the job sent while it waited is not part of the new attempt.
                self.clear_stream(before.n)?;
            }
            let (input, s3) = self.inputs(before.n)?;
            taken.push(Taken { job: next, input, s3 });
        }
        Ok(Reply::Taken(taken))
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
