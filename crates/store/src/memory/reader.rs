//! Queries on the model.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use runyard_domain::git::Connection;
use runyard_domain::registry::Registry;
use runyard_domain::worker::WorkerState;
use runyard_domain::{
    AuditFilter, AuditRecord, Batch, BatchCounts, BatchId, ConnectionId, DataKeyRecord, Delivery, Endpoint,
    EndpointId, Example, FailureGroup, Job, JobId, KeyRecord, Member, Payload, Phase, Release, Resource,
    ResourceId, SecretRecord, Timestamp, WorkerId, WorkerRecord,
};
use runyard_metrics::{Grain, Interval, Row, Subject};

use super::{Entry, State};
use crate::{Chunk, Counts, Filter, Reader, Standing, StoreError};

#[derive(Debug)]
pub(super) struct MemoryReader {
    pub(super) state: Arc<RwLock<State>>,
}

impl MemoryReader {
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_job<T>(&self, id: &JobId, get: impl Fn(&Entry) -> Option<T>) -> Option<T> {
        self.state().jobs.get(id).and_then(get)
    }
}

impl Reader for MemoryReader {
    fn job(&self, id: &JobId) -> Result<Option<Job>, StoreError> {
        Ok(self.of_job(id, |e| Some(e.job.clone())))
    }

    fn input(&self, id: &JobId) -> Result<Option<Payload>, StoreError> {
        Ok(self.of_job(id, |e| Some(e.input.clone())))
    }

    fn s3(&self, id: &JobId) -> Result<Option<Payload>, StoreError> {
        Ok(self.of_job(id, |e| e.s3.clone()))
    }

    fn output(&self, id: &JobId) -> Result<Option<Payload>, StoreError> {
        Ok(self.of_job(id, |e| e.output.clone()))
    }

    fn progress(&self, id: &JobId) -> Result<Option<Payload>, StoreError> {
        Ok(self.of_job(id, |e| e.progress.clone()))
    }

    fn undelivered(&self, id: &JobId, max_bytes: u64) -> Result<(Vec<Chunk>, bool), StoreError> {
        let state = self.state();
        let Some(entry) = state.jobs.get(id) else { return Ok((vec![], false)) };
        let (mut chunks, mut bytes) = (vec![], 0);
        for (index, value) in (0..).zip(&entry.chunks).skip(entry.delivered as usize) {
            bytes += value.len();
            if bytes > max_bytes && !chunks.is_empty() {
                return Ok((chunks, true));
            }
            chunks.push(Chunk { index, value: value.clone() });
        }
        Ok((chunks, false))
    }

    fn jobs(&self, filter: &Filter) -> Result<Vec<Job>, StoreError> {
        let state = self.state();
        let place = |e: &Entry| (e.job.submitted_at, e.place);
        let mut found: Vec<&Entry> = state.jobs.values().collect();
        if let Some(id) = &filter.before {
            let Some(before) = state.jobs.get(id).map(place) else { return Ok(vec![]) };
            found.retain(|e| place(e) < before);
        }
        found.retain(|e| filter.endpoint.as_ref().is_none_or(|endpoint| e.job.endpoint == *endpoint));
        found.retain(|e| filter.standing.is_none_or(|standing| Standing::of(&e.job) == standing));
        found.retain(|e| filter.since.is_none_or(|since| e.job.submitted_at >= since));
        found.retain(|e| filter.until.is_none_or(|until| e.job.submitted_at < until));
        found.retain(|e| filter.ended_since.is_none_or(|since| e.job.ended_at() >= Some(since)));
        let ended_before = |e: &Entry, until| e.job.ended_at().is_some_and(|at| at < until);
        found.retain(|e| filter.ended_until.is_none_or(|until| ended_before(e, until)));
        found.retain(|e| !filter.no_tests || e.job.pinned.is_none());
        found.sort_by_key(|e| std::cmp::Reverse(place(e)));
        Ok(found.into_iter().take(filter.page()).map(|e| e.job.clone()).collect())
    }

    fn live(&self) -> Result<Vec<Job>, StoreError> {
        let state = self.state();
        let live = state.select(|job| !job.is_done() && !matches!(job.phase, Phase::Draft { .. }));
        Ok(live.iter().map(|id| state.jobs[id].job.clone()).collect())
    }

    fn counts(&self, endpoint: &EndpointId) -> Result<Counts, StoreError> {
        let state = self.state();
        let standing = |standing| {
            let of = |j: &Job| j.endpoint == *endpoint && j.pinned.is_none() && Standing::of(j) == standing;
            state.select(of).len() as u64
        };
        let (waiting, running) = (standing(Standing::Waiting), standing(Standing::Running));
        Ok(Counts { waiting, running, ..state.counts.get(endpoint).copied().unwrap_or_default() })
    }

    fn deliveries(&self, job: &JobId) -> Result<Vec<Delivery>, StoreError> {
        Ok(self.state().deliveries.values().filter(|d| d.job == *job).cloned().collect())
    }

    fn pending_deliveries(&self, without: &[String], limit: usize) -> Result<Vec<Delivery>, StoreError> {
        let state = self.state();
        let mut pending: Vec<&Delivery> = state.deliveries.values().collect();
        pending.retain(|d| d.next_at().is_some() && !without.contains(&d.destination()));
        pending.sort_by_key(|d| (d.next_at(), d.seq));
        Ok(pending.into_iter().take(limit).cloned().collect())
    }

    fn batch(&self, id: &BatchId) -> Result<Option<(Batch, BatchCounts)>, StoreError> {
        let state = self.state();
        Ok(state.batch(id).map(|batch| (batch, state.batch_counts(id))))
    }

    fn batches(
        &self,
        endpoint: &EndpointId,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<(Batch, BatchCounts)>, StoreError> {
        let state = self.state();
        let of_endpoint = state.batches.iter().rev().filter(|b| b.endpoint == *endpoint);
        let page = of_endpoint.skip(offset).take(limit);
        Ok(page.map(|b| (b.clone(), state.batch_counts(&b.id))).collect())
    }

    fn batch_jobs(&self, id: &BatchId, offset: usize, limit: usize) -> Result<Vec<Job>, StoreError> {
        let state = self.state();
        let page = state.jobs_of_batch(id, |_| true).into_iter().skip(offset).take(limit);
        Ok(page.map(|id| state.jobs[&id].job.clone()).collect())
    }

    fn due_batches(&self, now: Timestamp, limit: usize) -> Result<Vec<BatchId>, StoreError> {
        let state = self.state();
        let mut due: Vec<&Batch> = state.batches.iter().filter(|b| state.batch_due_at(b) <= now).collect();
        due.sort_by_key(|b| state.batch_due_at(b));
        Ok(due.into_iter().take(limit).map(|b| b.id.clone()).collect())
    }

    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, StoreError> {
        let state = self.state();
        let mut due: Vec<&Entry> = state.jobs.values().filter(|e| state.due_at(&e.job) <= now).collect();
        due.sort_by_key(|e| (state.due_at(&e.job), e.place));
        Ok(due.into_iter().take(limit).map(|e| e.job.id.clone()).collect())
    }

    fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let state = self.state();
        let batches = state.batches.iter().map(|b| state.batch_due_at(b));
        Ok(state.jobs.values().map(|e| state.due_at(&e.job)).chain(batches).min())
    }

    fn endpoints(&self) -> Result<Vec<Endpoint>, StoreError> {
        let mut all: Vec<Endpoint> = self.state().endpoints.values().cloned().collect();
        all.sort_by_key(|e| (e.name.clone(), e.id.clone()));
        Ok(all)
    }

    fn releases(&self, endpoint: &EndpointId) -> Result<Vec<Release>, StoreError> {
        let state = self.state();
        Ok(state.releases.values().rev().filter(|r| r.endpoint == *endpoint).cloned().collect())
    }

    fn workers(&self, endpoint: Option<&EndpointId>, limit: usize) -> Result<Vec<WorkerRecord>, StoreError> {
        let mut all: Vec<WorkerRecord> = self.state().workers.values().cloned().collect();
        all.retain(|w| endpoint.is_none_or(|endpoint| w.endpoint == *endpoint));
        all.sort_by_key(|w| std::cmp::Reverse((w.state != WorkerState::Gone, w.created_at, w.id.clone())));
        all.truncate(limit);
        Ok(all)
    }

    fn worker(&self, id: &WorkerId) -> Result<Option<WorkerRecord>, StoreError> {
        Ok(self.state().workers.get(id).cloned())
    }

    fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let mut all: Vec<KeyRecord> = self.state().keys.values().cloned().collect();
        all.sort_by_key(|k| (k.created_at, k.id.clone()));
        Ok(all)
    }

    fn members(&self) -> Result<Vec<Member>, StoreError> {
        let mut all: Vec<Member> = self.state().members.values().cloned().collect();
        all.sort_by_key(|m| (m.created_at, m.id.clone()));
        Ok(all)
    }

    fn connections(&self) -> Result<Vec<Connection>, StoreError> {
        Ok(self.state().connections.values().cloned().collect())
    }

    fn connection(&self, id: &ConnectionId) -> Result<Option<Connection>, StoreError> {
        Ok(self.state().connections.get(id).cloned())
    }

    fn registries(&self) -> Result<Vec<Registry>, StoreError> {
        Ok(self.state().registries.values().cloned().collect())
    }

    fn resources(&self) -> Result<Vec<Resource>, StoreError> {
        Ok(self.state().resources.values().cloned().collect())
    }

    fn resource(&self, id: &ResourceId) -> Result<Option<Resource>, StoreError> {
        Ok(self.state().resources.get(id).cloned())
    }

    fn examples(&self, endpoint: &EndpointId) -> Result<Vec<Example>, StoreError> {
        let state = self.state();
        let own = state.examples.values().filter(|example| example.endpoint == *endpoint);
        Ok(own.cloned().collect())
    }

    fn secrets(&self) -> Result<Vec<SecretRecord>, StoreError> {
        Ok(self.state().secrets.values().cloned().collect())
    }

    fn secret(&self, name: &str) -> Result<Option<SecretRecord>, StoreError> {
        Ok(self.state().secrets.get(name).cloned())
    }

    fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRecord>, StoreError> {
        let state = self.state();
        Ok(state
            .audit
            .iter()
            .rev()
            .filter(|record| filter.fits(record))
            .take(filter.limit)
            .cloned()
            .collect())
    }

    fn data_keys(&self) -> Result<Vec<DataKeyRecord>, StoreError> {
        Ok(self.state().data_keys.values().cloned().collect())
    }

    fn intervals(
        &self,
        subject: &Subject,
        grain: Grain,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Row>, StoreError> {
        Ok(self.state().rows(subject, grain, since, until))
    }

    fn failures(&self, endpoint: &EndpointId) -> Result<Vec<FailureGroup>, StoreError> {
        Ok(self.state().failures_of(endpoint))
    }

    fn totals(&self) -> Result<Vec<(Subject, Interval)>, StoreError> {
        Ok(self.state().metric_totals())
    }
}
