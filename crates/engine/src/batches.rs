//! Batches: made, filled, finalized, cancelled and changed by their users. What ends a batch, and what forgets it, is
//! the store's and the clock's.

use std::sync::Arc;

use runyard_domain::batch::{self, Batch, BatchState};
use runyard_domain::{Access, BatchCounts, BatchId, BatchRefusal, Endpoint, Job, Payload, Phase};
use runyard_store::{BATCH_SLICE, BatchChange, Command, Reply, Submission};
use runyard_vault::Caller;

use crate::depth::Entry;
use crate::{Engine, EngineError, NewJob};

/// A batch after a call.
#[derive(Debug, Clone)]
pub struct BatchView {
    /// It, as it is now.
    pub batch: Batch,
    /// Its requests by where they stand.
    pub counts: BatchCounts,
    /// The jobs that the call added, or moved last.
    pub added: Vec<Job>,
}

impl Engine {
    /// Makes a draft, with its first requests; when it returns, all of it is durable. The same idempotency key
    /// returns the first one.
    pub async fn make_batch(
        &self,
        caller: &Caller,
        endpoint: &Arc<Endpoint>,
        name: Option<String>,
        requests: Vec<NewJob>,
        idempotency_key: Option<String>,
    ) -> Result<BatchView, EngineError> {
        self.takes_work(caller, endpoint)?;
        let now = self.now();
        let batch = Batch {
            id: self.env().batch_id(),
            endpoint: endpoint.id.clone(),
            name,
            created_at: now,
            created_by: caller.name().to_owned(),
            retention_ms: endpoint.settings.retention_ms,
            state: BatchState::Draft { touched_at: now },
        };
        let requests = self.requests(caller, &batch.id, requests).await?;
        let inputs = inputs_of(&requests);
        let command = Command::MakeBatch { batch: Box::new(batch), requests, idempotency_key };
        self.commit_requests(command, &inputs).await
    }

    /// Adds requests to a draft, all or none; when it returns, they are durable. The same idempotency key returns
    /// the jobs of the first call.
    pub async fn add_to_batch(
        &self,
        caller: &Caller,
        endpoint: &Arc<Endpoint>,
        id: &BatchId,
        requests: Vec<NewJob>,
        idempotency_key: Option<String>,
    ) -> Result<BatchView, EngineError> {
        self.takes_work(caller, endpoint)?;
        self.batch(endpoint, id)?;
        let requests = self.requests(caller, id, requests).await?;
        let inputs = inputs_of(&requests);
        let command = Command::AddToBatch { batch: id.clone(), requests, idempotency_key };
        self.commit_requests(command, &inputs).await
    }

    /// Lets the requests of a draft run, all or none: they need places in the endpoint's queue.
    pub async fn finalize_batch(
        &self,
        caller: &Caller,
        endpoint: &Endpoint,
        id: &BatchId,
    ) -> Result<BatchView, EngineError> {
        caller.may(Access::Run, Some(&endpoint.id))?;
        let places = self.enter_batch(endpoint, &self.batch(endpoint, id)?)?;
        self.in_slices(Command::FinalizeBatch(id.clone()), places).await
    }

    /// Places in the queue for the requests of a draft, where it is near its limit.
    fn enter_batch(&self, endpoint: &Endpoint, draft: &BatchView) -> Result<Option<Entry>, EngineError> {
        let (limit, more) = (endpoint.settings.queue_limit, draft.counts.waiting);
        if !draft.batch.is_draft() || more == 0 || !self.is_tight(&endpoint.id, limit, more) {
            return Ok(None);
        }
        let jobs = self.reader().batch_jobs(&draft.batch.id, 0, batch::MAX_REQUESTS)?;
        let waiting = jobs.into_iter().filter(|job| !job.is_done()).map(|job| job.id);
        self.enter_all(&endpoint.id, waiting.collect(), limit).map(Some)
    }

    /// Gives a command again and again that moves a batch's jobs slice by slice, until all are moved; what others
    /// want done comes between. It goes on when its caller goes away, and after a crash the clock goes on with it.
    async fn in_slices(&self, command: Command, places: Option<Entry>) -> Result<BatchView, EngineError> {
        let engine = self.clone();
        let moving = tokio::spawn(async move {
            let _places = places;
            loop {
                let view = engine.commit_batch(command.clone()).await?;
                if view.added.len() < BATCH_SLICE {
                    return Ok(view);
                }
            }
        });
        moving.await.unwrap_or(Err(EngineError::Stopped))
    }

    /// Ends a batch with all of its requests. One that has ended stays as it is.
    pub async fn cancel_batch(
        &self,
        caller: &Caller,
        endpoint: &Endpoint,
        id: &BatchId,
    ) -> Result<BatchView, EngineError> {
        caller.may(Access::Run, Some(&endpoint.id))?;
        self.batch(endpoint, id)?;
        let by = caller.name().to_owned();
        self.in_slices(Command::CancelBatch { batch: id.clone(), by }, None).await
    }

    /// Changes a batch's name, or takes a request out of a draft.
    pub async fn change_batch(
        &self,
        caller: &Caller,
        endpoint: &Endpoint,
        id: &BatchId,
        change: BatchChange,
    ) -> Result<BatchView, EngineError> {
        caller.may(Access::Run, Some(&endpoint.id))?;
        self.batch(endpoint, id)?;
        self.commit_batch(Command::ChangeBatch { batch: id.clone(), change }).await
    }

    /// One batch of an endpoint.
    pub fn batch(&self, endpoint: &Endpoint, id: &BatchId) -> Result<BatchView, EngineError> {
        let found = self.reader().batch(id)?.filter(|(batch, _)| batch.endpoint == endpoint.id);
        let (batch, counts) = found.ok_or(EngineError::Batch(BatchRefusal::NoSuchBatch))?;
        Ok(BatchView { batch, counts, added: Vec::new() })
    }

    fn takes_work(&self, caller: &Caller, endpoint: &Endpoint) -> Result<(), EngineError> {
        caller.may(Access::Run, Some(&endpoint.id))?;
        if self.is_draining() {
            return Err(EngineError::Draining);
        }
        if self.is_disk_full() {
            return Err(EngineError::DiskFull);
        }
        if self.endpoint_by_id(&endpoint.id).is_none() {
            return Err(EngineError::NoSuchEndpoint(endpoint.id.clone()));
        }
        Ok(())
    }

    async fn requests(
        &self,
        caller: &Caller,
        batch: &BatchId,
        new: Vec<NewJob>,
    ) -> Result<Vec<Submission>, EngineError> {
        if new.len() > batch::MAX_REQUESTS {
            let refusal = BatchRefusal::TooManyRequests { has: 0, more: new.len() };
            return Err(EngineError::Batch(refusal));
        }
        let mut requests: Vec<Submission> = Vec::with_capacity(new.len());
        for new in new {
            match self.request(caller, batch, new).await {
                Ok(request) => requests.push(request),
                Err(error) => {
                    self.discard_all_after(&error, &inputs_of(&requests));
                    return Err(error);
                }
            }
        }
        Ok(requests)
    }

    async fn request(
        &self,
        caller: &Caller,
        batch: &BatchId,
        mut new: NewJob,
    ) -> Result<Submission, EngineError> {
        new.check_size()?;
        new.ttl_ms.get_or_insert(batch::TTL_MS);
        let s3 = match &new.s3 {
            Some(secret) => Some(Payload::inline(self.shared.vault.seal(secret)?)),
            None => None,
        };
        let input = self.keep(new.input.clone()).await?;
        let mut job = self.waiting_job(caller, &new);
        job.batch = Some(batch.clone());
        job.phase = Phase::Draft { since: job.submitted_at };
        Ok(Submission { job, input, s3, idempotency_key: None })
    }

    async fn commit_requests(&self, command: Command, inputs: &[Payload]) -> Result<BatchView, EngineError> {
        let committed = self.commit_batch(command).await;
        if let Err(error) = &committed {
            self.discard_all_after(error, inputs);
        }
        committed
    }

    fn discard_all_after(&self, error: &EngineError, inputs: &[Payload]) {
        for input in inputs {
            self.discard_after(error, Some(input));
        }
    }

    async fn commit_batch(&self, command: Command) -> Result<BatchView, EngineError> {
        match self.shared.writer.commit(command).await? {
            Reply::Batch { batch, jobs, .. } => {
                let found = self.reader().batch(&batch.id)?;
                let (batch, counts) = found.ok_or(EngineError::Batch(BatchRefusal::NoSuchBatch))?;
                Ok(BatchView { batch, counts, added: jobs })
            }
            Reply::BatchRefused(refusal) => Err(EngineError::Batch(refusal)),
            _ => Err(EngineError::Stopped),
        }
    }
}

fn inputs_of(requests: &[Submission]) -> Vec<Payload> {
    let files = requests.iter().map(|request| &request.input);
    files.filter(|input| matches!(input, Payload::File { .. })).cloned().collect()
}
