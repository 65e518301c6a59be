//! `runyard doctor`: looks at what jobs need, one line each, with what to do about it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use crate::client::{Call, Client, ClientError, path};
use crate::context::Context;
use crate::errors::{Code, Failure};
use crate::output::{Tone, Ui, json as layout, text};
use crate::views::Info;

/// Less free space than this on the data directory's disk is worth a warning.
const LOW_DISK: u64 = 2_000_000_000;

/// Check the server, the key, Python, uv, disk and GPUs
#[derive(Debug, Args)]
pub struct Doctor {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One line of the report.
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), advice: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Fail, found: found.into(), advice: Some(advice.into()) }
    }
}

impl Doctor {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut checks = server(context).await;
        checks.push(python());
        checks.push(uv());
        show(&checks, context.ui)?;
        match checks.iter().filter(|c| c.verdict == Verdict::Fail).count() {
            0 => Ok(()),
            1 => Err(Failure::new(Code::Failure, "1 check failed").into()),
            n => Err(Failure::new(Code::Failure, format!("{n} checks failed")).into()),
        }
    }
}

/// The checks that need the server; where there is none, one says so.
async fn server(context: &Context) -> Vec<Check> {
    let client = match context.client().await {
        Ok(client) => client,
        Err(e) => return vec![Check::fail("server", format!("{e:#}"), "runyard up")],
    };
    let call = Call::new(Method::GET, path::api(&["info"])).timeout(Duration::from_secs(10));
    let info = match client.send(call).await.and_then(|reply| reply.parse::<Info>()) {
        Ok(info) => info,
        Err(e) => return vec![no_info(&client, &e)],
    };
    let mut checks = vec![version(&client, &info), key(&client).await];
    checks.extend(disk(&info));
    checks.extend(info.boundary.as_ref().and_then(boundary));
    checks.push(gpus(info.gpus.as_ref()));
    checks
}

fn no_info(client: &Client, error: &ClientError) -> Check {
    match error {
        ClientError::Refused(problem) if problem.status == 401 => {
            Check::fail("key", problem.cause.clone().unwrap_or_else(|| error.to_string()), "runyard login")
        }
        ClientError::Unreachable { source, .. } => Check::fail(
            "server",
            format!("{error}: {source}"),
            "runyard up (a server on this machine), or runyard login URL (another one)",
        ),
        _ => Check::fail("server", format!("{}: {error}", client.target()), "is this a runyard server?"),
    }
}

fn version(client: &Client, info: &Info) -> Check {
    let ours = env!("CARGO_PKG_VERSION");
    let found = format!("{} answers, version {}", client.target(), info.version);
    if info.draining {
        return Check::warn("server", format!("{found}, and is shutting down"), "wait for it to come back");
    }
    if info.version == ours || info.version.is_empty() {
        return Check::ok("server", found);
    }
    Check::warn(
        "server",
        format!("{found}; this command line is {ours}"),
        "use the same version on both sides",
    )
}

async fn key(client: &Client) -> Check {
    let source = client.key().map_or("none is needed here".to_owned(), |key| format!("from {}", key.source));
    match client.get(path::api(&["endpoints"])).await {
        Ok(_) => Check::ok("key", source),
        Err(ClientError::Refused(problem)) => {
            let cause = problem.cause.clone().unwrap_or_else(|| problem.detail.clone());
            Check::fail("key", cause, format!("runyard login {}", client.target()))
        }
        Err(e) => Check::fail("key", e.to_string(), "runyard doctor, again"),
    }
}

/// The server's word where new jobs are refused; else what is free, where its directory is on this machine.
fn disk(info: &Info) -> Option<Check> {
    if let Some(disk) = info.disk.as_ref().filter(|disk| disk.full) {
        let size = |bytes: Option<u64>| bytes.map_or("?".to_owned(), |n| layout::bytes(n as usize));
        let found = format!(
            "full: new jobs are refused ({} free; {} of {} kept for results)",
            size(disk.free_bytes),
            size(disk.reserve_left_bytes),
            size(disk.reserve_bytes)
        );
        return Some(Check::fail("disk", found, "make room below the data directory"));
    }
    info.data.as_deref().map(Path::new).filter(|dir| dir.is_dir()).map(free)
}

fn free(dir: &Path) -> Check {
    let Ok(space) = rustix::fs::statvfs(dir) else {
        return Check::warn("disk", format!("cannot look at {}", dir.display()), "check its permissions");
    };
    let free = space.f_bavail * space.f_frsize;
    let found = format!("{} free for {}", layout::bytes(free as usize), dir.display());
    if free < LOW_DISK {
        return Check::warn("disk", found, "make room: a full disk refuses new jobs");
    }
    Check::ok("disk", found)
}

/// What keeps workers away from the data directory, in the server's words.
fn boundary(value: &Value) -> Option<Check> {
    let found = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::Null => None,
        _ if found.contains("not a boundary") || found == "none" || found == "false" => Some(Check::warn(
            "boundary",
            found,
            "run only code that you trust, or start the server as root or on a kernel with Landlock",
        )),
        _ => Some(Check::ok("boundary", found)),
    }
}

fn gpus(value: Option<&Value>) -> Check {
    let count = match value {
        Some(Value::Array(list)) => list.len() as u64,
        Some(value) => value.as_u64().unwrap_or_default(),
        None => 0,
    };
    match (count, Path::new("/dev/nvidia0").exists()) {
        (0, true) => {
            Check::warn("gpu", "the server sees none, this machine has one", "check the NVIDIA driver")
        }
        (0, false) => Check::ok("gpu", "none; workers run on the CPU"),
        (1, _) => Check::ok("gpu", "1 GPU"),
        (n, _) => Check::ok("gpu", format!("{n} GPUs")),
    }
}

fn python() -> Check {
    let advice =
        "install Python 3.10 or newer with its venv module (Debian: apt install python3 python3-venv)";
    match output("python3", &["-c", "import sys, venv, ensurepip; print('%d.%d.%d' % sys.version_info[:3])"])
    {
        Ok(version) => Check::ok("python3", version),
        Err(Missing::Program) => Check::fail("python3", "not found", advice),
        Err(Missing::Success) => Check::warn("python3", "there, but without venv or ensurepip", advice),
    }
}

fn uv() -> Check {
    match output("uv", &["--version"]) {
        Ok(version) => Check::ok("uv", version),
        Err(_) => Check::ok("uv", "not found here; the server installs its own, or uses pip"),
    }
}

enum Missing {
    Program,
    Success,
}

fn output(program: &str, arguments: &[&str]) -> Result<String, Missing> {
    let output = Command::new(program).args(arguments).output().map_err(|_| Missing::Program)?;
    if !output.status.success() {
        return Err(Missing::Success);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn show(checks: &[Check], ui: Ui) -> anyhow::Result<()> {
    if ui.json {
        let list: Vec<Value> = checks.iter().map(document).collect();
        return ui.document(&json!({"checks": list}).to_string());
    }
    for check in checks {
        let (word, tone) = word(check.verdict);
        let word = ui.out.tone(&format!("{word:<5}"), tone);
        ui.line(&format!("{word} {:<9} {}", check.name, text::line(&check.found, 300)))?;
        if let Some(advice) = &check.advice {
            ui.line(&format!(
                "      {:<9} {} {}",
                "",
                ui.out.tone("try", Tone::Dim),
                text::line(advice, 300)
            ))?;
        }
    }
    Ok(())
}

fn document(check: &Check) -> Value {
    json!({
        "check": check.name,
        "verdict": word(check.verdict).0,
        "found": check.found,
        "advice": check.advice,
    })
}

fn word(verdict: Verdict) -> (&'static str, Tone) {
    match verdict {
        Verdict::Ok => ("ok", Tone::Good),
        Verdict::Warn => ("warn", Tone::Warn),
        Verdict::Fail => ("fail", Tone::Bad),
    }
}
