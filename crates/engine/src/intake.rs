//! New jobs: from what a dialect parsed to a durable, waiting job.

use std::sync::Arc;

use bytes::Bytes;
use runyard_domain::{Access, Endpoint, Job, Payload, Phase, Policy};
use runyard_store::{Command, Reply, Submission};
use runyard_vault::Caller;

use crate::depth::Entry;
use crate::{Engine, EngineError};

/// A request as a dialect parsed it. What is `None` comes from the endpoint's settings.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Where to.
    pub endpoint: Arc<Endpoint>,
    /// Whether it came by a synchronous call.
    pub sync: bool,
    /// The input as it came: one JSON value.
    pub input: Bytes,
    /// The `s3Config` as it came: one JSON value. Sealed before it is stored.
    pub s3: Option<Bytes>,
    /// Where to post the result.
    pub webhook: Option<String>,
    /// The longest one attempt may run; 0 means no limit.
    pub execution_timeout_ms: Option<i64>,
    /// Bounds queue and run together.
    pub ttl_ms: Option<i64>,
    /// See [`Policy::low_priority`].
    pub low_priority: bool,
    /// The same key returns the first job.
    pub idempotency_key: Option<String>,
    /// A test request of this release.
    pub pinned: Option<u32>,
}

impl NewJob {
    /// A request with nothing but an input.
    pub fn new(endpoint: Arc<Endpoint>, input: impl Into<Bytes>) -> Self {
        Self {
            endpoint,
            sync: false,
            input: input.into(),
            s3: None,
            webhook: None,
            execution_timeout_ms: None,
            ttl_ms: None,
            low_priority: false,
            idempotency_key: None,
            pinned: None,
        }
    }

    /// Refuses an input that is larger than its endpoint takes.
    pub(crate) fn check_size(&self) -> Result<(), EngineError> {
        let (bytes, limit) = (self.input.len() as u64, self.endpoint.settings.input_limit_bytes);
        if limit == 0 || bytes <= limit {
            return Ok(());
        }
        Err(EngineError::InputTooLarge { endpoint: self.endpoint.name.clone(), bytes, limit })
    }
}

/// An accepted job.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The job as it is now.
    pub job: Job,
    /// It is the first job of this idempotency key, made earlier.
    pub existing: bool,
}

impl Engine {
    /// Accepts a job; when it returns, the job is durable.
    pub async fn submit(&self, caller: &Caller, new: NewJob) -> Result<Accepted, EngineError> {
        caller.may(Access::Run, Some(&new.endpoint.id))?;
        if self.endpoint_by_id(&new.endpoint.id).is_none() {
            return Err(EngineError::NoSuchEndpoint(new.endpoint.id.clone()));
        }
        match self.admitted(caller, &new) {
            Ok((job, place)) => self.accept(new, job, place).await,
            // What was accepted once stays so, whatever holds for new jobs by now.
            Err(refusal) => self.repeated(&new).await?.ok_or(refusal),
        }
    }

    /// A new job with its place in the queue.
    fn admitted(&self, caller: &Caller, new: &NewJob) -> Result<(Job, Option<Entry>), EngineError> {
        if self.is_draining() {
            return Err(EngineError::Draining);
        }
        if self.shared.gate.is_shut() {
            return Err(EngineError::DiskFull);
        }
        new.check_size()?;
        let job = self.waiting_job(caller, new);
        let place = self.enter_queue(&job, new.endpoint.settings.queue_limit)?;
        Ok((job, place))
    }

    /// The first job of the same idempotency key.
    async fn repeated(&self, new: &NewJob) -> Result<Option<Accepted>, EngineError> {
        let Some(key) = new.idempotency_key.clone() else { return Ok(None) };
        let repeat = Command::Repeat { endpoint: new.endpoint.id.clone(), key };
        match self.shared.writer.commit(repeat).await? {
            Reply::Submitted { job, existing } => Ok(Some(Accepted { job: *job, existing })),
            _ => Ok(None),
        }
    }

    async fn accept(&self, new: NewJob, mut job: Job, place: Option<Entry>) -> Result<Accepted, EngineError> {
        let s3 = match &new.s3 {
            Some(secret) => Some(Payload::inline(self.shared.vault.seal(secret)?)),
            None => None,
        };
        let input = self.keep(new.input.clone()).await?;
        if job.pinned.is_some() {
            // A test that kills its worker is not tried again: no other worker runs its release.
            job.requeues = 0;
        }
        let submission = Submission { job, input: input.clone(), s3, idempotency_key: new.idempotency_key };
        let committed = self.shared.writer.commit(Command::Submit(Box::new(submission))).await;
        drop(place);
        match committed {
            Ok(Reply::Submitted { job, existing }) => Ok(Accepted { job: *job, existing }),
            Ok(_) => Err(EngineError::Stopped),
            Err(error) => {
                self.discard_after(&error, Some(&input));
                Err(error)
            }
        }
    }

    pub(crate) fn waiting_job(&self, caller: &Caller, new: &NewJob) -> Job {
        let now = self.now();
        let settings = &new.endpoint.settings;
        let policy = Policy {
            execution_timeout_ms: new.execution_timeout_ms.unwrap_or(settings.execution_timeout_ms),
            ttl_ms: new.ttl_ms.unwrap_or(settings.ttl_ms),
            low_priority: new.low_priority,
        };
        Job {
            id: self.shared.env.job_id(new.sync),
            endpoint: new.endpoint.id.clone(),
            seq: 0,
            sync: new.sync,
            submitted_at: now,
            submitted_by: caller.name().to_owned(),
            policy,
            expires_at: now.plus(policy.ttl_ms),
            requeues: settings.requeues,
            retention_ms: settings.retention_ms,
            pinned: new.pinned,
            batch: None,
            webhook: new.webhook.clone(),
            has_s3: new.s3.is_some(),
            attempt: 0,
            losses: 0,
            lost_by: Vec::new(),
            attempts: Vec::new(),
            phase: Phase::Waiting { since: now },
        }
    }
}
