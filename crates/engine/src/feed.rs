//! The change feed: what happened, in the order in which it was committed. It only nudges; whoever listens
//! looks at the state itself, so a missed message costs time, never correctness.

use runyard_domain::{EndpointId, JobId, WorkerId};

/// Something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Jobs of an endpoint were added, taken or ended.
    Jobs(EndpointId),
    /// Deliveries of webhooks were made, tried or settled.
    Deliveries,
    /// An endpoint's record changed, or it is gone.
    Endpoint(EndpointId),
    /// A worker asked for a job for the first time.
    Ready(WorkerId),
    /// A running job was ended from outside: its worker has to let go of it.
    Stopping {
        /// The incarnation that still runs it.
        worker: WorkerId,
        /// The job.
        job: JobId,
    },
    /// A worker forgot jobs that it held: it should be replaced.
    Forgetful(WorkerId),
    /// What a worker had not come to was called back from it: it should be replaced.
    Spoiled(WorkerId),
    /// A worker reported that it is not fit to work.
    Unfit {
        /// The incarnation.
        worker: WorkerId,
        /// What it said.
        message: String,
    },
}
