//! Queries. They read what the last finished batch wrote, beside the writer.

use runyard_domain::git::Connection;
use runyard_domain::registry::Registry;
use runyard_domain::{
    AuditFilter, AuditRecord, Batch, BatchCounts, BatchId, ConnectionId, DataKeyRecord, Delivery, Endpoint,
    EndpointId, Example, FailureGroup, Job, JobId, KeyRecord, Member, Outcome, Payload, Phase, Release,
    Resource, ResourceId, SecretRecord, Timestamp, WorkerId, WorkerRecord,
};
use runyard_metrics::{Grain, Interval, Row, Subject};

use crate::StoreError;

/// Where a job stands, for filters and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// In a batch that is a draft.
    Draft,
    /// In the queue, or in the list of a worker that has not come to it.
    Waiting,
    /// Held by a worker.
    Running,
    /// Ended well.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended by somebody.
    Cancelled,
    /// Ended by a time limit.
    TimedOut,
}

impl Standing {
    /// Where `job` stands.
    pub fn of(job: &Job) -> Self {
        match &job.phase {
            Phase::Draft { .. } => Self::Draft,
            Phase::Waiting { .. } | Phase::Held { .. } => Self::Waiting,
            Phase::Running { .. } => Self::Running,
            Phase::Done { outcome, .. } => match outcome {
                Outcome::Completed => Self::Completed,
                Outcome::Failed { .. } => Self::Failed,
                Outcome::Cancelled { .. } => Self::Cancelled,
                Outcome::TimedOut { .. } => Self::TimedOut,
            },
        }
    }
}

/// Which jobs to list. Newest submission first.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of this endpoint.
    pub endpoint: Option<EndpointId>,
    /// Only those that stand so.
    pub standing: Option<Standing>,
    /// Only those submitted at or after.
    pub since: Option<Timestamp>,
    /// Only those submitted before.
    pub until: Option<Timestamp>,
    /// Only those that ended at or after.
    pub ended_since: Option<Timestamp>,
    /// Only those that ended before.
    pub ended_until: Option<Timestamp>,
    /// Without tests of releases.
    pub no_tests: bool,
    /// Only those submitted before this job (exclusive), for the next page. After a job that is gone comes
    /// nothing.
    pub before: Option<JobId>,
    /// How many at most; 0 means 100, and 1000 is the most.
    pub limit: usize,
}

impl Filter {
    /// How many jobs a page holds: `limit` within its bounds.
    pub fn page(&self) -> usize {
        match self.limit {
            0 => 100,
            limit => limit.min(1000),
        }
    }
}

/// Counts of one endpoint. The first four rise for ever; tests are not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs that completed.
    pub completed: u64,
    /// Jobs that failed or timed out.
    pub failed: u64,
    /// Jobs that went back to the queue after a loss, and retries by hand.
    pub retried: u64,
    /// Jobs that were cancelled.
    pub cancelled: u64,
    /// Jobs in the queue now.
    pub waiting: u64,
    /// Jobs that run now.
    pub running: u64,
}

/// One streamed value.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Its place in the job's stream, from 0, without gaps.
    pub index: u64,
    /// The value.
    pub value: Payload,
}

/// The reading side of a store.
pub trait Reader: Send + Sync {
    /// One job.
    fn job(&self, id: &JobId) -> Result<Option<Job>, StoreError>;
    /// Its input.
    fn input(&self, id: &JobId) -> Result<Option<Payload>, StoreError>;
    /// Its sealed `s3Config`.
    fn s3(&self, id: &JobId) -> Result<Option<Payload>, StoreError>;
    /// Its output, once it has one.
    fn output(&self, id: &JobId) -> Result<Option<Payload>, StoreError>;
    /// Its latest progress value.
    fn progress(&self, id: &JobId) -> Result<Option<Payload>, StoreError>;
    /// Chunks that have not been delivered yet, in order, as many as fit into `max_bytes` (at least one if
    /// there is one), and whether more remain.
    fn undelivered(&self, id: &JobId, max_bytes: u64) -> Result<(Vec<Chunk>, bool), StoreError>;
    /// Jobs by filter, newest submission first.
    fn jobs(&self, filter: &Filter) -> Result<Vec<Job>, StoreError>;
    /// Every job that waits, is held or runs, by `seq`: what memory is rebuilt from.
    fn live(&self) -> Result<Vec<Job>, StoreError>;
    /// Counts of one endpoint.
    fn counts(&self, endpoint: &EndpointId) -> Result<Counts, StoreError>;
    /// A job's deliveries, oldest first.
    fn deliveries(&self, job: &JobId) -> Result<Vec<Delivery>, StoreError>;
    /// Deliveries that are to be tried, soonest first, without those to the given destinations.
    fn pending_deliveries(&self, without: &[String], limit: usize) -> Result<Vec<Delivery>, StoreError>;
    /// One batch, with its jobs by where they stand.
    fn batch(&self, id: &BatchId) -> Result<Option<(Batch, BatchCounts)>, StoreError>;
    /// The batches of an endpoint, newest first, from `offset` on.
    fn batches(
        &self,
        endpoint: &EndpointId,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<(Batch, BatchCounts)>, StoreError>;
    /// The jobs of a batch in the order in which they were added, from `offset` on.
    fn batch_jobs(&self, id: &BatchId, offset: usize, limit: usize) -> Result<Vec<Job>, StoreError>;
    /// Batches that the clock changes by now, most overdue first.
    fn due_batches(&self, now: Timestamp, limit: usize) -> Result<Vec<BatchId>, StoreError>;
    /// Jobs that the clock changes by now, most overdue first: `due_at` has come, and no pending delivery holds
    /// an ended one.
    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, StoreError>;
    /// When the clock changes a job or a batch next.
    fn next_due(&self) -> Result<Option<Timestamp>, StoreError>;
    /// Every endpoint, by name.
    fn endpoints(&self) -> Result<Vec<Endpoint>, StoreError>;
    /// The releases of an endpoint, newest first.
    fn releases(&self, endpoint: &EndpointId) -> Result<Vec<Release>, StoreError>;
    /// Workers' records, newest first; of one endpoint or of all, those that are not gone before the others.
    fn workers(&self, endpoint: Option<&EndpointId>, limit: usize) -> Result<Vec<WorkerRecord>, StoreError>;
    /// One worker's record.
    fn worker(&self, id: &WorkerId) -> Result<Option<WorkerRecord>, StoreError>;
    /// Every key's record, also revoked ones, oldest first.
    fn keys(&self) -> Result<Vec<KeyRecord>, StoreError>;
    /// Every member, oldest first.
    fn members(&self) -> Result<Vec<Member>, StoreError>;
    /// Every connection with a Git repository, by id.
    fn connections(&self) -> Result<Vec<Connection>, StoreError>;
    /// One connection.
    fn connection(&self, id: &ConnectionId) -> Result<Option<Connection>, StoreError>;
    /// Every registry login, by name.
    fn registries(&self) -> Result<Vec<Registry>, StoreError>;
    /// Every template, network volume and other such record, by id.
    fn resources(&self) -> Result<Vec<Resource>, StoreError>;
    /// One of them.
    fn resource(&self, id: &ResourceId) -> Result<Option<Resource>, StoreError>;
    /// The examples of an endpoint, by name.
    fn examples(&self, endpoint: &EndpointId) -> Result<Vec<Example>, StoreError>;
    /// Every secret's record, by name.
    fn secrets(&self) -> Result<Vec<SecretRecord>, StoreError>;
    /// One secret's record.
    fn secret(&self, name: &str) -> Result<Option<SecretRecord>, StoreError>;
    /// Records of the audit log, newest first.
    fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRecord>, StoreError>;
    /// Every key that seals, by id.
    fn data_keys(&self) -> Result<Vec<DataKeyRecord>, StoreError>;
    /// The intervals of a subject that begin from `since` until before `until`, oldest first: of this length, and at the
    /// end of shorter ones that are not part of such an interval yet.
    fn intervals(
        &self,
        subject: &Subject,
        grain: Grain,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Row>, StoreError>;
    /// Failures of an endpoint by fingerprint, those first that were seen last.
    fn failures(&self, endpoint: &EndpointId) -> Result<Vec<FailureGroup>, StoreError>;
    /// Everything that was ever counted of endpoints and of the server, by subject.
    fn totals(&self) -> Result<Vec<(Subject, Interval)>, StoreError>;
}
