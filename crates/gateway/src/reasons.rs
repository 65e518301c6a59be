//! What the gateway asks the fleet: why a job waits, and how many workers an endpoint has. The fleet implements
//! it; the gateway stays ignorant of how workers come to be.

use runyard_domain::{EndpointId, Job, WaitReason};

/// Answers about workers that the job API passes on.
pub trait Reasons: Send + Sync {
    /// Why this waiting job is not running yet.
    fn waiting(&self, job: &Job) -> WaitReason;

    /// The workers of an endpoint by what they do.
    fn workers(&self, endpoint: &EndpointId) -> WorkerCounts;
}

/// The workers of one endpoint, counted as RunPod's `/health` counts them: an idle worker is both `idle` and
/// `ready`, a worker with a job is only `running`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerCounts {
    /// Ready and without a job.
    pub idle: u64,
    /// Started, not yet ready.
    pub initializing: u64,
    /// Able to take a job now.
    pub ready: u64,
    /// With a job.
    pub running: u64,
    /// Wanted, but without a machine to run on.
    pub throttled: u64,
    /// Failed to start, or said that they are not fit.
    pub unhealthy: u64,
    /// The ids of the ready ones.
    pub ready_ids: Vec<String>,
}
