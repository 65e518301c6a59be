//! The enumerated reasons: why a job waits, and why it failed. Each has a stable code, which has a page in
//! `docs/errors/`, and one sentence for people.

use serde::{Deserialize, Serialize};

use crate::image::Fault;
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
        /// The phase: `process` (being made) or `load` (imports and model).
        phase: String,
        /// For how long, in milliseconds.
        for_ms: i64,
        /// How long starts of this endpoint usually take, where measured.
        usual_ms: Option<i64>,
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
            Self::Starting { worker, phase, for_ms, usual_ms } => {
                let usual = usual_ms.map_or(String::new(), |ms| format!(" (usually {})", seconds(ms)));
                format!("worker {worker} is starting: {phase} for {}{usual}", seconds(*for_ms))
            }
            Self::StartFailing { times, retry_at, exit, timed_out, unset_env } => {
                let last = exit.last_lines.last().map_or(String::new(), |l| format!("; it last said: {l}"));
                let how =
                    if *timed_out { "ran on and never asked for a job".to_owned() } else { exit.sentence() };
                let env = if *timed_out { unset(unset_env) } else { String::new() };
                format!(
                    "workers fail to start ({times} in a row, the last {how}{last}{env}); next try in {}",
                    seconds(retry_at.since(now))
                )
            }
            Self::ExitedBeforeAsking { times, retry_at, unset_env } => {
                let env = unset(unset_env);
                format!(
                    "the worker ended with code 0 before it asked for a job ({times} in a row){env}; next try in {}",
                    seconds(retry_at.since(now))
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

/// Why a job, or the test of a release, did not succeed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum FailReason {
    /// The handler raised.
    HandlerException {
        /// The exception's type, without its module.
        kind: String,
        /// Its message.
        message: String,
        /// The innermost frame of the user's own code.
        file: Option<String>,
        /// The line in that file.
        line: Option<u32>,
    },
    /// The handler returned an error.
    HandlerError {
        /// What it said.
        message: String,
    },
    /// The worker's process was lost as often as the endpoint allows.
    WorkerLost {
        /// How it ended; `None` where its agent was lost with it.
        exit: Option<Exit>,
        /// Attempts in all.
        attempts: u32,
    },
    /// The worker forgot the job: it asked for the next one and never answered this one.
    Abandoned {
        /// Attempts in all.
        attempts: u32,
    },
    /// It ran longer than it may.
    ExecutionTimeout {
        /// The limit in milliseconds.
        limit_ms: i64,
    },
    /// Its time to live ended.
    TtlExpired {
        /// The limit in milliseconds.
        ttl_ms: i64,
        /// Milliseconds in the queue.
        queued_ms: i64,
        /// Milliseconds of running.
        ran_ms: i64,
    },
    /// The worker's answer could not be taken as a result.
    ResultRejected {
        /// Why.
        why: String,
    },
    /// What the worker should have got cannot be read any more.
    InputUnreadable {
        /// What, and why.
        why: String,
    },
    /// The environment could not be made.
    Environment {
        /// What failed, in one sentence.
        message: String,
        /// The last lines of the installer's output.
        last_lines: Vec<String>,
    },
    /// The image could not be had, or does not fit the machine.
    Image {
        /// What stood in the way.
        fault: Box<Fault>,
    },
    /// The image could not be built.
    Build {
        /// What failed, in one sentence.
        message: String,
        /// The last lines of the build's output.
        last_lines: Vec<String>,
    },
    /// No worker of the release came up.
    StartFailed {
        /// How the worker ended.
        exit: Exit,
        /// Variables that the source reads and the release does not set.
        unset_env: Vec<String>,
        /// Whether a worker runs on without ever having asked for a job.
        timed_out: bool,
    },
    /// It served, and traffic was taken back.
    RolledBack {
        /// Why.
        why: String,
    },
    /// A test request of the release did not succeed.
    TestFailed {
        /// The test's name.
        test: String,
        /// What happened.
        message: String,
    },
}

impl FailReason {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::HandlerException { .. } => "handler_exception",
            Self::HandlerError { .. } => "handler_error",
            Self::WorkerLost { exit: Some(exit), .. } if exit.out_of_memory => "out_of_memory",
            Self::WorkerLost { .. } => "worker_lost",
            Self::Abandoned { .. } => "abandoned",
            Self::ExecutionTimeout { .. } => "execution_timeout",
            Self::TtlExpired { .. } => "ttl_expired",
            Self::ResultRejected { .. } => "result_rejected",
            Self::InputUnreadable { .. } => "input_unreadable",
            Self::Environment { .. } => "environment_failed",
            Self::Image { fault } | Self::StartFailed { exit: Exit { fault: Some(fault), .. }, .. } => {
                fault.code()
            }
            Self::Build { .. } => "build_failed",
            Self::StartFailed { .. } => "start_failed",
            Self::RolledBack { .. } => "rolled_back",
            Self::TestFailed { .. } => "test_failed",
        }
    }

    /// One sentence for people.
    pub fn sentence(&self) -> String {
        match self {
            Self::HandlerException { kind, message, file, line } => {
                let at = match (file, line) {
                    (Some(file), Some(line)) => format!(" ({file}:{line})"),
                    _ => String::new(),
                };
                format!("{kind}: {message}{at}")
            }
            Self::HandlerError { message } => format!("the handler returned an error: {message}"),
            Self::WorkerLost { exit, attempts } => {
                let how = exit.as_ref().map_or("was lost with its agent".to_owned(), Exit::sentence);
                let last = exit
                    .as_ref()
                    .and_then(|e| telling_line(&e.last_lines))
                    .map_or(String::new(), |l| format!("; it last said: {l}"));
                format!(
                    "the worker {how} while it ran the job, after {attempts} {}{last}",
                    attempt_word(*attempts)
                )
            }
            Self::Abandoned { attempts } => format!(
                "the worker asked for another job without ever answering this one, after {attempts} {}",
                attempt_word(*attempts)
            ),
            Self::ExecutionTimeout { limit_ms } => {
                format!("the handler ran longer than its execution timeout of {}", seconds(*limit_ms))
            }
            Self::TtlExpired { ttl_ms, queued_ms, ran_ms } => format!(
                "the job's time to live of {} ended ({} in the queue, {} running)",
                seconds(*ttl_ms),
                seconds(*queued_ms),
                seconds(*ran_ms)
            ),
            Self::ResultRejected { why } => format!("the worker's result was rejected: {why}"),
            Self::InputUnreadable { why } => {
                format!("the job could not be handed to a worker: {why}; submit it again")
            }
            Self::Environment { message, .. } | Self::Build { message, .. } => message.clone(),
            Self::Image { fault } => fault.sentence(),
            Self::StartFailed { exit, unset_env, timed_out } => start_failed(exit, unset_env, *timed_out),
            Self::RolledBack { why } => format!("traffic went back to the release before: {why}"),
            Self::TestFailed { test, message } => format!("test '{test}' did not pass: {message}"),
        }
    }

    /// Lines of the worker's or installer's own output, oldest first.
    pub fn last_lines(&self) -> &[String] {
        match self {
            Self::WorkerLost { exit: Some(exit), .. } | Self::StartFailed { exit, .. } => &exit.last_lines,
            Self::Environment { last_lines, .. } | Self::Build { last_lines, .. } => last_lines,
            _ => &[],
        }
    }
}

fn start_failed(exit: &Exit, unset_env: &[String], timed_out: bool) -> String {
    let env = unset(unset_env);
    if timed_out {
        return format!("the worker runs but never asked for a job{env}");
    }
    if exit.code == Some(0) {
        return format!("the worker ended with code 0 before it asked for a job{env}");
    }
    if let Some(fault) = &exit.fault {
        return fault.sentence();
    }
    // It failed by itself and said why: variables that it also reads would only mislead.
    let last = exit.last_lines.last().map_or(String::new(), |l| format!(": {l}"));
    format!("the worker {} before it asked for a job{last}", exit.sentence())
}

/// The last line that says something: not the SDK's own running commentary.
fn telling_line(lines: &[String]) -> Option<&String> {
    let noise =
        ["Started.", "Finished.", "Jobs in queue:", "Jobs in progress:", "--- Starting Serverless Worker"];
    lines.iter().rev().find(|line| !noise.iter().any(|n| line.trim_start().starts_with(n)))
}

fn unset(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    format!("; its source reads {}, which the release does not set", names.join(", "))
}

fn attempt_word(n: u32) -> &'static str {
    if n == 1 { "attempt" } else { "attempts" }
}

/// A duration for people: `0.4 s`, `12 s`, `3 min`, `2 h`.
pub fn seconds(ms: i64) -> String {
    match ms {
        ..10_000 => format!("{:.1} s", ms as f64 / 1000.0),
        10_000..120_000 => format!("{} s", ms / 1000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}
