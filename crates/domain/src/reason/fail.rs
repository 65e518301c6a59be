//! Why a job, or a release, failed.

use serde::{Deserialize, Serialize};

use super::cuda::Shortage;
use super::said::{brief, last_words};
use super::{attempt_word, seconds, unset};
use crate::Exit;
use crate::image::Fault;

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
            Self::WorkerLost { exit: Some(exit), .. } if exit.out_of_memory => "out_of_memory",
            _ if self.gpu_shortage().is_some() => "cuda_out_of_memory",
            Self::HandlerException { .. } => "handler_exception",
            Self::HandlerError { .. } => "handler_error",
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

    /// What its text says of a GPU's memory that was too small.
    pub fn gpu_shortage(&self) -> Option<Shortage> {
        match self {
            Self::HandlerException { message, .. } | Self::HandlerError { message } => Shortage::of(message),
            Self::WorkerLost { exit: Some(exit), .. } => {
                // What an earlier job of this worker said is not about this one.
                let mut own = exit.last_lines.iter().rev().take_while(|line| !begins_a_job(line));
                own.find_map(|line| Shortage::of(line))
            }
            _ => None,
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
                match (Shortage::of(message), brief(message)) {
                    (Some(shortage), _) => format!("{shortage}{at}"),
                    (None, none) if none.is_empty() => format!("{kind}{at}"),
                    (None, message) => format!("{kind}: {message}{at}"),
                }
            }
            Self::HandlerError { message } => format!("the handler returned an error: {}", brief(message)),
            Self::WorkerLost { exit, attempts } => {
                let how = exit.as_ref().map_or("was lost with its agent".to_owned(), Exit::sentence);
                let line = exit.as_ref().and_then(last_said);
                let said = self.gpu_shortage().map(|shortage| shortage.to_string()).or(line);
                let last = said.map_or(String::new(), |said| format!("; it last said: {said}"));
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
    if let Some(fault) = &exit.fault {
        return fault.sentence();
    }
    if exit.code == Some(0) {
        return format!("the worker ended with code 0 before it asked for a job{}", or_no_start(env));
    }
    // It failed by itself and said why: variables that it also reads would only mislead.
    let last = last_said(exit).map_or(String::new(), |said| format!(": {said}"));
    format!("the worker {} before it asked for a job{last}", exit.sentence())
}

/// What a program that comes to its end is told that reads no variable which is not set.
pub(super) fn or_no_start(unset: String) -> String {
    if unset.is_empty() {
        return ": its program came to its end without running runpod.serverless.start".to_owned();
    }
    unset
}

/// What a worker said last that says something, of the job that it had last: the exception that it ended by, else a line.
pub(super) fn last_said(exit: &Exit) -> Option<String> {
    if let Some(Fault::Unfit { .. }) = exit.fault.as_deref() {
        return None;
    }
    let from = exit.last_lines.iter().rposition(|line| begins_a_job(line)).map_or(0, |at| at + 1);
    let lines = || exit.last_lines[from..].iter().flat_map(|line| line.lines());
    // Python ends with 1 by an exception that nobody caught.
    let raised = (exit.code == Some(1)).then(|| last_words(lines())).flatten();
    raised.or_else(|| telling_line(&exit.last_lines).map(|line| brief(line)))
}

/// Whether a line is the SDK's word that it begins or has ended a job.
fn begins_a_job(line: &str) -> bool {
    ["Started.", "Finished."].iter().any(|word| line.trim_end().ends_with(word))
}

/// The last line that says something: not the SDK's own running commentary.
pub(super) fn telling_line(lines: &[String]) -> Option<&String> {
    let noise =
        ["Started.", "Finished.", "Jobs in queue:", "Jobs in progress:", "--- Starting Serverless Worker"];
    lines.iter().rev().find(|line| !noise.iter().any(|n| line.trim_start().starts_with(n)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(lines: &[&str]) -> FailReason {
        let last_lines = lines.iter().map(|line| (*line).to_owned()).collect();
        let exit = Exit { code: Some(1), signal: None, out_of_memory: false, last_lines, fault: None };
        FailReason::WorkerLost { exit: Some(exit), attempts: 1 }
    }

    fn raised(message: &str) -> FailReason {
        let (file, line) = (Some("handler.py".to_owned()), Some(9));
        FailReason::HandlerException { kind: "MemoryError".into(), message: message.into(), file, line }
    }

    #[test]
    fn an_exception_is_one_sentence_whatever_it_says() {
        assert_eq!(raised("").sentence(), "MemoryError (handler.py:9)");
        assert_eq!(raised("").title(), "MemoryError");
        assert_eq!(raised("no\n  room\u{1b}").sentence(), "MemoryError: no room (handler.py:9)");
        assert!(raised(&"z".repeat(100_000)).sentence().len() < 500);
        let returned = FailReason::HandlerError { message: "z".repeat(100_000) };
        assert!(returned.sentence().len() < 500);
    }

    fn ended(code: i32, lines: &[&str], fault: Option<Fault>) -> FailReason {
        let last_lines = lines.iter().map(|line| (*line).to_owned()).collect();
        let fault = fault.map(Box::new);
        let exit = Exit { code: Some(code), signal: None, out_of_memory: false, last_lines, fault };
        FailReason::StartFailed { exit, unset_env: vec![], timed_out: false }
    }

    #[test]
    fn a_start_that_failed_names_the_exception_and_its_place() {
        let lines = [
            "loading",
            "Traceback (most recent call last):",
            "  File \"/app/handler.py\", line 4, in <module>",
            "OSError: license expired",
            " two",
        ];
        let sentence = |reason: FailReason| reason.sentence();
        assert_eq!(
            sentence(ended(1, &lines, None)),
            "the worker exited with code 1 before it asked for a job: OSError: license expired (/app/handler.py:4)"
        );
        // Another code is the program's own choice: what it said last counts.
        let other = sentence(ended(3, &lines, None));
        assert!(other.ends_with("asked for a job: two"), "{other}");
        assert_eq!(
            sentence(ended(0, &[], None)),
            "the worker ended with code 0 before it asked for a job: its program came to its end without running runpod.serverless.start"
        );
    }

    #[test]
    fn a_worker_that_is_not_fit_has_a_code_of_its_own() {
        let lines = ["Fitness check failed: gpu | RuntimeError: 3 ECC errors".to_owned()];
        let fault = Fault::unfit(&lines);
        let reason = ended(1, &[], fault);
        assert_eq!(reason.code(), "fitness_check_failed");
        assert_eq!(
            reason.sentence(),
            "the worker is not fit to work: its check 'gpu' failed: RuntimeError: 3 ECC errors"
        );
        assert_eq!(Fault::unfit(&["all is well".to_owned()]), None);
    }

    #[test]
    fn a_gpu_that_was_too_small_is_seen_in_the_last_words_of_this_job_alone() {
        let short = "RuntimeError: CUDA out of memory. Tried to allocate 2.50 GiB.";
        let this = lost(&["Started.", short, "frame #0: c10"]);
        assert_eq!(this.code(), "cuda_out_of_memory");
        assert!(
            this.sentence().ends_with("it last said: CUDA out of memory: tried 2.50 GiB"),
            "{}",
            this.sentence()
        );
        let earlier = lost(&["Started.", short, "Finished.", "Started.", "no way on"]);
        assert_eq!(earlier.code(), "worker_lost");
        assert!(earlier.sentence().ends_with("it last said: no way on"), "{}", earlier.sentence());
    }
}
