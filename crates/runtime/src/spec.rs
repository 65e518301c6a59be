//! What a worker shall be, and what was seen of it.

use std::collections::BTreeMap;
use std::fmt;

use runyard_domain::image::{Container, Image};
use runyard_domain::registry::Login;
use runyard_domain::start::Seen;
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

/// One worker to start. Its environment holds secrets: it is passed on and neither kept nor printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Folders of this machine that it shares with others.
    #[serde(default)]
    pub volumes: Vec<SharedFolder>,
    /// The whole environment beyond what every worker gets (`PATH`, `HOME`, `TMPDIR`, `LANG`).
    pub env: BTreeMap<String, String>,
    /// Values in it that are secret: they are masked in what it prints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Bounds.
    pub limits: Limits,
    /// The image that it runs, where it shall be a container; `command` and what is about folders are not looked
    /// at then.
    #[serde(default)]
    pub image: Option<ImageSpec>,
}

impl fmt::Debug for WorkerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerSpec")
            .field("id", &self.id)
            .field("endpoint", &self.endpoint)
            .field("release", &self.release)
            .field("command", &self.command)
            .field("image", &self.image)
            .finish_non_exhaustive()
    }
}

/// A folder of this machine that outlives workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedFolder {
    /// Where it lies; a worker that is a process writes to it there.
    pub folder: String,
    /// Where containers see it.
    pub path: String,
}

/// A container to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSpec {
    /// The image, and what is run of it.
    pub image: Image,
    /// What the container gets.
    pub container: Container,
    /// Indexes of its GPUs.
    pub gpus: Vec<u32>,
    /// What its registry is shown, where that is not left to the engine's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
}

/// How far a container is that does not run yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum StartPhase {
    /// The engine and the image are looked for.
    Resolving,
    /// The image is pulled.
    Pulling {
        /// Bytes that came.
        done: u64,
        /// Bytes that are known to come.
        total: u64,
    },
    /// The container is made.
    Creating,
    /// It is made and told to start.
    Starting,
    /// A phase that this version does not know.
    #[serde(other)]
    Other,
}

impl StartPhase {
    /// The phase for people: what is done to the image or the container.
    pub fn words(self) -> String {
        match self {
            Self::Resolving => "looking for its image".to_owned(),
            Self::Pulling { total: 0, .. } => "pulling its image".to_owned(),
            Self::Pulling { done, total } => {
                format!("pulling its image, {} of {} MB", done / 1_000_000, total.div_ceil(1_000_000))
            }
            Self::Creating => "making its container".to_owned(),
            Self::Starting | Self::Other => "starting its container".to_owned(),
        }
    }

    /// Whether the image is still on its way: that takes as long as it takes.
    pub fn is_fetching(self) -> bool {
        matches!(self, Self::Resolving | Self::Pulling { .. })
    }
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
    /// Its main process; 0 where there is none yet.
    pub pid: u32,
    /// When that process existed, or the start began.
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
    /// How far its start is; `None` where its main process exists, or did.
    #[serde(default)]
    pub phase: Option<StartPhase>,
    /// What else was seen of its start.
    #[serde(default)]
    pub start: Seen,
    /// Whether its main process is stopped, or its container paused.
    #[serde(default)]
    pub halted: bool,
}
