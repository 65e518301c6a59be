//! The load program behind `cargo xtask bench`: drives runyard, Redis streams and bare floors in the same way
//! from the same process, and prints one JSON document with the raw figures. It measures; it judges nothing.
//!
//! - [`server`] starts the real binary with stub workers that really go through agent and worker protocol.
//! - [`jobs`] and [`submit`] are the loads; [`redis`] and [`floors`] are what they stand beside.

mod floors;
mod http;
mod jobs;
mod redis;
mod server;
mod stats;
mod store;
mod submit;
mod worker;

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// How long each row runs, and with how many clients.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The length of one measured run.
    pub run: Duration,
    /// Client counts of the rows that scale.
    pub clients: Vec<usize>,
    /// Runs of each row; the median counts.
    pub rounds: usize,
}

fn plan(quick: bool) -> Plan {
    if quick {
        Plan { run: Duration::from_secs(2), clients: vec![1, 64], rounds: 1 }
    } else {
        Plan { run: Duration::from_secs(4), clients: vec![1, 8, 64, 256], rounds: 3 }
    }
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match args.first().map(String::as_str) {
        Some("worker") => runtime.block_on(worker::run()),
        Some("run") => {
            let quick = args.iter().any(|a| a == "--quick");
            let only: Vec<&str> = args.iter().filter_map(|a| a.strip_prefix("--only=")).collect();
            let report = runtime.block_on(run(&plan(quick), &only))?;
            println!("{}", serde_json::to_string_pretty(&report)?);
            Ok(())
        }
        _ => bail!("usage: runyard-bench run [--quick] [--only=ROW]; started by 'cargo xtask bench'"),
    }
}

async fn run(plan: &Plan, only: &[&str]) -> anyhow::Result<Value> {
    let wanted = |row: &str| only.is_empty() || only.contains(&row);
    let mut rows = Vec::new();
    let said = |row: &str| eprintln!("… {row}");
    if wanted("floors") {
        said("floors: one fdatasync, one HTTP echo");
        rows.push(floors::sync(plan)?);
        rows.push(floors::echo(plan).await?);
    }
    if wanted("store") {
        said("store: whole jobs through the embedded store alone");
        rows.push(store::run(plan)?);
    }
    if wanted("submit") || wanted("jobs") || wanted("start") {
        let server = server::Server::start().await.context("the server under test")?;
        rows.push(json!({"row": "start", "readyMs": server.ready_ms, "residentMib": server.resident_mib()}));
        if wanted("submit") {
            said("submit: durable submits, acknowledged");
            rows.push(submit::run(plan, &server).await?);
        }
        if wanted("jobs") {
            said("jobs: submit, take, done and read through HTTP");
            rows.push(jobs::run(plan, &server).await?);
        }
        rows.push(json!({"row": "after", "residentMib": server.resident_mib()}));
        server.stop().await;
    }
    if wanted("redis") {
        said("redis: the same job through streams, synced always");
        rows.push(
            redis::run(plan)
                .await
                .unwrap_or_else(|error| json!({"row": "redis", "skipped": format!("{error:#}")})),
        );
    }
    Ok(
        json!({"rows": rows, "clients": plan.clients, "rounds": plan.rounds, "runSeconds": plan.run.as_secs_f64()}),
    )
}
