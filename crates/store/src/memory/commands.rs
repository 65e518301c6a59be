//! What each command does to the maps of the model.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use runyard_domain::delivery::Try;
use runyard_domain::job::{self, Refusal, decide};
use runyard_domain::worker::WorkerState;
use runyard_domain::{
    AuditRecord, Delivery, DeliveryId, EndpointId, Job, JobId, Payload, Timestamp, WorkerId, WorkerRecord,
    audit,
};
use runyard_metrics::{Interval, count};

use super::{Entry, State};
use crate::command::output_refusal;
use crate::sqlite::GONE_WORKERS_KEPT;
use crate::{AHEAD_BYTES, Command, Refused, Reply, Standing, Submission, TAKE_BYTES, Taken, Which};

impl State {
    pub(super) fn apply(&mut self, now: Timestamp, command: &Command) -> Reply {
        match command {
            Command::Submit(submission) => self.submit(now, submission),
            Command::Repeat { endpoint, key } => self.repeat(endpoint, key),
            Command::Take { endpoint, worker, release, pinned_only, max, ahead } => {
                let start = job::Command::Start { worker: worker.clone(), release: *release };
                let mut taken = self.take(now, endpoint, *pinned_only, &start, *max);
                if taken.len() == *max && !*pinned_only {
                    let hold = job::Command::Hold { worker: worker.clone(), release: *release };
                    taken.extend(self.take_ahead(now, endpoint, &hold, *ahead));
                }
                Reply::Taken(taken)
            }
            Command::Begin { job, worker } => {
                self.decide_one(now, job, &job::Command::Begin { worker: worker.clone() })
            }
            Command::CallBack { worker } => {
                let call_back = job::Command::CallBack { worker: worker.clone() };
                self.decide_all(now, &self.held(worker, &Which::All), &call_back)
            }
            Command::Finish { job, worker, answer, output, posted } => {
                let (worker, answer) = (worker.clone(), answer.clone());
                let finish = job::Command::Finish { worker, answer, posted: *posted };
                let reply = self.decide_one(now, job, &finish);
                if let (Reply::Job(done), Some(entry)) = (&reply, self.jobs.get_mut(job)) {
                    entry.output.clone_from(output);
                    let bytes = output.as_ref().map_or(0, Payload::len);
                    self.mark_with(now, done, |marks| count::output(marks, done, bytes));
                }
                reply
            }
            Command::Progress { job, worker, value } => self.progress(job, worker, value),
            Command::Chunk { job, worker, number, value } => self.chunk(now, job, worker, *number, value),
            Command::Delivered { job, upto } => {
                if let Some(entry) = self.jobs.get_mut(job) {
                    let upto = upto.saturating_add(1).min(entry.chunks.len() as u64);
                    entry.delivered = entry.delivered.max(upto);
                }
                Reply::Nothing
            }
            Command::Lose { worker, which, loss } => {
                let lose = job::Command::Lose { worker: worker.clone(), loss: loss.clone() };
                self.decide_all(now, &self.held(worker, which), &lose)
            }
            Command::GiveBack { worker, which } => {
                let give_back = job::Command::GiveBack { worker: worker.clone() };
                self.decide_all(now, &self.held(worker, which), &give_back)
            }
            Command::Cancel { job, by } => {
                self.decide_one(now, job, &job::Command::Cancel { by: by.clone() })
            }
            Command::Purge { endpoint, by } => {
                let waiting =
                    self.select(|j| j.endpoint == *endpoint && Standing::of(j) == Standing::Waiting);
                self.decide_all(now, &waiting, &job::Command::Cancel { by: by.clone() })
            }
            Command::Tried { delivery, tried, again } => self.tried(now, delivery, tried, *again),
            Command::Redeliver(delivery) => self.redeliver(now, delivery),
            Command::Retry { job } => self.retry(now, job),
            Command::SetTtl { job, ttl_ms } => {
                self.decide_one(now, job, &job::Command::SetTtl { ttl_ms: *ttl_ms })
            }
            Command::Expire { job } => self.expire(now, job),
            Command::MakeBatch { batch, requests, idempotency_key } => {
                self.make_batch(now, batch, requests, idempotency_key.as_ref())
            }
            Command::AddToBatch { batch, requests, idempotency_key } => {
                self.add_to_batch(now, batch, requests, idempotency_key.as_ref())
            }
            Command::FinalizeBatch(batch) => self.finalize_batch(now, batch),
            Command::CancelBatch { batch, by } => self.cancel_batch(now, batch, by),
            Command::ChangeBatch { batch, change } => self.change_batch(now, batch, change),
            Command::ExpireBatch(batch) => self.expire_batch(now, batch),
            Command::DropEndpoint(id) => self.drop_endpoint(id),
            Command::PutEndpoint(record) => {
                self.endpoints.insert(record.id.clone(), (**record).clone());
                Reply::Nothing
            }
            Command::PutRelease(record) => {
                self.releases.insert((record.endpoint.clone(), record.number), (**record).clone());
                Reply::Nothing
            }
            Command::PutWorker(record) => self.put_worker(now, record),
            Command::PutKey(record) => {
                self.keys.insert(record.id.clone(), (**record).clone());
                Reply::Nothing
            }
            Command::PutConnection(record) => {
                self.connections.retain(|_, other| other.endpoint != record.endpoint);
                self.connections.insert(record.id.clone(), (**record).clone());
                Reply::Nothing
            }
            Command::DropConnection(id) => {
                self.connections.remove(id);
                Reply::Nothing
            }
            Command::PutRegistry(record) => {
                self.registries.insert(record.name.clone(), (**record).clone());
                Reply::Nothing
            }
            Command::DropRegistry(name) => {
                self.registries.remove(name);
                Reply::Nothing
            }
            Command::PutResource(record) => {
                self.resources.insert(record.id.clone(), (**record).clone());
                Reply::Nothing
            }
            Command::DropResource(id) => {
                self.resources.remove(id);
                Reply::Nothing
            }
            Command::PutExample(record) => {
                self.examples.insert((record.endpoint.clone(), record.name.clone()), (**record).clone());
                Reply::Nothing
            }
            Command::DropExample(endpoint, name) => {
                self.examples.remove(&(endpoint.clone(), name.clone()));
                Reply::Nothing
            }
            Command::PutSecret(record) => {
                self.secrets.insert(record.name.clone(), (**record).clone());
                Reply::Nothing
            }
            Command::DropSecret(name) => {
                self.secrets.remove(name);
                Reply::Nothing
            }
            Command::UseSecrets { names, at } => {
                let used = self.secrets.values_mut().filter(|secret| names.contains(&secret.name));
                used.for_each(|secret| secret.used_at = Some(*at));
                Reply::Nothing
            }
            Command::PutDataKeys(records) => {
                self.data_keys.extend(records.iter().map(|record| (record.id.clone(), record.clone())));
                Reply::Nothing
            }
            Command::PutAudit(record) => self.put_audit(record),
            Command::Recorded { command, record } => {
                let reply = self.apply(now, command);
                if reply.is_change() {
                    self.put_audit(record);
                }
                reply
            }
            Command::PutMember(record) => {
                self.members.insert(record.id.clone(), (**record).clone());
                Reply::Nothing
            }
            Command::DropMember(id) => {
                self.members.remove(id);
                Reply::Nothing
            }
            Command::DropKeys(ids) => {
                self.keys.retain(|id, _| !ids.contains(id));
                Reply::Nothing
            }
            Command::UseKeys(uses) => {
                for (id, at) in uses {
                    self.keys.entry(id.clone()).and_modify(|key| key.used_at = Some(*at));
                }
                Reply::Nothing
            }
            Command::Measure(points) => self.measure(now, points),
        }
    }

    fn put_audit(&mut self, record: &AuditRecord) -> Reply {
        let seq = self.audit.back().map_or(0, |last| last.seq) + 1;
        self.audit.push_back(AuditRecord { seq, ..record.clone() });
        let oldest = record.at.plus(-audit::KEPT_MS);
        let goes = |one: &AuditRecord| one.seq < seq && (one.seq + audit::MOST <= seq || one.at < oldest);
        while self.audit.front().is_some_and(goes) {
            self.audit.pop_front();
        }
        Reply::Nothing
    }

    pub(super) fn submit(&mut self, now: Timestamp, submission: &Submission) -> Reply {
        let key = &submission.idempotency_key;
        let first = key.as_ref().and_then(|key| self.by_key(&submission.job.endpoint, key));
        if let Some(first) = first.or_else(|| self.jobs.get(&submission.job.id)) {
            return made_earlier(first);
        }
        self.last_seq += 1;
        let job = Job { seq: self.last_seq, ..submission.job.clone() };
        let entry = Entry {
            job: job.clone(),
            place: job.seq,
            idempotency_key: key.clone(),
            input: submission.input.clone(),
            s3: submission.s3.clone(),
            output: None,
            progress: None,
            chunks: vec![],
            delivered: 0,
            numbers: HashMap::new(),
        };
        self.jobs.insert(job.id.clone(), entry);
        self.mark_job(now, None, &job);
        self.mark_with(now, &job, |marks| count::input(marks, &job, submission.input.len()));
        Reply::Submitted { job: Box::new(job), existing: false }
    }

    fn repeat(&self, endpoint: &EndpointId, key: &str) -> Reply {
        self.by_key(endpoint, key).map_or(Reply::Nothing, made_earlier)
    }

    fn by_key(&self, endpoint: &EndpointId, key: &str) -> Option<&Entry> {
        let of_key = |e: &&Entry| e.idempotency_key.as_deref() == Some(key);
        self.jobs.values().filter(|e| e.job.endpoint == *endpoint).find(of_key)
    }

    fn take(
        &mut self,
        now: Timestamp,
        endpoint: &EndpointId,
        pinned_only: bool,
        start: &job::Command,
        max: usize,
    ) -> Vec<Taken> {
        let mut fit: Vec<&Job> =
            self.jobs.values().map(|e| &e.job).filter(|j| j.endpoint == *endpoint).collect();
        fit.retain(|j| (j.pinned.is_some() || !pinned_only) && decide(j, start, now).is_ok());
        fit.sort_by_key(|j| (lane(j), j.seq));
        let mut bytes = 0;
        let fits = fit.into_iter().take(max).take_while(|j| {
            let room = bytes < TAKE_BYTES;
            bytes += self.jobs[&j.id].input.len();
            room
        });
        let ids: Vec<JobId> = fits.map(|j| j.id.clone()).collect();
        self.hand_out(now, &ids, start)
    }

    fn take_ahead(
        &mut self,
        now: Timestamp,
        endpoint: &EndpointId,
        hold: &job::Command,
        ahead: usize,
    ) -> Vec<Taken> {
        let normal = |j: &Job| j.endpoint == *endpoint && j.pinned.is_none() && !j.policy.low_priority;
        let mut fit = self.select(|j| normal(j) && decide(j, hold, now).is_ok());
        fit.sort_by_key(|id| lane(&self.jobs[id].job));
        let mut bytes = 0;
        let fits = fit.iter().take(ahead).take_while(|id| {
            bytes += self.jobs[*id].input.len();
            bytes <= AHEAD_BYTES
        });
        let count = fits.count();
        fit.truncate(count);
        self.hand_out(now, &fit, hold)
    }

    fn hand_out(&mut self, now: Timestamp, ids: &[JobId], command: &job::Command) -> Vec<Taken> {
        let Reply::Jobs(changed) = self.decide_all(now, ids, command) else { return vec![] };
        let taken = changed.into_iter().map(|job| {
            let entry = &self.jobs[&job.id];
            Taken { job, input: entry.input.clone(), s3: entry.s3.clone() }
        });
        taken.collect()
    }

    fn progress(&mut self, id: &JobId, worker: &WorkerId, value: &Payload) -> Reply {
        let Some(entry) = self.jobs.get_mut(id) else { return no_such_job() };
        if !entry.job.takes_output_of(worker) {
            return refused(output_refusal(&entry.job), &entry.job);
        }
        entry.progress = Some(value.clone());
        Reply::Job(Box::new(entry.job.clone()))
    }

    fn chunk(
        &mut self,
        now: Timestamp,
        id: &JobId,
        worker: &WorkerId,
        number: Option<u64>,
        value: &Payload,
    ) -> Reply {
        let Some(entry) = self.jobs.get_mut(id) else { return no_such_job() };
        if let (Some(number), Some(last)) = (number, entry.numbers.get(worker))
            && number <= *last
        {
            return Reply::Job(Box::new(entry.job.clone()));
        }
        if !entry.job.takes_output_of(worker) {
            return refused(output_refusal(&entry.job), &entry.job);
        }
        if let Some(number) = number {
            entry.numbers.insert(worker.clone(), number);
        }
        entry.chunks.push(value.clone());
        let job = entry.job.clone();
        self.mark_with(now, &job, |marks| count::output(marks, &job, value.len()));
        Reply::Job(Box::new(job))
    }

    fn retry(&mut self, now: Timestamp, id: &JobId) -> Reply {
        let reply = self.decide_one(now, id, &job::Command::Retry { seq: self.last_seq + 1 });
        if let (Reply::Job(job), Some(entry)) = (&reply, self.jobs.get_mut(id)) {
            self.last_seq = job.seq;
            entry.output = None;
        }
        reply
    }

    fn tried(&mut self, now: Timestamp, id: &DeliveryId, tried: &Try, again: Option<Timestamp>) -> Reply {
        let Some(delivery) = self.deliveries.values_mut().find(|d| d.id == *id) else {
            return Reply::Nothing;
        };
        let Some(next) = delivery.after(tried, again, now) else { return Reply::Nothing };
        *delivery = next.clone();
        let Some(entry) = self.jobs.get(&next.job) else { return Reply::Nothing };
        let (due_at, endpoint) = (self.due_at(&entry.job), entry.job.endpoint.clone());
        let mut marks = Interval::default();
        count::tried(&mut marks, &next);
        self.mark(now, &endpoint, &marks);
        Reply::Tried { due_at, delivery: Box::new(next) }
    }

    fn redeliver(&mut self, now: Timestamp, id: &DeliveryId) -> Reply {
        let Some(delivery) = self.deliveries.values_mut().find(|d| d.id == *id) else {
            return Reply::Nothing;
        };
        let next = delivery.again(now);
        *delivery = next.clone();
        let Some(entry) = self.jobs.get(&next.job) else { return Reply::Nothing };
        Reply::Tried { due_at: self.due_at(&entry.job), delivery: Box::new(next) }
    }

    fn expire(&mut self, now: Timestamp, id: &JobId) -> Reply {
        let held_until = self.held_until(id);
        if self.jobs.get(id).is_some_and(|e| e.job.is_forgettable(held_until, now)) {
            self.jobs.remove(id);
            self.deliveries.retain(|_, d| d.job != *id);
            return Reply::Forgotten(id.clone());
        }
        self.decide_one(now, id, &job::Command::Expire)
    }

    fn drop_endpoint(&mut self, id: &EndpointId) -> Reply {
        self.endpoints.remove(id);
        self.releases.retain(|(endpoint, _), _| endpoint != id);
        self.connections.retain(|_, connection| connection.endpoint != *id);
        self.examples.retain(|(endpoint, _), _| endpoint != id);
        self.workers.retain(|_, w| w.endpoint != *id);
        self.jobs.retain(|_, e| e.job.endpoint != *id);
        self.deliveries.retain(|_, d| self.jobs.contains_key(&d.job));
        self.counts.remove(id);
        self.failures.remove(id);
        self.intervals.retain(|(subject, ..), _| subject.endpoint() != Some(id));
        self.drop_batches(id);
        Reply::Nothing
    }

    fn put_worker(&mut self, now: Timestamp, record: &WorkerRecord) -> Reply {
        let mut marks = Interval::default();
        count::worker(&mut marks, self.workers.get(&record.id), record);
        self.mark(now, &record.endpoint, &marks);
        self.workers.insert(record.id.clone(), record.clone());
        let mut gone: Vec<&WorkerRecord> = self.workers.values().collect();
        gone.retain(|w| w.endpoint == record.endpoint && w.state == WorkerState::Gone);
        gone.sort_by_key(|w| (w.created_at, w.id.clone()));
        let surplus = gone.len().saturating_sub(GONE_WORKERS_KEPT);
        let oldest: Vec<WorkerId> = gone[..surplus].iter().map(|w| w.id.clone()).collect();
        self.workers.retain(|id, _| !oldest.contains(id));
        Reply::Nothing
    }

    /// The jobs that `pick` picks, by `seq`.
    pub(super) fn select(&self, pick: impl Fn(&Job) -> bool) -> Vec<JobId> {
        let mut jobs: Vec<&Job> = self.jobs.values().map(|e| &e.job).filter(|j| pick(j)).collect();
        jobs.sort_by_key(|j| j.seq);
        jobs.into_iter().map(|j| j.id.clone()).collect()
    }

    fn held(&self, worker: &WorkerId, which: &Which) -> Vec<JobId> {
        match which {
            Which::All => self.select(|j| j.holder() == Some(worker)),
            Which::Jobs(ids) => ids.clone(),
        }
    }

    fn decide_one(&mut self, now: Timestamp, id: &JobId, command: &job::Command) -> Reply {
        let Some(entry) = self.jobs.get_mut(id) else { return no_such_job() };
        let next = match decide(&entry.job, command, now) {
            Ok(next) => next,
            Err(refusal) => return refused(refusal, &entry.job),
        };
        let was_held = entry.job.is_held();
        let counts = match self.counts.entry(next.endpoint.clone()) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(slot) => slot.insert(crate::Counts::default()),
        };
        let stands = Standing::of(&next);
        let counted = u64::from(next.pinned.is_none());
        match command {
            job::Command::Lose { .. } | job::Command::Retry { .. } if stands == Standing::Waiting => {
                counts.retried += if was_held { 0 } else { counted };
            }
            _ => match stands {
                Standing::Completed => counts.completed += counted,
                Standing::Failed | Standing::TimedOut => counts.failed += counted,
                Standing::Cancelled => counts.cancelled += counted,
                Standing::Draft | Standing::Waiting | Standing::Running => {}
            },
        }
        match command {
            job::Command::Start { .. } | job::Command::Hold { .. } | job::Command::Retry { .. } => {
                entry.clear_stream();
            }
            job::Command::Lose { .. } | job::Command::GiveBack { .. } | job::Command::CallBack { .. }
                if stands == Standing::Waiting =>
            {
                entry.clear_stream();
            }
            _ => {}
        }
        let before = std::mem::replace(&mut entry.job, next.clone());
        self.mark_job(now, Some(&before), &next);
        self.deliveries.extend(Delivery::of(&next).map(|delivery| (delivery.seq, delivery)));
        Reply::Job(Box::new(next))
    }

    pub(super) fn decide_all(&mut self, now: Timestamp, ids: &[JobId], command: &job::Command) -> Reply {
        let changed = ids.iter().filter_map(|id| match self.decide_one(now, id, command) {
            Reply::Job(job) => Some(*job),
            _ => None,
        });
        Reply::Jobs(changed.collect())
    }
}

/// The order of taking.
fn lane(job: &Job) -> u8 {
    match (job.pinned, job.policy.low_priority, &job.batch) {
        (Some(_), ..) => 0,
        (None, true, _) => 3,
        (None, false, Some(_)) => 2,
        (None, false, None) => 1,
    }
}

fn made_earlier(first: &Entry) -> Reply {
    Reply::Submitted { job: Box::new(first.job.clone()), existing: true }
}

fn no_such_job() -> Reply {
    Reply::Refused(Refused::NoSuchJob)
}

fn refused(refusal: Refusal, job: &Job) -> Reply {
    Reply::Refused(Refused::ByState(refusal, Box::new(job.clone())))
}
