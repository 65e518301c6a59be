//! Why a job waits.

use serde::{Deserialize, Serialize};

use super::fail::{last_said, or_no_start};
use super::{seconds, unset};
use crate::start::Usual;
use crate::{Exit, Timestamp};

/// Why a job that waits is not running yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum WaitReason {
    /// The endpoint has no release that may serve.
    NoRelease,
    /// `workers_max` is 0.
    NoWorkerAllowed,
    /// Every worker has as many jobs as it takes.
    AllBusy {
        /// How many workers there are.
        workers: u32,
        /// How many there may be.
        max: u32,
        /// The job's place in the queue, from 1.
        position: u64,
        /// Expected wait in milliseconds, where jobs of this endpoint have been measured.
        eta_ms: Option<i64>,
    },
    /// Its batch is a draft.
    InDraft,
    /// A worker has it in a list and runs the jobs before it first.
    InList {
        /// Its id.
        worker: String,
        /// How many of its list come first.
        ahead: u64,
        /// Expected wait in milliseconds, where jobs of this endpoint have been measured.
        eta_ms: Option<i64>,
    },
    /// Every GPU that would do is held.
    NoGpuFree {
        /// What a worker needs, in words.
        asked: String,
        /// Who holds them: endpoint names.
        holders: Vec<String>,
    },
    /// The machine has no such GPUs, or fewer than a worker needs.
    NoGpuMatches {
        /// What a worker needs, in words.
        asked: String,
        /// What there is, in words.
        there: String,
    },
    /// A worker starts.
    Starting {
        /// Its id.
        worker: String,
        /// The phase: `process` (being made), what is done to its image or container, or `load` (imports and model).
        phase: String,
        /// For how long it has been in that phase, in milliseconds.
        phase_ms: i64,
        /// How long that phase usually takes, where measured.
        phase_usual: Option<Usual>,
        /// For how long it has been starting, in milliseconds.
        for_ms: i64,
        /// How long starts like this usually take, where measured.
        usual: Option<Usual>,
    },
    /// Workers fail to start; the next try waits.
    StartFailing {
        /// Failures in a row.
        times: u32,
        /// When the next start is tried.
        retry_at: Timestamp,
        /// How the last one ended.
        exit: Exit,
        /// Whether the last one ran on without ever asking for a job, and was ended for it.
        timed_out: bool,
        /// Variables that the handler's source reads and the release does not set.
        unset_env: Vec<String>,
    },
    /// Workers end with code 0 before they ask for a job.
    ExitedBeforeAsking {
        /// Failures in a row.
        times: u32,
        /// When the next start is tried.
        retry_at: Timestamp,
        /// Variables that the handler's source reads and the release does not set.
        unset_env: Vec<String>,
    },
    /// A worker will be started when the scaler says so.
    ScalerWaits {
        /// When, in milliseconds from now.
        in_ms: i64,
    },
    /// It has low priority: it waits until a worker is there for other jobs.
    LowPriority,
    /// The job may be taken, and a worker is about to.
    AboutToBeTaken,
    /// The server is shutting down.
    ServerDraining,
}

impl WaitReason {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoRelease => "no_release",
            Self::NoWorkerAllowed => "no_worker_allowed",
            Self::AllBusy { .. } => "all_busy",
            Self::InDraft => "in_draft",
            Self::InList { .. } => "in_list",
            Self::NoGpuFree { .. } => "no_gpu_free",
            Self::NoGpuMatches { .. } => "no_gpu_matches",
            Self::Starting { .. } => "starting",
            Self::StartFailing { exit: Exit { fault: Some(fault), .. }, .. } => fault.code(),
            Self::StartFailing { .. } => "start_failing",
            Self::ExitedBeforeAsking { .. } => "exited_before_asking",
            Self::ScalerWaits { .. } => "scaler_waits",
            Self::LowPriority => "low_priority",
            Self::AboutToBeTaken => "about_to_be_taken",
            Self::ServerDraining => "server_draining",
        }
    }

    /// Lines of the worker's own output, oldest first.
    pub fn last_lines(&self) -> &[String] {
        match self {
            Self::StartFailing { exit, .. } => &exit.last_lines,
            _ => &[],
        }
    }

    /// One sentence for people. `now` turns points in time into durations.
    pub fn sentence(&self, now: Timestamp) -> String {
        match self {
            Self::NoRelease => "the endpoint has no release that passed its tests".to_owned(),
            Self::NoWorkerAllowed => {
                "no worker is allowed: the endpoint's workers_max is 0; raise it to run jobs".to_owned()
            }
            Self::AllBusy { workers, max, position, eta_ms } => {
                let eta = eta_ms.map_or(String::new(), |ms| format!(", expected in {}", seconds(ms)));
                let busy = match workers {
                    1 => "the one worker is busy".to_owned(),
                    n => format!("all {n} workers are busy"),
                };
                format!("{busy} (at most {max} are allowed); position {position} in the queue{eta}")
            }
            Self::InDraft => "its batch is a draft: its requests run once it is finalized".to_owned(),
            Self::InList { worker, ahead, eta_ms } => {
                let eta = eta_ms.map_or(String::new(), |ms| format!(", expected in {}", seconds(ms)));
                let first = match ahead {
                    0 => "the job that it runs".to_owned(),
                    1 => "the job that it runs and one more".to_owned(),
                    n => format!("the job that it runs and {n} more"),
                };
                format!("worker {worker} has it in a list and finishes {first} first{eta}")
            }
            Self::NoGpuFree { asked, holders } => {
                format!("no GPU is free for a worker that needs {asked}: held by {}", holders.join(", "))
            }
            Self::NoGpuMatches { asked, there } => {
                format!("a worker needs {asked}, and this machine has {there}")
            }
            Self::Starting { worker, phase, phase_ms, phase_usual, for_ms, usual } => {
                let said = |usual: &Option<Usual>| usual.map_or(String::new(), |u| format!(" ({u})"));
                let part = format!("{phase} for {}{}", seconds(*phase_ms), said(phase_usual));
                let whole = format!("{} in all{}", seconds(*for_ms), said(usual));
                format!("worker {worker} is starting: {part}, {whole}")
            }
            Self::StartFailing { times, retry_at, exit, timed_out, unset_env } => {
                let last = last_said(exit).map_or(String::new(), |said| format!("; it last said: {said}"));
                let how =
                    if *timed_out { "ran on and never asked for a job".to_owned() } else { exit.sentence() };
                let env = if *timed_out { unset(unset_env) } else { String::new() };
                let next = next_try(*retry_at, now);
                format!("workers fail to start ({times} in a row, the last {how}{last}{env}); {next}")
            }
            Self::ExitedBeforeAsking { times, retry_at, unset_env } => {
                let why = or_no_start(unset(unset_env));
                let next = next_try(*retry_at, now);
                format!(
                    "the worker ended with code 0 before it asked for a job ({times} in a row){why}; {next}"
                )
            }
            Self::ScalerWaits { in_ms } => {
                format!("the scaler adds a worker in {} if the job still waits", seconds(*in_ms))
            }
            Self::LowPriority => {
                "the job has low priority: no worker is started for it, the next one that is free takes it"
                    .to_owned()
            }
            Self::AboutToBeTaken => "a worker is free and is about to take it".to_owned(),
            Self::ServerDraining => "the server is shutting down; the job stays queued".to_owned(),
        }
    }
}

/// When a start is tried again; one whose time has come is on its way.
fn next_try(at: Timestamp, now: Timestamp) -> String {
    match at.since(now) {
        ..=0 => "it is being tried again".to_owned(),
        ms => format!("next try in {}", seconds(ms)),
    }
}
