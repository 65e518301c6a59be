//! How a job runs that runs: as it should, or on a worker that shows no sign of life.

use serde::{Deserialize, Serialize};

use super::seconds;

/// How a job runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum RunReason {
    /// Its worker runs it.
    Running {
        /// The worker's id.
        worker: String,
        /// For how long, in milliseconds.
        for_ms: i64,
    },
    /// Its worker has missed its pings.
    Silent {
        /// The worker's id.
        worker: String,
        /// For how long it has had the job, in milliseconds.
        for_ms: i64,
        /// For how long nothing was heard of it, in milliseconds.
        silent_ms: i64,
    },
    /// Its worker's process is stopped, or its container is paused.
    Halted {
        /// The worker's id.
        worker: String,
        /// For how long it has had the job, in milliseconds.
        for_ms: i64,
        /// For how long nothing was heard of it, in milliseconds.
        silent_ms: i64,
    },
}

/// A worker pings every ten seconds: one that has missed three of them is silent.
pub const SILENT_MS: i64 = 31_000;

impl RunReason {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Silent { .. } => "silent",
            Self::Halted { .. } => "halted",
            Self::Running { .. } => Self::AS_IT_SHOULD,
        }
    }

    /// The code of what needs no page.
    const AS_IT_SHOULD: &str = "running";

    /// One sentence for people.
    pub fn sentence(&self) -> String {
        match self {
            Self::Running { worker, for_ms } => {
                format!("worker {worker} has been running it for {}", seconds(*for_ms))
            }
            Self::Silent { worker, for_ms, silent_ms } => format!(
                "it has been running on worker {worker} for {}, which has been silent for {}: its process hangs, or cannot reach the server",
                seconds(*for_ms),
                seconds(*silent_ms)
            ),
            Self::Halted { worker, for_ms, silent_ms } => format!(
                "it has been running on worker {worker} for {}, which has been silent for {}: its process is stopped (SIGSTOP) or its container is paused; resume it, or end it",
                seconds(*for_ms),
                seconds(*silent_ms)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_says_nothing_is_told_from_one_that_works() {
        let worker = || "w-1".to_owned();
        let running = RunReason::Running { worker: worker(), for_ms: 3_000 };
        assert_eq!(
            (running.code(), running.sentence().as_str()),
            ("running", "worker w-1 has been running it for 3.0 s")
        );
        let silent = RunReason::Silent { worker: worker(), for_ms: 60_000, silent_ms: 40_000 };
        assert!(
            silent.sentence().contains("for 60 s, which has been silent for 40 s"),
            "{}",
            silent.sentence()
        );
        let halted = RunReason::Halted { worker: worker(), for_ms: 60_000, silent_ms: 4_000 };
        assert!(
            halted.sentence().contains("silent for 4.0 s: its process is stopped"),
            "{}",
            halted.sentence()
        );
    }
}
