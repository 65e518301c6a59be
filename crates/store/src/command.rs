//! What can be asked of the store in a batch, and what it answers.

use runyard_domain::delivery::Try;
use runyard_domain::git::Connection;
use runyard_domain::job::{Answer, Loss, Refusal};
use runyard_domain::registry::Registry;
use runyard_domain::{
    AuditRecord, Batch, BatchId, BatchRefusal, ConnectionId, DataKeyRecord, Delivery, DeliveryId, Endpoint,
    EndpointId, Example, Job, JobId, KeyId, KeyRecord, Member, MemberId, Payload, Release, Resource,
    ResourceId, SecretRecord, Timestamp, WorkerId, WorkerRecord,
};
use runyard_metrics::{Interval, Subject};

/// A new job with its payloads.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// The job, waiting; the store sets its `seq`.
    pub job: Job,
    /// The input as it came.
    pub input: Payload,
    /// A sealed `s3Config`.
    pub s3: Option<Payload>,
    /// The same key for the same endpoint returns the first job, for as long as that is kept.
    pub idempotency_key: Option<String>,
}

/// Which jobs of a worker a command means.
#[derive(Debug, Clone, PartialEq)]
pub enum Which {
    /// All that it holds.
    All,
    /// These.
    Jobs(Vec<JobId>),
}

/// A take gets no further job once its inputs have so many bytes: they are in memory together on their way.
pub const TAKE_BYTES: u64 = 64 << 20;

/// How many bytes of inputs a worker gets for jobs that it starts later.
pub const AHEAD_BYTES: u64 = 4 << 20;

/// How many jobs of a batch one command moves at most, so that others need not wait long for the writer. Where more are
/// left, the batch is due at once: the clock goes on with it, unless the command is repeated before.
pub const BATCH_SLICE: usize = 500;

/// A batch with live jobs is not forgotten: when the clock looks again, in milliseconds.
pub(crate) const LOOK_AGAIN_MS: i64 = 3_600_000;

/// What can be changed of a batch beside its state.
#[derive(Debug, Clone, PartialEq)]
pub enum BatchChange {
    /// Its name.
    Rename(Option<String>),
    /// A request leaves a draft.
    Remove(JobId),
}

/// One change. Job commands are decided by `domain::job::decide`; records are replaced as a whole. Whatever
/// ends a job that has a webhook adds its [`Delivery`] too.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Accepts a job. A job whose id is there already is not accepted again. Reply: [`Reply::Submitted`].
    Submit(Box<Submission>),
    /// What a call with this idempotency key made earlier; nothing new is made. Reply: [`Reply::Submitted`] or
    /// [`Reply::Nothing`].
    Repeat {
        /// The endpoint of the call.
        endpoint: EndpointId,
        /// Its key.
        key: String,
    },
    /// Hands up to `max` waiting jobs to a worker, in the order: tests pinned to its release, then normal
    /// priority by `seq`, then low priority by `seq`; jobs that this incarnation lost before, or that are
    /// pinned to another release, are passed over. Behind them come up to `ahead` more of normal priority that it
    /// starts later, as long as their inputs fit into [`AHEAD_BYTES`]. Reply: [`Reply::Taken`], in that order.
    Take {
        /// Whose queue.
        endpoint: EndpointId,
        /// The incarnation.
        worker: WorkerId,
        /// Its release.
        release: u32,
        /// Whether it takes only tests pinned to its release (it does not serve yet).
        pinned_only: bool,
        /// How many at most that it starts at once; no further one once their inputs have [`TAKE_BYTES`].
        max: usize,
        /// How many at most that it holds until it comes to them.
        ahead: usize,
    },
    /// A worker comes to a job of its list. Reply: [`Reply::Job`] or [`Reply::Refused`].
    Begin {
        /// Which job.
        job: JobId,
        /// The incarnation.
        worker: WorkerId,
    },
    /// Takes back what a worker holds and has not started. Reply: [`Reply::Jobs`], those that changed.
    CallBack {
        /// The incarnation.
        worker: WorkerId,
    },
    /// A worker's answer. Reply: [`Reply::Job`] or [`Reply::Refused`].
    Finish {
        /// Which job.
        job: JobId,
        /// The incarnation.
        worker: WorkerId,
        /// Success or failure.
        answer: Answer,
        /// The output, where there is one (also beside a failure).
        output: Option<Payload>,
        /// When the worker began to send its answer, where that is known.
        posted: Option<Timestamp>,
    },
    /// The latest progress value of a running job. Reply: [`Reply::Job`] or [`Reply::Refused`].
    Progress {
        /// Which job.
        job: JobId,
        /// The incarnation.
        worker: WorkerId,
        /// The value.
        value: Payload,
    },
    /// One streamed value of a running job. Every attempt streams from the start: a job that goes back to the
    /// queue loses its chunks, its cursor and its progress. Reply: [`Reply::Job`] or [`Reply::Refused`].
    Chunk {
        /// Which job.
        job: JobId,
        /// The incarnation.
        worker: WorkerId,
        /// The sender's number of this chunk, rising per job and incarnation: a number that is not above the
        /// last one seen from this incarnation is a repetition and changes nothing (reply: the job).
        number: Option<u64>,
        /// The value.
        value: Payload,
    },
    /// Chunks up to and including this index (at most those there are) were written to a client. Reply: [`Reply::Nothing`].
    Delivered {
        /// Which job.
        job: JobId,
        /// Index of the last chunk delivered.
        upto: u64,
    },
    /// A worker lost jobs. Reply: [`Reply::Jobs`], those that changed.
    Lose {
        /// The incarnation.
        worker: WorkerId,
        /// Which of its jobs.
        which: Which,
        /// How.
        loss: Loss,
    },
    /// A worker never received these. Reply: [`Reply::Jobs`].
    GiveBack {
        /// The incarnation.
        worker: WorkerId,
        /// Which of its jobs.
        which: Which,
    },
    /// Ends a job. Reply: [`Reply::Job`] or [`Reply::Refused`].
    Cancel {
        /// Which job.
        job: JobId,
        /// Who.
        by: String,
    },
    /// Ends every waiting job of an endpoint, in workers' lists too. Reply: [`Reply::Jobs`].
    Purge {
        /// Whose queue.
        endpoint: EndpointId,
        /// What the jobs say of who ended them: `purge by …`.
        by: String,
    },
    /// From failed or timed out back to the queue, without output, progress and chunks. Reply: [`Reply::Job`]
    /// or [`Reply::Refused`].
    Retry {
        /// Which job.
        job: JobId,
    },
    /// A new time to live, from now. Reply: [`Reply::Job`] or [`Reply::Refused`].
    SetTtl {
        /// Which job.
        job: JobId,
        /// Milliseconds.
        ttl_ms: i64,
    },
    /// The clock: ends what is over its limits, forgets what is over its retention and not held by a pending
    /// delivery. Reply: [`Reply::Job`],
    /// [`Reply::Forgotten`] or [`Reply::Refused`].
    Expire {
        /// Which job.
        job: JobId,
    },
    /// A try to deliver a webhook. Where it failed, the next one is at `again`, or the delivery is given up.
    /// Reply: [`Reply::Tried`], or [`Reply::Nothing`] where the delivery is settled already, or gone with its job.
    Tried {
        /// Which delivery.
        delivery: DeliveryId,
        /// What came of it.
        tried: Try,
        /// When to try again, where it failed.
        again: Option<Timestamp>,
    },
    /// Delivers a webhook once more from the start. Reply: [`Reply::Tried`], or [`Reply::Nothing`] where there is no
    /// such delivery.
    Redeliver(DeliveryId),
    /// Makes a draft of a batch, with its first requests; a batch whose id is there already is not made again. Reply: [`Reply::Batch`] with the new jobs, or
    /// [`Reply::BatchRefused`].
    MakeBatch {
        /// It.
        batch: Box<Batch>,
        /// Jobs in [`Phase::Draft`](runyard_domain::Phase::Draft) that name the batch.
        requests: Vec<Submission>,
        /// The same key for the same endpoint returns the first batch.
        idempotency_key: Option<String>,
    },
    /// Adds requests to a draft, all or none. Reply: [`Reply::Batch`] with the new jobs, or
    /// [`Reply::BatchRefused`].
    AddToBatch {
        /// Which batch.
        batch: BatchId,
        /// Jobs in [`Phase::Draft`](runyard_domain::Phase::Draft) that name the batch.
        requests: Vec<Submission>,
        /// The same key for the same batch returns the jobs of the first call.
        idempotency_key: Option<String>,
    },
    /// Releases the requests of a draft, [`BATCH_SLICE`] at a time. Reply: [`Reply::Batch`] with the jobs that wait
    /// now, or [`Reply::BatchRefused`].
    FinalizeBatch(BatchId),
    /// Ends a batch with all of its jobs, [`BATCH_SLICE`] at a time. Reply: [`Reply::Batch`] with the jobs that ended,
    /// or [`Reply::BatchRefused`].
    CancelBatch {
        /// Which batch.
        batch: BatchId,
        /// Who.
        by: String,
    },
    /// Changes a batch. Reply: [`Reply::Batch`] or [`Reply::BatchRefused`].
    ChangeBatch {
        /// Which batch.
        batch: BatchId,
        /// How.
        change: BatchChange,
    },
    /// The clock: cancels a draft that nobody touches, goes on with what a finalization or a cancel left, forgets an
    /// ended batch with its jobs, a slice at a time, when its retention is over. Reply: [`Reply::Batch`], [`Reply::BatchRefused`] or [`Reply::Nothing`].
    ExpireBatch(BatchId),
    /// Replaces an endpoint's record. Reply: [`Reply::Nothing`].
    PutEndpoint(Box<Endpoint>),
    /// Removes an endpoint with its releases, workers' records, connection, examples, batches, jobs and payloads. Reply: [`Reply::Nothing`].
    DropEndpoint(EndpointId),
    /// Replaces a release's record. Reply: [`Reply::Nothing`].
    PutRelease(Box<Release>),
    /// Replaces a worker's record. Reply: [`Reply::Nothing`].
    PutWorker(Box<WorkerRecord>),
    /// Replaces a key's record. Reply: [`Reply::Nothing`].
    PutKey(Box<KeyRecord>),
    /// Replaces a connection's record; the endpoint's other one, if it had one, is gone. Reply: [`Reply::Nothing`].
    PutConnection(Box<Connection>),
    /// Removes a connection. Reply: [`Reply::Nothing`].
    DropConnection(ConnectionId),
    /// Replaces the registry login of a name. Reply: [`Reply::Nothing`].
    PutRegistry(Box<Registry>),
    /// Removes the registry login of a name. Reply: [`Reply::Nothing`].
    DropRegistry(String),
    /// Replaces a template's, a network volume's or another such record. Reply: [`Reply::Nothing`].
    PutResource(Box<Resource>),
    /// Removes one. Reply: [`Reply::Nothing`].
    DropResource(ResourceId),
    /// Replaces the example of a name. Reply: [`Reply::Nothing`].
    PutExample(Box<Example>),
    /// Removes the example of a name. Reply: [`Reply::Nothing`].
    DropExample(EndpointId, String),
    /// Replaces a secret's record. Reply: [`Reply::Nothing`].
    PutSecret(Box<SecretRecord>),
    /// Removes the secret of this name. Reply: [`Reply::Nothing`].
    DropSecret(String),
    /// Workers got these secrets; names that are gone are passed over. Reply: [`Reply::Nothing`].
    UseSecrets {
        /// Their names.
        names: Vec<String>,
        /// When.
        at: Timestamp,
    },
    /// Replaces the records of keys that seal, all or none. Reply: [`Reply::Nothing`].
    PutDataKeys(Vec<DataKeyRecord>),
    /// Adds a record to the audit log and lets go what is too old or too much. Reply: [`Reply::Nothing`].
    PutAudit(Box<AuditRecord>),
    /// Does a command of the control plane, and where it changed something adds the record to the audit log, both or
    /// neither. Reply: the command's.
    Recorded {
        /// What is done; none of these itself.
        command: Box<Self>,
        /// Who did it.
        record: Box<AuditRecord>,
    },
    /// Replaces a member's record. Reply: [`Reply::Nothing`].
    PutMember(Box<Member>),
    /// Removes a member. Reply: [`Reply::Nothing`].
    DropMember(MemberId),
    /// Removes the records of keys. Reply: [`Reply::Nothing`].
    DropKeys(Vec<KeyId>),
    /// API keys were used, each last at that time; those that are gone are passed over. Reply: [`Reply::Nothing`].
    UseKeys(Vec<(KeyId, Timestamp)>),
    /// What was measured, into the current interval of each subject. Intervals that are over become part of longer
    /// ones, and those that are too old go. Reply: [`Reply::Nothing`].
    Measure(Vec<(Subject, Interval)>),
}

impl Command {
    /// Whether it brings new jobs, or what can wait: what a full disk refuses.
    pub fn is_new_work(&self) -> bool {
        matches!(
            self.plain(),
            Self::Submit(_) | Self::MakeBatch { .. } | Self::AddToBatch { .. } | Self::Measure(_)
        )
    }

    /// The command itself, without the record that goes with it.
    pub fn plain(&self) -> &Self {
        match self {
            Self::Recorded { command, .. } => command,
            plain => plain,
        }
    }
}

/// A job as a worker gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// The job, running or held.
    pub job: Job,
    /// Its input.
    pub input: Payload,
    /// Its sealed `s3Config`.
    pub s3: Option<Payload>,
}

/// Why a command on one job changed nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Refused {
    /// There is no such job.
    NoSuchJob,
    /// The machine refuses it; the job as it is.
    ByState(Refusal, Box<Job>),
}

/// The answer to one command.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The job as accepted.
    Submitted {
        /// It, with its `seq`.
        job: Box<Job>,
        /// It is the first job of that idempotency key (or id), made earlier.
        existing: bool,
    },
    /// What a worker got, possibly nothing.
    Taken(Vec<Taken>),
    /// The job as it is now.
    Job(Box<Job>),
    /// The jobs that changed, as they are now.
    Jobs(Vec<Job>),
    /// A delivery after a try, or begun anew.
    Tried {
        /// It, as it is now.
        delivery: Box<Delivery>,
        /// When the clock alone changes its job: a settled delivery does not hold it any more.
        due_at: Timestamp,
    },
    /// A batch as it is now.
    Batch {
        /// It.
        batch: Box<Batch>,
        /// The jobs that were added or changed, or, for a repeated call, that were added then.
        jobs: Vec<Job>,
        /// Nothing changed: it was so already.
        existing: bool,
    },
    /// A batch is as it was.
    BatchRefused(BatchRefusal),
    /// The job and its payloads are gone.
    Forgotten(JobId),
    /// Nothing changed.
    Refused(Refused),
    /// Done, with nothing to say.
    Nothing,
}

impl Reply {
    /// Whether the command was not refused.
    pub fn is_change(&self) -> bool {
        !matches!(self, Self::Refused(_) | Self::BatchRefused(_))
    }
}

/// Why output of a worker that does not hold `job` is refused.
pub(crate) fn output_refusal(job: &Job) -> Refusal {
    if job.is_done() { Refusal::AlreadyDone } else { Refusal::NeverHeld }
}
