//! What a worker shall be, and what was seen of it.

use std::collections::BTreeMap;

use runyard_domain::{EndpointId, Exit, JobId, Timestamp, WorkerId};
use serde::{Deserialize, Serialize};

/// Bounds of one worker's resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of address space or resident memory that it may use, where limited.
    pub memory_bytes: Option<u64>,
    /// Open files.
    pub open_files: u64,
    /// Its share of the processors: what thread pools are told.
    pub threads: u32,
    /// Size of a core dump; 0 keeps none.
    pub core_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: None, open_files: 65_536, threads: 1, core_bytes: 0 }
    }
}

/// One worker to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSpec {
    /// The incarnation.
    pub id: WorkerId,
    /// A label: whose worker it is; also the folder of its log.
    pub endpoint: EndpointId,
    /// A label: which release it runs.
    pub release: u32,
    /// Its token: the agent's listener opens `/w/{token}/…` to this worker only.
    pub token: String,
    /// Program and arguments; the program is an absolute path.
    pub command: Vec<String>,
    /// The folder with the user's code. The worker starts in a folder of its own that shows what is in here, so
    /// that relative paths read the code's files and write none of them.
    pub code_dir: String,
    /// The worker starts in `code_dir` itself and may write to it: somebody works on that code where it lies.
    #[serde(default)]
    pub in_place: bool,
    /// Other folders it may read.
    pub read_dirs: Vec<String>,
    /// The whole environment beyond what every worker gets (`PATH`, `HOME`, `TMPDIR`, `LANG`).
    pub env: BTreeMap<String, String>,
    /// Bounds.
    pub limits: Limits,
}

/// A worker as the runtime sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The incarnation.
    pub id: WorkerId,
    /// The label it was started with.
    pub endpoint: EndpointId,
    /// The label it was started with.
    pub release: u32,
    /// Its main process.
    pub pid: u32,
    /// When that process existed.
    pub started_at: Timestamp,
    /// When it was gone.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// Jobs whose hand-over to this worker was seen to succeed and whose answer was not seen yet, results in
    /// the spool counted as seen.
    pub holds: Vec<JobId>,
    /// Jobs whose results lie in the spool and have not reached the server yet.
    pub spooled: Vec<JobId>,
}
