//! A cold start: from the start of the process to its first answer, and what it holds in memory then; with
//! nothing deployed, and with 100 endpoints. Beside it a Redis, and a program that only listens.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::Plan;
use crate::endpoints;
use crate::http::Client;
use crate::process::{Usage, free_port};
use crate::redis::Redis;
use crate::server::Server;

/// Starts of each kind; the median counts.
const STARTS: usize = 5;
const ENDPOINTS: usize = 100;

/// One start: how long, and how much memory.
type Start = (Duration, f64);

/// The row.
pub async fn run(plan: &Plan) -> anyhow::Result<Value> {
    plan.say("start: a cold start, empty and with 100 endpoints, beside Redis and a bare listener");
    let (mut empty, mut full, mut redis, mut floor) = (vec![], vec![], vec![], vec![]);
    for _ in 0..STARTS {
        let server = Server::start().await?;
        empty.push(seen(&server));
        server.stop().await;
        floor.push(bare().await?);
        if let Ok(found) = Redis::start("always").await {
            redis.push((found.ready, found.usage().resident_mib));
        }
    }
    let mut server = Server::start().await?;
    endpoints::make(&server, "e", ENDPOINTS).await?;
    for _ in 0..STARTS {
        server.restart().await?;
        full.push(seen(&server));
    }
    let agent = server.agent().map_or(0.0, |pid| Usage::of(pid).resident_mib);
    server.stop().await;
    let row = |name: &str, starts: &[Start]| median(plan, name, starts);
    Ok(json!({
        "row": "start",
        "empty": row("start.empty", &empty)?,
        "endpoints100": row("start.endpoints100", &full)?,
        "redis": row("start.redis", &redis)?,
        "bare": row("start.bare", &floor)?,
        "agentMib": agent,
    }))
}

fn seen(server: &Server) -> Start {
    (server.ready, server.usage().resident_mib)
}

async fn bare() -> anyhow::Result<Start> {
    let host = format!("127.0.0.1:{}", free_port()?);
    let began = Instant::now();
    let mut child = Command::new(std::env::current_exe()?)
        .args(["echo", &host])
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("the bare listener")?;
    loop {
        if let Ok(mut client) = Client::connect(&host).await
            && client.send("GET", "/", "", b"").await.is_ok()
        {
            break;
        }
        ensure!(began.elapsed() < Duration::from_secs(20), "the bare listener did not come up");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let start = (began.elapsed(), Usage::of(child.id().unwrap_or(0)).resident_mib);
    child.kill().await?;
    Ok(start)
}

fn median(plan: &Plan, name: &str, starts: &[Start]) -> anyhow::Result<Value> {
    let micros: Vec<u64> = starts.iter().map(|(ready, _)| ready.as_micros() as u64).collect();
    plan.samples.keep(name, &micros)?;
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let ready = middle(starts.iter().map(|(ready, _)| ready.as_secs_f64() * 1000.0).collect());
    Ok(json!({"readyMs": ready, "residentMib": middle(starts.iter().map(|(_, mib)| *mib).collect())}))
}
