//! The stream of a deploy, promotion or rollback, shown as a list of steps while it runs, and its end: the release that
//! serves now, or why the old one goes on serving.

use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::client::{Call, Client, path};
use crate::commands::releases::Listed;
use crate::context::Context;
use crate::errors::{Code, Failure};
use crate::output::{Mark, Steps, Ui, text};
use crate::views::{DeployLine, Reason};

/// Reasons of a deploy that failed before a worker could say anything.
const BEFORE_A_WORKER: [&str; 9] = [
    "environment_failed",
    "build_failed",
    "image_not_found",
    "image_unauthorized",
    "registry_unreachable",
    "wrong_platform",
    "no_command",
    "cuda_too_old",
    "engine_away",
];

/// How many lines of an installer's output are kept for the case that it fails without saying more.
const KEPT_LINES: usize = 12;

/// A deploy or rollback under way.
pub struct Rollout<'a> {
    client: &'a Client,
    endpoint: &'a str,
    ui: Ui,
    /// The list, to which the command may add steps of its own before the stream begins.
    pub steps: Steps,
    /// Whether every line of the installer is printed.
    pub verbose: bool,
    /// The last lines of the installer.
    said: Vec<String>,
}

/// Has the server `promote` or `rollback` an endpoint, to release `to` where it is named, and shows how it goes.
pub async fn move_traffic(
    context: &Context,
    endpoint: &str,
    how: &str,
    to: Option<u32>,
) -> anyhow::Result<()> {
    let client = context.client().await?;
    let body = to.map_or(json!({}), |to| json!({"to": to}));
    let call = Call::new(Method::POST, path::api(&["endpoints", endpoint, how])).json(&body);
    let done = Rollout::new(&client, endpoint, context.ui).follow(call).await?;
    if context.ui.json {
        return Ok(());
    }
    let number = done.release.map_or(String::new(), |n| format!(" release #{n} of"));
    context.ui.line(&format!("serving{number} {}", text::line(endpoint, 80)))
}

impl<'a> Rollout<'a> {
    /// Nothing has happened yet.
    pub fn new(client: &'a Client, endpoint: &'a str, ui: Ui) -> Self {
        Self { client, endpoint, ui, steps: Steps::new(ui), verbose: false, said: Vec::new() }
    }

    /// Makes the call and shows its stream. Returns the last line where the release serves; else an error with
    /// exit code 3.
    pub async fn follow(&mut self, call: Call) -> anyhow::Result<DeployLine> {
        let mut lines = self.client.lines(call.timeout(Duration::from_mins(2))).await?;
        while let Some(text) = lines.next().await? {
            if self.ui.json {
                self.ui.json_line(&text)?;
            }
            let line: DeployLine = serde_json::from_str(&text).map_err(|e| {
                Failure::new(Code::Failure, "the server's answer makes no sense").cause(e.to_string())
            })?;
            match (line.done, line.ok) {
                (true, true) => return Ok(line),
                (true, false) => return Err(self.failure(line).await.into()),
                (false, _) => self.step(&line),
            }
        }
        Err(Failure::new(Code::Failure, "the server ended the answer before the work was done")
            .hint(format!("runyard releases {}", self.endpoint))
            .into())
    }

    fn step(&mut self, line: &DeployLine) {
        let label = if line.step == "environment" { "env" } else { line.step.as_str() };
        match line.state.as_str() {
            "done" => self.steps.end(Mark::Done, label, &line.message, line.ms),
            "failed" => self.steps.end(Mark::Failed, label, &line.message, line.ms),
            "skipped" => self.steps.end(Mark::Skipped, label, &line.message, line.ms),
            "output" => self.output(label, &line.message),
            _ => self.steps.now(label, &line.message),
        }
    }

    fn output(&mut self, label: &str, message: &str) {
        if self.verbose {
            self.steps.line(&format!("    | {}", text::line(message, 2_000)));
        } else {
            self.steps.now(label, message);
        }
        if self.said.len() == KEPT_LINES {
            self.said.remove(0);
        }
        self.said.push(message.to_owned());
    }

    async fn failure(&self, line: DeployLine) -> Failure {
        let reason = line.reason.unwrap_or_default();
        let release = line.release.map_or("the release".to_owned(), |n| format!("release #{n}"));
        let serving = match line.serving {
            Some(n) if reason.code == "rolled_back" => format!("release #{n} serves again"),
            Some(n) => format!("release #{n} is still serving"),
            None => "nothing is serving yet".to_owned(),
        };
        let what = if reason.code == "rolled_back" { "was taken back" } else { "was not promoted" };
        let environment_failed = ["environment_failed", "build_failed"].contains(&reason.code.as_str());
        let said =
            if reason.last_lines.is_empty() && environment_failed { &self.said } else { &reason.last_lines };
        let mut failure = Failure::new(Code::Unsuccessful, format!("{release} {what}; {serving}"))
            .named(Some(reason.code.clone()).filter(|code| !code.is_empty()))
            .lines(said);
        if !reason.message.is_empty() {
            failure = failure.cause(&reason.message);
        }
        for hint in self.hints(&reason, line.release).await {
            failure = failure.hint(hint);
        }
        failure
    }

    /// What to do next, the most telling first.
    async fn hints(&self, reason: &Reason, release: Option<u32>) -> Vec<String> {
        let mut hints = Vec::new();
        let missing = reason.last_lines.iter().chain([&reason.message]).find_map(|line| missing_module(line));
        if let Some(module) = missing {
            hints.push(format!("add the package that has '{module}' to requirements.txt"));
        } else if reason.code == "start_failed" {
            hints.extend(self.unset_variables(release).await);
        }
        hints.push(match (reason.code.as_str(), release) {
            (code, Some(n)) if BEFORE_A_WORKER.contains(&code) => {
                format!("runyard logs {} --build {n}", self.endpoint)
            }
            _ => format!("runyard logs {} --since 10m", self.endpoint),
        });
        hints
    }

    /// The variables that the handler's source reads and the release does not set: a worker that ends before it
    /// asks for a job often waits for one of them.
    async fn unset_variables(&self, release: Option<u32>) -> Option<String> {
        let path = path::api(&["endpoints", self.endpoint, "releases"]);
        let call = Call::new(Method::GET, path).timeout(Duration::from_secs(5));
        let releases = self.client.send(call).await.ok()?.parse::<Listed>().ok()?.releases;
        let failed = releases.iter().find(|r| Some(r.number) == release)?;
        let unset: Vec<String> = failed
            .env_read
            .iter()
            .filter(|name| !failed.env.contains_key(*name))
            .map(|name| format!("--env {name}=…"))
            .collect();
        (!unset.is_empty()).then(|| format!("runyard deploy {}", unset.join(" ")))
    }
}

/// The module of Python's `ModuleNotFoundError: No module named 'av'`.
fn missing_module(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("No module named '")?;
    let name = rest.split('\'').next()?.split('.').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// A release's number, with or without `#`.
pub fn release_number(text: &str) -> Result<u32, String> {
    text.trim_start_matches('#').parse().map_err(|_| "it is a release's number, as 3 or #3".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_modules_are_named() {
        assert_eq!(missing_module("ModuleNotFoundError: No module named 'av'").as_deref(), Some("av"));
        assert_eq!(missing_module("No module named 'google.cloud'").as_deref(), Some("google"));
        assert_eq!(missing_module("ValueError: x"), None);
    }

    #[test]
    fn releases_are_written_both_ways() {
        assert_eq!(release_number("#3"), Ok(3));
        assert_eq!(release_number("12"), Ok(12));
        assert!(release_number("latest").is_err());
    }
}
