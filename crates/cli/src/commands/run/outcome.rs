//! What a job ended with: its output on stdout or in a file, or its error and the exit code that says so.

use std::path::Path;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::client::Reply;
use crate::commands::run::save;
use crate::errors::{Code, Failure};
use crate::output::{Ui, json, text};
use crate::views::{JobAnswer, text_of};

/// Where the output goes.
#[derive(Debug, Clone, Copy)]
pub enum Show<'a> {
    /// To a file.
    File(&'a Path),
    /// To stdout.
    Stdout,
    /// Nowhere: it was streamed.
    Nothing,
}

/// Shows how the job ended. With `--json` the whole answer is printed; as one line after a stream of lines.
pub fn finish(reply: &Reply, show: Show<'_>, streamed: bool, ui: Ui) -> anyhow::Result<()> {
    let answer: JobAnswer = reply.parse()?;
    if ui.json {
        if streamed { ui.json_line(&reply.text)? } else { ui.document(&reply.text)? }
    }
    if answer.status != "COMPLETED" {
        return Err(unsuccessful(&answer).into());
    }
    let Some(output) = answer.output.as_deref() else { return Ok(()) };
    match show {
        Show::File(file) => save::write(file, output, ui),
        Show::Stdout if !ui.json => print(output, ui),
        Show::Stdout | Show::Nothing => Ok(()),
    }
}

fn print(output: &RawValue, ui: Ui) -> anyhow::Result<()> {
    match serde_json::from_str::<String>(output.get()) {
        Ok(value) if !ui.out_terminal => ui.line(&value),
        Ok(value) if value.len() > 100_000 => {
            ui.line(&format!("(text of {}; -o FILE saves it)", json::bytes(value.len())))
        }
        Ok(value) => ui.line(&text::clean(&value)),
        Err(_) if ui.out_terminal => ui.line(&json::pretty_for_people(output.get())),
        Err(_) => ui.line(&json::pretty(output.get())),
    }
}

fn unsuccessful(answer: &JobAnswer) -> Failure {
    let said = match answer.status.as_str() {
        "TIMED_OUT" => "timed out",
        "CANCELLED" => "was cancelled",
        _ => "failed",
    };
    let error = answer.error.as_deref().map(text_of);
    let (message, traceback) = error.as_deref().map(taken_apart).unwrap_or_default();
    let reason = answer.reason.as_ref();
    let mut failure = Failure::new(Code::Unsuccessful, format!("job {} {said}", answer.id))
        .named(reason.map(|r| r.code.clone()).filter(|code| !code.is_empty()))
        .lines(&traceback);
    let reason = reason.map(|r| r.message.clone()).filter(|m| !m.is_empty());
    if let Some(cause) = reason.clone().or_else(|| message.clone()) {
        failure = failure.cause(cause);
    }
    if let (Some(reason), Some(message)) = (reason, message)
        && !reason.contains(message.trim())
        && traceback.is_empty()
    {
        failure = failure.cause(message);
    }
    failure.hint(format!("runyard logs --job {}", answer.id)).hint(format!("runyard why {}", answer.id))
}

/// A job's error as a message and the lines of its traceback. RunPod's SDK packs both, and more, into a string of
/// JSON: `{"error_type", "error_message", "error_traceback", …}`.
fn taken_apart(error: &str) -> (Option<String>, Vec<String>) {
    let Ok(Value::Object(packed)) = serde_json::from_str::<Value>(error) else {
        return (Some(error.to_owned()), Vec::new());
    };
    let field = |name: &str| packed.get(name).and_then(Value::as_str);
    let Some(message) = field("error_message") else { return (Some(error.to_owned()), Vec::new()) };
    let traceback = field("error_traceback").unwrap_or_default();
    (Some(message.to_owned()), traceback.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errors_of_the_sdk_are_taken_apart() {
        let packed = r#"{"error_type":"<class 'ValueError'>","error_message":"bad","error_traceback":"Traceback:\n  File x\nValueError: bad\n"}"#;
        let (message, lines) = taken_apart(packed);
        assert_eq!(message.as_deref(), Some("bad"));
        assert_eq!(lines, ["Traceback:", "  File x", "ValueError: bad"]);
        assert_eq!(taken_apart("plain"), (Some("plain".to_owned()), vec![]));
        assert_eq!(taken_apart("{\"x\":1}").0.as_deref(), Some("{\"x\":1}"));
    }
}
