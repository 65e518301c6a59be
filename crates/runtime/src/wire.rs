//! What the server and the agent say to each other over the agent's control socket: JSON bodies of a small
//! HTTP interface, and one event per line on `GET /events`. Both sides may be of different versions, so
//! fields are only ever added.
//!
//! | route | body | answer |
//! |---|---|---|
//! | `GET /info` | | [`Info`] |
//! | `GET /workers` | | list of [`crate::Observed`] |
//! | `POST /workers` | [`crate::WorkerSpec`] | [`Started`] |
//! | `POST /workers/{id}/stop` | [`Ending`] | |
//! | `DELETE /workers/{id}` | | |
//! | `POST /workers/{id}/exec` | [`crate::session`] | [`crate::session`], once the command runs |
//! | `GET /stats` | | list of [`crate::stats::Stats`], after a second |
//! | `GET /events` | | [`Notice`], one a line |
//! | `POST /shutdown` | | when the workers are gone |
//!
//! An answer that is not 2xx carries a [`Fault`].

use runyard_domain::WorkerId;
use serde::{Deserialize, Serialize};

use crate::{Event, RuntimeError, Stop, Whose};

/// The header that proves that a request comes from who may read `run/agent.key`: the server towards the
/// agent, and the agent towards the server. Workers can reach sockets but not that file.
pub const KEY_HEADER: &str = "x-runyard-agent";

/// The header that tells servers apart, on every request of a server to the agent. What an earlier server answered
/// no longer holds once another one has asked which jobs the workers have.
pub const SERVER_HEADER: &str = "x-runyard-server";

/// Who the agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// The base URL of its listener for workers.
    pub worker_url: String,
    /// What keeps workers away from the data directory.
    pub boundary: String,
}

/// A worker was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Its main process.
    pub pid: u32,
}

/// How a worker shall end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Ending {
    /// SIGTERM to the main process.
    Term,
    /// SIGKILL to everything.
    Kill,
}

impl From<Stop> for Ending {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Term => Self::Term,
            Stop::Kill => Self::Kill,
        }
    }
}

/// An event on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// The stream is open: what happens from now on is told.
    Hello,
    /// A worker's main process is gone.
    Exited(WorkerId),
    /// New output of a worker is in its log.
    Output(WorkerId),
    /// The start of a worker is a step further.
    Progress(WorkerId),
    /// A kind that this version does not know.
    #[serde(untagged)]
    Unknown(serde_json::Value),
}

impl Notice {
    /// The event that the notice tells of, if any.
    pub fn event(self) -> Option<Event> {
        match self {
            Self::Exited(worker) => Some(Event::Exited(worker)),
            Self::Output(worker) => Some(Event::Output(worker)),
            Self::Progress(worker) => Some(Event::Progress(worker)),
            Self::Hello | Self::Unknown(_) => None,
        }
    }
}

/// The agent could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What was tried.
    pub operation: String,
    /// What happened.
    pub message: String,
    /// Whose fault it is: `ours`, `engine`, `image`, `user`.
    pub whose: String,
    /// Whether trying again can help.
    pub retryable: bool,
}

impl From<Fault> for RuntimeError {
    fn from(fault: Fault) -> Self {
        let whose = match fault.whose.as_str() {
            "ours" => Whose::Ours,
            "image" => Whose::Image,
            "user" => Whose::User,
            _ => Whose::Engine,
        };
        Self { operation: fault.operation, message: fault.message, whose, retryable: fault.retryable }
    }
}

impl From<RuntimeError> for Fault {
    fn from(error: RuntimeError) -> Self {
        let whose = match error.whose {
            Whose::Ours => "ours",
            Whose::Engine => "engine",
            Whose::Image => "image",
            Whose::User => "user",
        };
        Self {
            operation: error.operation,
            message: error.message,
            whose: whose.to_owned(),
            retryable: error.retryable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_of_later_versions_are_read() {
        let read = |text: &str| serde_json::from_str::<Notice>(text).ok();
        assert_eq!(read(r#""hello""#), Some(Notice::Hello));
        assert_eq!(read(r#"{"exited":"w1"}"#), Some(Notice::Exited(WorkerId::new("w1"))));
        assert!(matches!(read(r#"{"paused":{"x":1}}"#), Some(Notice::Unknown(_))));
    }
}
