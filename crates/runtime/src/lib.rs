//! What runs workers. One seam, [`Runtime`]: a desired spec goes in, observed workers and their exits come
//! out. A runtime knows processes, not endpoints or jobs; it passes ids through as labels.
//!
//! [`process`] runs workers on this machine through the agent: as processes, or as containers, for which [`docker`]
//! speaks to the container engine. [`fake`] is scripted, for tests. [`gpu`] measures the GPUs
//! of this machine.

mod control;
#[cfg(feature = "docker")]
pub mod docker;
pub mod fake;
pub mod gpu;
mod paths;
pub mod process;
pub mod session;
mod spec;
pub mod stats;
pub mod wire;

pub use paths::{Paths, name_of};
use session::Frames;
pub use spec::{ImageSpec, Limits, Observed, SharedFolder, StartPhase, WorkerSpec};
use stats::Stats;

use std::future::Future;
use std::pin::Pin;

use runyard_domain::WorkerId;
use tokio::sync::broadcast;

/// A boxed future, so that `dyn Runtime` works.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// runyard's own.
    Ours,
    /// The engine's below us (agent, Docker, cluster).
    Engine,
    /// The image's or environment's.
    Image,
    /// The user's (a command that does not exist).
    User,
}

/// A runtime could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {operation}: {message}")]
pub struct RuntimeError {
    /// What was tried, as `start worker w1`.
    pub operation: String,
    /// What happened.
    pub message: String,
    /// Whose fault it is.
    pub whose: Whose,
    /// Whether trying again can help.
    pub retryable: bool,
}

/// How to end a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM to the main process: it may finish what it has.
    Term,
    /// SIGKILL to the process group and everything that it left behind.
    Kill,
}

/// Something happened; whoever cares lists again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A worker's main process is gone. `list` tells how.
    Exited(WorkerId),
    /// New output of a worker is in its log.
    Output(WorkerId),
    /// The start of a worker that is a container is a step further. `list` tells which.
    Progress(WorkerId),
    /// The agent is gone and its workers with it, or it came back: list anew.
    Resync,
}

/// What runs workers.
pub trait Runtime: Send + Sync {
    /// Starts a worker; resolves when its process exists, with the process id. A container's start goes on after
    /// that: its process id is 0, and `list` tells how far it is. Starting an id twice is an error of ours.
    fn start(&self, spec: WorkerSpec) -> Pending<'_, Result<u32, RuntimeError>>;
    /// Begins to end a worker. Ending one that is gone is no error.
    fn stop<'a>(&'a self, worker: &'a WorkerId, how: Stop) -> Pending<'a, Result<(), RuntimeError>>;
    /// Every worker it knows: running ones, and ended ones until they are forgotten.
    fn list(&self) -> Pending<'_, Result<Vec<Observed>, RuntimeError>>;
    /// Drops an ended worker from the list and removes its working directory.
    fn forget<'a>(&'a self, worker: &'a WorkerId) -> Pending<'a, Result<(), RuntimeError>>;
    /// Events from now on. A receiver that lags lists anew.
    fn watch(&self) -> broadcast::Receiver<Event>;
    /// The base URL under which workers reach the worker protocol; what follows is `/w/{token}/v2/…`.
    fn worker_url(&self) -> Pending<'_, Result<String, RuntimeError>>;
    /// What keeps workers away from the data directory, as one line for people (`Landlock`, `another user`,
    /// `not a boundary: …`).
    fn boundary(&self) -> Pending<'_, Result<String, RuntimeError>>;
    /// What each worker uses, measured over a second.
    fn stats(&self) -> Pending<'_, Result<Vec<Stats>, RuntimeError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
    /// Runs a command beside a worker, inside of what holds it: the frames of a [`session`] go in and come out. It
    /// resolves when the command runs. The command ends when either side is dropped.
    fn exec<'a>(&'a self, worker: &'a WorkerId, _input: Frames) -> Pending<'a, Result<Frames, RuntimeError>> {
        let refused = RuntimeError {
            operation: format!("run a command beside worker {worker}"),
            message: "what runs the workers here runs no commands".to_owned(),
            whose: Whose::User,
            retryable: false,
        };
        Box::pin(std::future::ready(Err(refused)))
    }
    /// Who the agent is, where there is one.
    fn agent(&self) -> Pending<'_, Result<Option<wire::Info>, RuntimeError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
    /// Ends every worker and the agent itself, where there is one.
    fn shut_down(&self) -> Pending<'_, Result<(), RuntimeError>>;
}
