//! Many idle endpoints: what they cost in memory, in processor time while nothing happens, and what a submit takes
//! among them. Beside it as many streams with a consumer group in Redis.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};

use crate::Plan;
use crate::floors::EchoServer;
use crate::http::Client;
use crate::process::Usage;
use crate::redis::{Redis, Resp};
use crate::server::{Server, auth};
use crate::stats::drive;
use crate::submit;

/// Connections that make the endpoints.
const LANES: usize = 16;
/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(10);

/// The row.
pub async fn run(plan: &Plan) -> anyhow::Result<Value> {
    plan.say(&format!("endpoints: {} idle ones", plan.endpoints));
    let mut server = Server::start().await?;
    submit::park(&server).await?;
    let echo = EchoServer::start().await?;
    let alone = submits(plan, &server, "endpoints.submit.alone").await?;
    let before = server.usage();
    let began = Instant::now();
    make(&server, "e", plan.endpoints).await?;
    let made_s = began.elapsed().as_secs_f64();
    let after = server.usage();
    tokio::time::sleep(IDLE).await;
    let idle = share(server.usage(), after, IDLE);
    let among = submits(plan, &server, "endpoints.submit.among").await?;
    let floor = drive(plan.run / 2, echo.clients(1).await?).await?.figures();
    server.restart().await?;
    let (ready_ms, resident) = (server.ready.as_secs_f64() * 1000.0, server.usage().resident_mib);
    server.stop().await;
    Ok(json!({
        "row": "endpoints", "endpoints": plan.endpoints, "madeSeconds": made_s,
        "residentMib": {"before": before.resident_mib, "after": after.resident_mib, "restarted": resident},
        "idleCpuPercent": idle, "restartReadyMs": ready_ms,
        "submit": {"alone": alone, "among": among}, "echo": floor,
        "redis": redis(plan).await.unwrap_or_else(|error| json!({"skipped": format!("{error:#}")})),
    }))
}

/// Makes `count` endpoints with a prefix to their names; each may have workers and has none.
pub async fn make(server: &Server, prefix: &str, count: usize) -> anyhow::Result<()> {
    let mut lanes = Vec::new();
    for lane in 0..LANES {
        let (mut client, prefix) = (Client::connect(&server.host).await?, prefix.to_owned());
        lanes.push(tokio::spawn(async move {
            for n in (lane..count).step_by(LANES) {
                let body = json!({"name": format!("{prefix}{n}")}).to_string();
                let made = client.send("POST", "/api/v1/endpoints", &auth(), body.as_bytes()).await?;
                let text = String::from_utf8_lossy(&made.body);
                ensure!(made.status == 200, "endpoint {n} was not made: {text}");
            }
            anyhow::Ok(())
        }));
    }
    for lane in lanes {
        lane.await??;
    }
    Ok(())
}

async fn submits(plan: &Plan, server: &Server, name: &str) -> anyhow::Result<Value> {
    let run = drive(plan.run, submit::clients(server, 1).await?).await?;
    submit::purge(server).await?;
    plan.samples.median(name, vec![run])
}

fn share(after: Usage, before: Usage, time: Duration) -> f64 {
    (after.cpu_s - before.cpu_s) / time.as_secs_f64() * 100.0
}

async fn redis(plan: &Plan) -> anyhow::Result<Value> {
    // Synced each second: as many syncs as streams would measure the disk.
    let redis = Redis::start("everysec").await?;
    let before = redis.usage();
    let mut client = Resp::connect(&redis.host).await?;
    for n in 0..plan.endpoints {
        client.call(&["XGROUP", "CREATE", &format!("e{n}"), "workers", "$", "MKSTREAM"]).await?;
    }
    let after = redis.usage();
    tokio::time::sleep(IDLE / 2).await;
    let idle = share(redis.usage(), after, IDLE / 2);
    Ok(json!({
        "residentMib": {"before": before.resident_mib, "after": after.resident_mib}, "idleCpuPercent": idle,
    }))
}
