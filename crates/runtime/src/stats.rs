//! What workers use of their machine, as it was measured over a moment. What is not known is left out.

use runyard_domain::{EndpointId, Timestamp, WorkerId};
use serde::{Deserialize, Serialize};

/// What one worker uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Which worker.
    pub worker: WorkerId,
    /// Its endpoint.
    pub endpoint: EndpointId,
    /// What it is.
    pub kind: Kind,
    /// When the measuring ended.
    pub at: Timestamp,
    /// Its share of a processor over the last second, in percent: 200 are two processors.
    pub cpu_percent: Option<f64>,
    /// Bytes of memory that it holds, less what is only cached of files.
    pub memory_bytes: Option<u64>,
    /// How many it may hold, where that is bounded.
    pub memory_limit_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Bytes that came over its network since its start.
    pub received_bytes: Option<u64>,
    /// Bytes that it sent.
    pub sent_bytes: Option<u64>,
    /// Bytes that it had read from disks.
    pub read_bytes: Option<u64>,
    /// Bytes that it had written to disks.
    pub written_bytes: Option<u64>,
}

/// What a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Processes of this machine.
    Process,
    /// A container.
    Container,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// What was counted at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// Nanoseconds of processors, since the start.
    pub cpu_ns: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// How many there may be.
    pub memory_limit: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Bytes received and sent, since the start.
    pub network: Option<(u64, u64)>,
    /// Bytes read and written, since the start.
    pub disk: Option<(u64, u64)>,
}

impl Sample {
    /// The share of a processor between two samples that are `elapsed_ns` apart, in percent.
    pub fn cpu_percent(&self, before: &Self, elapsed_ns: u64) -> Option<f64> {
        let used = self.cpu_ns?.saturating_sub(before.cpu_ns?);
        (elapsed_ns > 0).then(|| (used as f64 / elapsed_ns as f64 * 1_000.0).round() / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processors_are_two_hundred_percent() {
        let sample = |cpu_ns| Sample { cpu_ns: Some(cpu_ns), ..Sample::default() };
        assert_eq!(sample(3_000).cpu_percent(&sample(1_000), 1_000), Some(200.0));
        // A process that ended took its count with it.
        assert_eq!(sample(500).cpu_percent(&sample(1_000), 1_000), Some(0.0));
        assert_eq!(sample(1).cpu_percent(&Sample::default(), 1), None);
        assert_eq!(sample(1).cpu_percent(&sample(1), 0), None);
    }
}
