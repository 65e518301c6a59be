//! How a command ends when it does not end well: the exit codes, the lines on stderr (what happened, why, what to
//! do), and the same as JSON with `--json`.

use std::process::ExitCode;

use serde_json::json;

use crate::client::ClientError;
use crate::output::{Tone, Ui, text};

/// Exit codes, the same for every command (docs/cli.md). 0 is success and 2 is clap's for wrong usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Something did not work.
    Failure = 1,
    /// The command was not understood.
    Usage = 2,
    /// The job, deploy or test ended without success.
    Unsuccessful = 3,
    /// Not signed in, or not allowed.
    Denied = 4,
    /// There is no such thing.
    NotFound = 5,
    /// Waiting ended; the work goes on.
    TimedOut = 7,
    /// What there is differs from what the file says (`--exit-code`).
    Differs = 8,
    /// Interrupted by the user.
    Interrupted = 130,
}

/// Stdout was closed by its reader, who has seen enough.
#[derive(Debug, thiserror::Error)]
#[error("stdout is closed")]
pub struct OutputClosed;

/// Something that ran elsewhere ended with this code, and has said itself what there is to say.
#[derive(Debug, thiserror::Error)]
#[error("it ended with code {0}")]
pub struct Exit(pub u8);

/// An error with an exit code of its own and with what to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure(Box<Report>);

#[derive(Debug, Clone, PartialEq)]
struct Report {
    code: Code,
    /// The stable code for machines, where the server gave one.
    name: Option<String>,
    message: String,
    causes: Vec<String>,
    lines: Vec<String>,
    hints: Vec<String>,
    request_id: Option<String>,
}

impl Failure {
    /// What happened.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let message = message.into();
        let (causes, lines, hints) = (Vec::new(), Vec::new(), Vec::new());
        Self(Box::new(Report { code, name: None, message, causes, lines, hints, request_id: None }))
    }

    /// A command that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// The stable code for machines.
    pub fn named(mut self, name: Option<String>) -> Self {
        self.0.name = name;
        self
    }

    /// Why.
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.0.causes.push(cause.into());
        self
    }

    /// Lines of the worker's or installer's own output.
    pub fn lines(mut self, lines: &[String]) -> Self {
        self.0.lines.extend_from_slice(lines);
        self
    }

    /// What to do: a command, or a sentence.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// What an error says, to be said with more.
    pub fn of(error: &anyhow::Error) -> Self {
        if let Some(failure) = error.downcast_ref::<Self>() {
            return failure.clone();
        }
        let mut failure = match error.downcast_ref::<ClientError>() {
            Some(client) => of_client(client),
            None => Self::new(Code::Failure, error.to_string()),
        };
        for cause in error.chain().skip(1) {
            let cause = cause.to_string();
            if !failure.0.causes.contains(&cause) {
                failure.0.causes.push(cause);
            }
        }
        failure
    }
}

impl Report {
    fn print(&self, ui: Ui) {
        let message = text::clean(&self.message);
        ui.note(&format!("{} {}", ui.err.tone("error:", Tone::Bad), indent(&message)));
        for cause in &self.causes {
            ui.note(&format!("  {}  {}", ui.err.tone("cause", Tone::Dim), indent(&text::clean(cause))));
        }
        for line in &self.lines {
            ui.note(&format!("         {} {}", ui.err.tone("|", Tone::Dim), text::clean(line).trim_end()));
        }
        for hint in &self.hints {
            ui.note(&format!("  {}    {}", ui.err.tone("try", Tone::Dim), indent(&text::clean(hint))));
        }
        if let Some(id) = &self.request_id {
            ui.note(&format!("  {}     {}", ui.err.tone("id", Tone::Dim), text::line(id, 80)));
        }
    }

    fn print_json(&self, ui: Ui) {
        let document = json!({
            "error": {
                "code": self.name,
                "message": self.message,
                "causes": self.causes,
                "lastLines": self.lines,
                "hints": self.hints,
                "requestId": self.request_id,
            },
            "exit": self.code as u8,
        });
        ui.note(&crate::output::json::compact(&document.to_string()));
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Failure {}

/// Prints the error and says how to exit.
pub fn report(error: &anyhow::Error, ui: Ui) -> ExitCode {
    if error.chain().any(<dyn std::error::Error>::is::<OutputClosed>) {
        return ExitCode::SUCCESS;
    }
    if let Some(Exit(code)) = error.downcast_ref::<Exit>() {
        return ExitCode::from(*code);
    }
    let Failure(report) = Failure::of(error);
    if ui.json {
        report.print_json(ui);
    } else {
        report.print(ui);
    }
    ExitCode::from(report.code as u8)
}

fn of_client(error: &ClientError) -> Failure {
    let failure = Failure::new(code_of(error), error.to_string());
    match error {
        ClientError::Unreachable { .. } => failure
            .hint("runyard up           starts a server on this machine")
            .hint("runyard login URL    names another one"),
        ClientError::Unreadable { .. } => failure.hint("runyard doctor       compares the versions"),
        ClientError::Refused(problem) => {
            let mut failure = failure.named(problem.code.clone());
            failure.0.request_id.clone_from(&problem.request_id);
            failure.0.causes.extend(problem.cause.clone());
            failure.0.hints.extend(problem.hint.clone());
            failure
        }
        _ => failure,
    }
}

fn code_of(error: &ClientError) -> Code {
    match error {
        ClientError::Address { .. } => Code::Usage,
        ClientError::Refused(problem) => match problem.status {
            401 | 403 => Code::Denied,
            404 => Code::NotFound,
            _ => Code::Failure,
        },
        _ => Code::Failure,
    }
}

/// Further lines of a message stand under its first.
fn indent(text: &str) -> String {
    text.trim_end().replace('\n', "\n         ")
}
