//! What the commands about batches do to the model, and the queries about them.

use runyard_domain::batch::{Batch, BatchEnd, BatchRefusal, BatchState, MAX_ACTIVE};
use runyard_domain::{BatchCounts, BatchId, EndpointId, Job, JobId, Phase, Timestamp, job};

use super::State;
use crate::command::{BATCH_SLICE, LOOK_AGAIN_MS};
use crate::{BatchChange, Reply, Standing, Submission};

/// A call with an idempotency key: the batch, and the jobs that it added.
pub(super) type Call = (BatchId, Vec<JobId>);

impl State {
    pub(super) fn make_batch(
        &mut self,
        now: Timestamp,
        made: &Batch,
        requests: &[Submission],
        key: Option<&String>,
    ) -> Reply {
        let scope = made.endpoint.as_str();
        if let Some(reply) = self.repeated_call(scope, key) {
            return reply;
        }
        if let Some(batch) = self.batch(&made.id) {
            return changed(batch, vec![], true);
        }
        let of_endpoint = self.batches.iter().filter(|b| b.endpoint == made.endpoint);
        if of_endpoint.filter(|b| b.is_active()).count() >= MAX_ACTIVE {
            return Reply::BatchRefused(BatchRefusal::TooManyActive);
        }
        match made.added(0, requests.len(), now) {
            Ok(batch) => {
                self.batches.push(batch.clone());
                self.add_requests(now, batch, requests, scope, key)
            }
            Err(refusal) => Reply::BatchRefused(refusal),
        }
    }

    pub(super) fn add_to_batch(
        &mut self,
        now: Timestamp,
        id: &BatchId,
        requests: &[Submission],
        key: Option<&String>,
    ) -> Reply {
        if let Some(reply) = self.repeated_call(id.as_str(), key) {
            return reply;
        }
        let Some(batch) = self.batch(id) else { return Reply::BatchRefused(BatchRefusal::NoSuchBatch) };
        let has = self.batch_counts(id).total() as usize;
        match batch.added(has, requests.len(), now) {
            Ok(batch) => {
                self.put_batch(&batch);
                self.add_requests(now, batch, requests, id.as_str(), key)
            }
            Err(refusal) => Reply::BatchRefused(refusal),
        }
    }

    fn add_requests(
        &mut self,
        now: Timestamp,
        batch: Batch,
        requests: &[Submission],
        scope: &str,
        key: Option<&String>,
    ) -> Reply {
        let mut jobs = vec![];
        for request in requests {
            if let Reply::Submitted { job, existing: false } = self.submit(now, request) {
                jobs.push(*job);
            }
        }
        if let Some(key) = key {
            let call = (batch.id.clone(), jobs.iter().map(|job| job.id.clone()).collect());
            self.batch_calls.insert((scope.to_owned(), key.clone()), call);
        }
        changed(batch, jobs, false)
    }

    fn repeated_call(&self, scope: &str, key: Option<&String>) -> Option<Reply> {
        let (id, jobs) = self.batch_calls.get(&(scope.to_owned(), key?.clone()))?;
        let batch = self.batch(id)?;
        let jobs = jobs.iter().filter_map(|id| Some(self.jobs.get(id)?.job.clone())).collect();
        Some(changed(batch, jobs, true))
    }

    pub(super) fn finalize_batch(&mut self, now: Timestamp, id: &BatchId) -> Reply {
        let Some(batch) = self.batch(id) else { return Reply::BatchRefused(BatchRefusal::NoSuchBatch) };
        let next = match batch.finalized(now) {
            Ok(next) => next,
            Err(refusal) => return Reply::BatchRefused(refusal),
        };
        let drafts = self.drafts(id);
        if !batch.is_draft() && drafts.is_empty() {
            return changed(next, vec![], true);
        }
        self.move_slice(now, &next, &drafts, &job::Command::Release)
    }

    pub(super) fn cancel_batch(&mut self, now: Timestamp, id: &BatchId, by: &str) -> Reply {
        let Some(batch) = self.batch(id) else { return Reply::BatchRefused(BatchRefusal::NoSuchBatch) };
        let next = batch.cancelled(by, now);
        let live =
            if next.is_cancelled() { self.jobs_of_batch(id, |job| !job.is_done()) } else { Vec::new() };
        if !batch.is_active() && live.is_empty() {
            return changed(next, vec![], true);
        }
        self.move_slice(now, &next, &live, &job::Command::Cancel { by: by.to_owned() })
    }

    fn drafts(&self, id: &BatchId) -> Vec<JobId> {
        self.jobs_of_batch(id, |job| matches!(job.phase, Phase::Draft { .. }))
    }

    /// Moves the first of these jobs; while there are more, the batch is due.
    fn move_slice(&mut self, now: Timestamp, batch: &Batch, jobs: &[JobId], command: &job::Command) -> Reply {
        let moved = self.step_jobs(now, &jobs[..jobs.len().min(BATCH_SLICE)], command);
        let batch = batch.settled(&self.batch_counts(&batch.id), now);
        self.put_batch(&batch);
        self.kept_batches.remove(&batch.id);
        if jobs.len() > BATCH_SLICE {
            self.kept_batches.insert(batch.id.clone(), now);
        }
        changed(batch, moved, false)
    }

    pub(super) fn change_batch(&mut self, now: Timestamp, id: &BatchId, change: &BatchChange) -> Reply {
        let Some(batch) = self.batch(id) else { return Reply::BatchRefused(BatchRefusal::NoSuchBatch) };
        let next = match change {
            BatchChange::Rename(name) => {
                let next = Batch { name: name.clone(), ..batch };
                self.batches.iter_mut().filter(|b| b.id == *id).for_each(|b| b.clone_from(&next));
                return changed(next, vec![], false);
            }
            BatchChange::Remove(job) => {
                if self.jobs.get(job).is_none_or(|e| e.job.batch.as_ref() != Some(id)) {
                    return Reply::BatchRefused(BatchRefusal::NoSuchRequest);
                }
                match batch.touched(now) {
                    Ok(next) => {
                        self.jobs.remove(job);
                        self.deliveries.retain(|_, d| d.job != *job);
                        next
                    }
                    Err(refusal) => return Reply::BatchRefused(refusal),
                }
            }
        };
        self.put_batch(&next);
        changed(next, vec![], false)
    }

    pub(super) fn expire_batch(&mut self, now: Timestamp, id: &BatchId) -> Reply {
        let Some(batch) = self.batch(id) else { return Reply::BatchRefused(BatchRefusal::NoSuchBatch) };
        if self.batch_due_at(&batch) > now {
            return Reply::Nothing;
        }
        match &batch.state {
            BatchState::Draft { .. } => self.cancel_batch(now, id, "draft expired"),
            BatchState::Finalized { .. } => {
                let drafts = self.drafts(id);
                self.move_slice(now, &batch, &drafts, &job::Command::Release)
            }
            BatchState::Ended { how: BatchEnd::Cancelled { by }, .. } if batch.due_at() > now => {
                let live = self.jobs_of_batch(id, |job| !job.is_done());
                self.move_slice(now, &batch, &live, &job::Command::Cancel { by: by.clone() })
            }
            BatchState::Ended { .. } => self.forget_batch(now, id),
        }
    }

    fn forget_batch(&mut self, now: Timestamp, id: &BatchId) -> Reply {
        let jobs = self.jobs_of_batch(id, |_| true);
        let lives = jobs.iter().any(|job| !self.jobs[job].job.is_done());
        let held = jobs.iter().filter_map(|job| self.held_until(job)).max().filter(|until| *until > now);
        if let Some(until) = if lives { Some(now.plus(LOOK_AGAIN_MS)) } else { held } {
            self.kept_batches.insert(id.clone(), until);
            return Reply::Nothing;
        }
        let slice = &jobs[..jobs.len().min(BATCH_SLICE)];
        for job in slice {
            self.jobs.remove(job);
        }
        self.deliveries.retain(|_, d| !slice.contains(&d.job));
        if slice.len() == jobs.len() {
            self.batches.retain(|b| b.id != *id);
            self.batch_calls.retain(|_, (batch, _)| batch != id);
        }
        Reply::Nothing
    }

    pub(super) fn settle_batches(&mut self, now: Timestamp) {
        for batch in self.batches.clone() {
            self.put_batch(&batch.settled(&self.batch_counts(&batch.id), now));
        }
    }

    pub(super) fn drop_batches(&mut self, endpoint: &EndpointId) {
        self.batches.retain(|b| b.endpoint != *endpoint);
        let left: Vec<BatchId> = self.batches.iter().map(|b| b.id.clone()).collect();
        self.batch_calls.retain(|_, (batch, _)| left.contains(batch));
    }

    /// When the clock changes a batch.
    pub(super) fn batch_due_at(&self, batch: &Batch) -> Timestamp {
        self.kept_batches.get(&batch.id).copied().unwrap_or_else(|| batch.due_at())
    }

    pub(super) fn batch(&self, id: &BatchId) -> Option<Batch> {
        self.batches.iter().find(|b| b.id == *id).cloned()
    }

    pub(super) fn batch_counts(&self, id: &BatchId) -> BatchCounts {
        let mut counts = BatchCounts::default();
        for entry in self.jobs.values().filter(|e| e.job.batch.as_ref() == Some(id)) {
            match Standing::of(&entry.job) {
                Standing::Draft | Standing::Waiting => counts.waiting += 1,
                Standing::Running => counts.running += 1,
                Standing::Completed => counts.completed += 1,
                Standing::Failed | Standing::TimedOut => counts.failed += 1,
                Standing::Cancelled => {
                    counts.failed += 1;
                    counts.cancelled += 1;
                }
            }
        }
        counts
    }

    /// Those of a batch's jobs that `pick` picks, in the order in which they were added.
    pub(super) fn jobs_of_batch(&self, id: &BatchId, pick: impl Fn(&Job) -> bool) -> Vec<JobId> {
        let of_batch = self.jobs.values().filter(|e| e.job.batch.as_ref() == Some(id));
        let mut picked: Vec<_> = of_batch.filter(|e| pick(&e.job)).collect();
        picked.sort_by_key(|e| e.place);
        picked.into_iter().map(|e| e.job.id.clone()).collect()
    }

    fn put_batch(&mut self, batch: &Batch) {
        if let Some(found) = self.batches.iter_mut().find(|b| b.id == batch.id)
            && found != batch
        {
            self.kept_batches.remove(&batch.id);
            found.clone_from(batch);
        }
    }

    fn step_jobs(&mut self, now: Timestamp, ids: &[JobId], command: &job::Command) -> Vec<Job> {
        match self.decide_all(now, ids, command) {
            Reply::Jobs(jobs) => jobs,
            _ => vec![],
        }
    }
}

fn changed(batch: Batch, jobs: Vec<Job>, existing: bool) -> Reply {
    Reply::Batch { batch: Box::new(batch), jobs, existing }
}
