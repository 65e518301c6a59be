//! `runyard doctor`: the server's examination of itself (`GET /api/v1/doctor`), with what can only be seen from here:
//! whether it is reached, with which key, and whether both sides agree on version and time.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::client::{Call, Client, ClientError, path};
use crate::context::Context;
use crate::credentials::Credentials;
use crate::errors::{Code, Failure};
use crate::output::{Tone, Ui, text};
use crate::views::Info;

/// How long the server may take: it asks programs, the disk and the engine.
const PATIENCE: Duration = Duration::from_mins(1);
/// Clocks that differ by more are worth a warning, in milliseconds.
const SKEW: i64 = 30_000;

/// Check server, agent, data directory, disk, TLS, engine, GPUs and this command line
#[derive(Debug, Args)]
#[command(after_help = "\
Each line is a check: ok, warn or fail, what was found, what that means, and what to do. Exits with 1 where
something fails. Without a server, the data directory alone is looked at: runyard doctor --data DIR")]
pub struct Doctor {
    /// Only ask whether jobs are taken and can be run (GET /readyz), as a probe does
    #[arg(long)]
    ready: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One line of the report, the server's or ours.
#[derive(Debug, Deserialize, Serialize)]
struct Check {
    #[serde(rename = "check")]
    name: String,
    verdict: Verdict,
    found: String,
    #[serde(default)]
    meaning: Option<String>,
    #[serde(default)]
    advice: Option<String>,
}

/// `GET /api/v1/doctor`.
#[derive(Deserialize)]
struct Report {
    version: String,
    now: i64,
    checks: Vec<Check>,
}

impl Check {
    fn ok(check: &str, found: impl Into<String>) -> Self {
        let found = found.into();
        Self { name: check.to_owned(), verdict: Verdict::Ok, found, meaning: None, advice: None }
    }

    fn warn(check: &str, found: impl Into<String>, meaning: &str, advice: impl Into<String>) -> Self {
        let (meaning, advice) = (Some(meaning.to_owned()), Some(advice.into()));
        Self { verdict: Verdict::Warn, meaning, advice, ..Self::ok(check, found) }
    }

    fn fail(check: &str, found: impl Into<String>, meaning: &str, advice: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, ..Self::warn(check, found, meaning, advice) }
    }
}

impl Doctor {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        if self.ready {
            return ready(context).await;
        }
        let mut checks = server(context).await;
        checks.extend(credentials());
        show(&checks, context.ui)?;
        match checks.iter().filter(|c| c.verdict == Verdict::Fail).count() {
            0 => Ok(()),
            1 => Err(Failure::new(Code::Failure, "1 check failed").into()),
            n => Err(Failure::new(Code::Failure, format!("{n} checks failed")).into()),
        }
    }
}

/// The server's own word; an error where it is not ready.
async fn ready(context: &Context) -> anyhow::Result<()> {
    let reply = context.client().await?.get("/readyz".to_owned()).await?;
    if context.ui.json { context.ui.document(&reply.text) } else { context.ui.line("ready") }
}

/// The checks that need the server; where there is none, one says so.
async fn server(context: &Context) -> Vec<Check> {
    let nothing = "nothing else can be asked";
    let client = match context.client().await {
        Ok(client) => client,
        Err(e) => return vec![Check::fail("reached", format!("{e:#}"), nothing, "runyard up")],
    };
    let call = Call::new(Method::GET, path::api(&["doctor"])).timeout(PATIENCE);
    let here = now();
    match client.send(call).await.and_then(|reply| reply.parse::<Report>()) {
        Ok(report) => {
            let key =
                client.key().map_or("none is needed here".to_owned(), |key| format!("from {}", key.source));
            let mut checks = vec![version(&client, &report.version), Check::ok("key", key)];
            checks.push(time(report.now - here));
            checks.extend(report.checks);
            checks
        }
        Err(ClientError::Refused(problem)) if problem.status == 403 => limited(&client).await,
        Err(error) => vec![unreached(&client, &error)],
    }
}

/// What a key may see that is no admin's.
async fn limited(client: &Client) -> Vec<Check> {
    let call = Call::new(Method::GET, path::api(&["info"]));
    match client.send(call).await.and_then(|reply| reply.parse::<Info>()) {
        Ok(info) => {
            let found = "it may not do everything here";
            let meaning = "the server does not tell it about itself and its machine";
            vec![
                version(client, &info.version),
                Check::warn("key", found, meaning, "a key with --access admin sees all checks"),
            ]
        }
        Err(error) => vec![unreached(client, &error)],
    }
}

fn unreached(client: &Client, error: &ClientError) -> Check {
    match error {
        ClientError::Refused(problem) if problem.status == 401 => Check::fail(
            "key",
            problem.cause.clone().unwrap_or_else(|| error.to_string()),
            "the server does not know it",
            format!("runyard login {}", client.target()),
        ),
        ClientError::Refused(problem) if problem.status == 404 => Check::fail(
            "reached",
            format!("{} answers, and has no such call", client.target()),
            "it is an older runyard, or something else",
            "use the same version on both sides",
        ),
        ClientError::Unreachable { source, .. } => Check::fail(
            "reached",
            format!("{error}: {source}"),
            "no server runs there, or something is in between",
            "runyard up (a server on this machine), or runyard login URL (another one)",
        ),
        _ => Check::fail(
            "reached",
            format!("{}: {error}", client.target()),
            "nothing else can be asked",
            "is this a runyard server?",
        ),
    }
}

fn version(client: &Client, theirs: &str) -> Check {
    let ours = env!("CARGO_PKG_VERSION");
    let found = format!("{} answers, version {theirs}", client.target());
    if theirs == ours {
        return Check::ok("reached", found);
    }
    Check::warn(
        "reached",
        format!("{found}; this command line is {ours}"),
        "one side may not know what the other says",
        "use the same version on both sides",
    )
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// How far the server's clock is ahead of ours, in milliseconds.
fn time(ahead: i64) -> Check {
    if ahead.abs() > SKEW {
        return Check::warn(
            "time",
            format!("the server's clock and this one differ by {} s", ahead.abs() / 1_000),
            "times that it shows are not those of this machine",
            "run a time service on both",
        );
    }
    Check::ok("time", "the server's clock and this one agree")
}

/// The file that keeps keys.
fn credentials() -> Option<Check> {
    let path = Credentials::path().ok()?;
    let mode = std::fs::metadata(&path).ok()?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Some(Check::fail(
            "credentials",
            format!("{} has mode {mode:o}", path.display()),
            "other users of this machine can read the keys in it",
            format!("chmod 600 {}", path.display()),
        ));
    }
    Some(Check::ok("credentials", format!("{}: only you read it", path.display())))
}

fn show(checks: &[Check], ui: Ui) -> anyhow::Result<()> {
    if ui.json {
        return ui.document(&json!({"checks": checks}).to_string());
    }
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in checks {
        let (word, tone) = match check.verdict {
            Verdict::Ok => ("ok", Tone::Good),
            Verdict::Warn => ("warn", Tone::Warn),
            Verdict::Fail => ("fail", Tone::Bad),
        };
        let word = ui.out.tone(&format!("{word:<5}"), tone);
        let name = text::line(&check.name, 40);
        ui.line(&format!("{word} {name:<width$} {}", text::line(&check.found, 300)))?;
        for (label, words) in [("means", &check.meaning), ("try", &check.advice)] {
            if let Some(words) = words {
                let label = ui.out.tone(&format!("{label:<5}"), Tone::Dim);
                ui.line(&format!("      {:<width$} {label} {}", "", text::line(words, 300)))?;
            }
        }
    }
    Ok(())
}
