//! What the engine refuses, and what can fail below it.

use runyard_domain::{BatchRefusal, EndpointId, JobId, job::Refusal};
use runyard_store::StoreError;
use runyard_vault::Denied;

/// Why a call to the engine changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The server is shutting down and takes no new jobs.
    #[error("the server is shutting down and accepts no new jobs; try again in a moment")]
    Draining,
    /// The disk is full.
    #[error("the disk is full: no new jobs are accepted until space is free")]
    DiskFull,
    /// The endpoint's queue is full.
    #[error(
        "{waiting} jobs wait at this endpoint, and its queue_limit is {limit}{}: nothing was accepted. Wait until some are done, let more workers run (--max), or raise it: runyard endpoints set {endpoint} --queue-limit N",
        beyond(*.more)
    )]
    QueueFull {
        /// Which one.
        endpoint: EndpointId,
        /// How many jobs wait there.
        waiting: u64,
        /// How many may.
        limit: u64,
        /// How many came.
        more: u64,
    },
    /// The input is larger than the endpoint takes.
    #[error(
        "the input has {bytes} bytes, and endpoint '{endpoint}' takes {limit} at most: store it elsewhere and send its address, or raise it: runyard endpoints set {endpoint} --max-input SIZE"
    )]
    InputTooLarge {
        /// Its name.
        endpoint: String,
        /// How large it is, as far as it was read.
        bytes: u64,
        /// How large it may be.
        limit: u64,
    },
    /// There is no such endpoint.
    #[error("there is no endpoint '{0}'")]
    NoSuchEndpoint(EndpointId),
    /// There is no such job.
    #[error("there is no job '{0}' here, or its retention is over")]
    NoSuchJob(JobId),
    /// The job's state does not allow it.
    #[error("job '{job}': {refusal}")]
    Refused {
        /// Which job.
        job: JobId,
        /// Why.
        #[source]
        refusal: Refusal,
    },
    /// A batch does not allow it.
    #[error(transparent)]
    Batch(BatchRefusal),
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// A secret (of a job's `s3Config`, of a registry login, of a worker) cannot be sealed or opened.
    #[error("cannot seal or open a secret: {0}")]
    Seal(#[from] runyard_vault::SealError),
    /// The store failed; the server stops.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The writer has stopped after a failure of the store.
    #[error("the store has failed before; the server is stopping")]
    Stopped,
}

/// What came, where that is more than one job.
fn beyond(more: u64) -> String {
    if more == 1 { String::new() } else { format!(", too few for {more} more") }
}
