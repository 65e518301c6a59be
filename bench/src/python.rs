//! Python to Python: a client in Python and a worker in Python, with runyard between them, or Celery, or taskiq.
//! The programs stand in `bench/python`; each peer's Redis syncs always, as we do.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::process::{Child, Command};

use crate::Plan;
use crate::process::Usage;
use crate::redis::Redis;
use crate::sdk::handler;
use crate::server::{KEY, Server};
use crate::stats::Run;

/// Client counts of these rows.
const CLIENTS: [usize; 3] = [1, 8, 64];

/// How the peers are run: their name, and their worker's command line after the Python.
const PEERS: [(&str, &str, &[&str]); 3] = [
    (
        "celery-prefork",
        "load_celery.py",
        &["-m", "celery", "-A", "tasks_celery", "worker", "-P", "prefork", "-c", "2", "-l", "ERROR"],
    ),
    (
        "celery-threads",
        "load_celery.py",
        &["-m", "celery", "-A", "tasks_celery", "worker", "-P", "threads", "-c", "64", "-l", "ERROR"],
    ),
    (
        "taskiq",
        "load_taskiq.py",
        &["-m", "taskiq", "worker", "tasks_taskiq:broker", "--workers", "1", "--log-level", "ERROR"],
    ),
];

/// What a load program prints.
#[derive(Deserialize)]
struct Measured {
    micros: Vec<u64>,
    seconds: f64,
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/python"))
}

/// The row.
pub async fn run(plan: &Plan) -> anyhow::Result<Value> {
    let python = plan.python.as_deref().context("no Python with the peers was given (--python=PROGRAM)")?;
    let mut found = Map::new();
    plan.say("python: runyard, a client and a bare worker in Python");
    let server = Server::start().await?;
    server.deploy("plain", &handler(python, "worker_plain.py", 64, None), &["--concurrency", "64"]).await?;
    server.deploy("sdk", &handler(python, "worker_sdk.py", 64, None), &["--concurrency", "64"]).await?;
    let url = format!("http://{}/v2", server.host);
    for (name, endpoint) in [("runyard", "plain"), ("runyard-sdk", "sdk")] {
        let target = format!("{url}/{endpoint}");
        found.insert(name.to_owned(), loads(plan, python, name, "load_runyard.py", &target).await?);
    }
    let agent = server.agent().map_or(0.0, |pid| Usage::of(pid).resident_mib);
    found.insert("residentMib".into(), json!({"server": server.usage().resident_mib, "agent": agent}));
    server.stop().await;
    for (name, program, worker) in PEERS {
        plan.say(&format!("python: {name}"));
        let measured = peer(plan, python, name, program, worker).await;
        found.insert(name.into(), measured.unwrap_or_else(|error| json!({"skipped": format!("{error:#}")})));
    }
    found.insert("row".into(), json!("python"));
    Ok(Value::Object(found))
}

async fn peer(
    plan: &Plan,
    python: &Path,
    name: &str,
    program: &str,
    worker: &[&str],
) -> anyhow::Result<Value> {
    let redis = Redis::start("always").await?;
    let url = format!("redis://{}/0", redis.host);
    let child = start(python, worker, &url)?;
    let measured = loads(plan, python, name, program, &url).await;
    end(child).await;
    measured
}

fn start(python: &Path, arguments: &[&str], url: &str) -> anyhow::Result<Child> {
    let mut command = Command::new(python);
    command.args(arguments).current_dir(folder()).env("BENCH_URL", url).env("PYTHONDONTWRITEBYTECODE", "1");
    // Celery does not start as root without it.
    command.env("C_FORCE_ROOT", "1").stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.kill_on_drop(true).spawn().context("the peer's worker")
}

/// Ends a worker with the processes that it started.
async fn end(mut child: Child) {
    if let Some(pid) = child.id() {
        let _ = Command::new("kill").args(["-TERM", "--", &format!("-{pid}")]).status().await;
        if tokio::time::timeout(Duration::from_secs(5), child.wait()).await.is_err() {
            let _ = Command::new("kill").args(["-KILL", "--", &format!("-{pid}")]).status().await;
        }
    }
}

async fn loads(plan: &Plan, python: &Path, name: &str, program: &str, url: &str) -> anyhow::Result<Value> {
    let mut by_clients = Map::new();
    for clients in CLIENTS {
        let mut runs = Vec::new();
        for _ in 0..plan.rounds {
            let measured = load(plan, python, program, url, clients).await?;
            ensure!(!measured.micros.is_empty(), "{name} did not get one job through");
            runs.push(Run::new(measured.micros, Duration::from_secs_f64(measured.seconds)));
        }
        let figures = plan.samples.median(&format!("python.{name}.{clients}"), runs)?;
        by_clients.insert(clients.to_string(), figures);
    }
    Ok(json!({"clients": by_clients}))
}

async fn load(
    plan: &Plan,
    python: &Path,
    program: &str,
    url: &str,
    clients: usize,
) -> anyhow::Result<Measured> {
    let output = Command::new(python)
        .args([program, &clients.to_string(), &plan.run.as_secs_f64().to_string()])
        .current_dir(folder())
        .env("BENCH_URL", url)
        .env("BENCH_KEY", KEY)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(plan.run + Duration::from_mins(1), output).await;
    let output = output.with_context(|| format!("{program} did not end"))?.context("the load program")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}", said.lines().last().unwrap_or("no reason"));
    serde_json::from_slice(&output.stdout).with_context(|| format!("what {program} printed"))
}
