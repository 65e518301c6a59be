//! `Submit`: a new job with its payloads, once per id and once per idempotency key. `Repeat`: the first one of such a
//! key.

use runyard_domain::{EndpointId, Job};
use runyard_metrics::count;

use super::Batch;
use crate::sqlite::rows::{self, JobRow, Kind, job_row};
use crate::sqlite::sql::{first, run};
use crate::{Reply, StoreError, Submission};

impl Batch<'_> {
    pub(super) fn submit(&mut self, submission: &Submission) -> Result<Reply, StoreError> {
        if let Some(key) = &submission.idempotency_key
            && let Some(first) = self.by_key(&submission.job.endpoint, key)?
        {
            return Ok(self.existing(submission, first));
        }
        let job = Job { seq: self.next_seq, ..submission.job.clone() };
        if !rows::insert(self.conn, &job)?
            && let Some(first) = rows::load(self.conn, &job.id)?
        {
            return Ok(self.existing(submission, first));
        }
        self.next_seq += 1;
        let n = job.seq as i64;
        self.add_payload(Kind::Input.key(n), &submission.input)?;
        if let Some(s3) = &submission.s3 {
            self.add_payload(Kind::S3.key(n), s3)?;
        }
        if let Some(key) = &submission.idempotency_key {
            const SQL: &str = "INSERT INTO idempotency (endpoint, key, job) VALUES (?1, ?2, ?3)";
            run(self.conn, "keep an idempotency key", SQL, (job.endpoint.as_str(), key, n))?;
        }
        self.count(None, &job);
        count::input(self.marks_of(&job.endpoint), &job, submission.input.len());
        Ok(Reply::Submitted { job: Box::new(job), existing: false })
    }

    pub(super) fn repeat(&self, endpoint: &EndpointId, key: &str) -> Result<Reply, StoreError> {
        Ok(self.by_key(endpoint, key)?.map_or(Reply::Nothing, made_earlier))
    }

    fn by_key(&self, endpoint: &EndpointId, key: &str) -> Result<Option<JobRow>, StoreError> {
        const SQL: &str = "SELECT jobs.n, jobs.header FROM idempotency JOIN jobs ON jobs.n = idempotency.job
                           WHERE idempotency.endpoint = ?1 AND idempotency.key = ?2";
        first(self.conn, "look up an idempotency key", SQL, (endpoint.as_str(), key), job_row)
    }

    fn existing(&mut self, submission: &Submission, first: JobRow) -> Reply {
        self.let_go(Some(&submission.input));
        self.let_go(submission.s3.as_ref());
        made_earlier(first)
    }
}

fn made_earlier(first: JobRow) -> Reply {
    Reply::Submitted { job: Box::new(first.job), existing: true }
}
