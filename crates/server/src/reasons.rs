//! What the gateway asks of the fleet: why a job waits, and how many workers an endpoint has.

use runyard_domain::{EndpointId, Job, WaitReason};
use runyard_fleet::Fleet;
use runyard_gateway::{Reasons, WorkerCounts};

/// The fleet, as the gateway asks it.
pub(crate) struct FleetReasons(pub(crate) Fleet);

impl Reasons for FleetReasons {
    fn waiting(&self, job: &Job) -> WaitReason {
        self.0.waiting(job)
    }

    fn workers(&self, endpoint: &EndpointId) -> WorkerCounts {
        let counts = self.0.counts(endpoint);
        WorkerCounts {
            idle: counts.idle,
            initializing: counts.starting,
            ready: counts.idle,
            running: counts.running,
            throttled: counts.throttled,
            unhealthy: counts.unhealthy,
            ready_ids: counts.ready_ids,
        }
    }
}
