//! The record of one incarnation of a worker: when it reached which phase of its start, and how it ended.

use serde::{Deserialize, Serialize};

use crate::image::Fault;
use crate::start::Seen;
use crate::{EndpointId, Timestamp, WorkerId};

/// How a worker's process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code, where it exited by itself.
    pub code: Option<i32>,
    /// The signal, where one ended it.
    pub signal: Option<i32>,
    /// Whether it was ended for using too much memory.
    pub out_of_memory: bool,
    /// The last lines of its own output, oldest first, at most 20.
    pub last_lines: Vec<String>,
    /// What kept a container from running, or a worker from working, where something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Box<Fault>>,
}

impl Exit {
    /// `exited with code 1`, `was killed by signal 11 (SIGSEGV)`, `was killed for using too much memory`.
    pub fn sentence(&self) -> String {
        if self.out_of_memory {
            return "was killed for using too much memory".to_owned();
        }
        match self.fault.as_deref() {
            Some(Fault::EngineAway { message }) if self.code.is_some() || self.signal.is_some() => {
                return format!("was ended by its container engine: {message}");
            }
            Some(Fault::Unfit { message }) => return format!("was not fit to work: its {message}"),
            Some(fault) => return format!("could not run: {}", fault.sentence()),
            None => {}
        }
        match (self.code, self.signal) {
            (_, Some(signal)) => format!("was killed by signal {signal} ({})", signal_name(signal)),
            (Some(code), None) => format!("exited with code {code}"),
            (None, None) => "ended, and nobody saw how".to_owned(),
        }
    }
}

/// The usual name of a Linux signal.
pub fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => "another signal",
    }
}

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Its process is being made or is loading code; it has not asked for a job yet.
    Starting,
    /// It asked for a job at least once and takes work.
    Ready,
    /// It finishes what it has and takes nothing more.
    Draining,
    /// Its process is gone.
    Gone,
}

/// One incarnation of a worker, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// The incarnation.
    pub id: WorkerId,
    /// Whose worker it is.
    pub endpoint: EndpointId,
    /// The release that it runs.
    pub release: u32,
    /// SHA-256 of its token, in hex: the token itself is only in its URLs.
    pub token_hash: String,
    /// Its life.
    pub state: WorkerState,
    /// Why it was started: `queue`, `min`, `test`, `rollout`, `canary`.
    pub cause: String,
    /// Indexes of the GPUs it holds.
    pub gpus: Vec<u32>,
    /// When it was decided.
    pub created_at: Timestamp,
    /// When its process existed.
    pub started_at: Option<Timestamp>,
    /// When it first asked for a job.
    pub ready_at: Option<Timestamp>,
    /// What else was seen of its start.
    #[serde(default)]
    pub start: Seen,
    /// When its process was gone.
    pub ended_at: Option<Timestamp>,
    /// Its process id, for people.
    pub pid: Option<u32>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// Why we stopped it, where we did.
    pub stop_cause: Option<String>,
    /// The SDK version that it told (user agent or ping).
    pub sdk: Option<String>,
}
