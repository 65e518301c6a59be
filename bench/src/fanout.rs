//! Fan-out: many clients wait for the same job, each with a long poll; the job ends, and all of them hear it. The
//! time counts from the request that ends the job, which is durable before anybody hears. Beside it PUBLISH to
//! as many subscribers of Redis, and a listener that writes to as many connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::Plan;
use crate::floors::BODY;
use crate::http::Client;
use crate::redis::{Redis, Resp};
use crate::server::{Server, auth};
use crate::stats::Run;
use crate::submit;

/// From the last request to the event: time for all of them to wait.
const SETTLE: Duration = Duration::from_millis(500);

/// Someone who waits; says when it heard.
type Waiting = JoinHandle<anyhow::Result<Instant>>;

/// The row.
pub async fn run(plan: &Plan) -> anyhow::Result<Value> {
    plan.say(&format!("fanout: one end of a job, {} clients that wait for it", plan.waiting));
    let server = Server::start().await?;
    submit::park(&server).await?;
    let redis = Redis::start("always").await;
    let (mut ours, mut peer, mut floor) = (vec![], vec![], vec![]);
    for round in 0..plan.rounds.max(3) {
        ours.push(long_polls(plan, &server).await?);
        if let Ok(redis) = &redis {
            peer.push(subscribers(plan, redis, round).await?);
        }
        floor.push(writes(plan).await?);
    }
    server.stop().await;
    Ok(json!({
        "row": "fanout", "waiting": plan.waiting,
        "ours": plan.samples.median("fanout", ours)?,
        "redis": plan.samples.median("fanout.redis", peer)?,
        "floor": plan.samples.median("fanout.floor", floor)?,
    }))
}

async fn long_polls(plan: &Plan, server: &Server) -> anyhow::Result<Run> {
    let mut client = Client::connect(&server.host).await?;
    let made = client.send("POST", "/v2/parked/run", &auth(), BODY).await?;
    let view: Value = serde_json::from_slice(&made.body)?;
    let id = view["id"].as_str().context("an id")?.to_owned();
    let mut waiting: Vec<Waiting> = Vec::new();
    for _ in 0..plan.waiting {
        let mut client = Client::connect(&server.host).await?;
        let path = format!("/v2/parked/status-sync/{id}?wait=60000");
        waiting.push(tokio::spawn(async move {
            let answer = client.send("GET", &path, &auth(), b"").await?;
            let heard = Instant::now();
            let view: Value = serde_json::from_slice(&answer.body)?;
            ensure!(view["status"] == "CANCELLED", "the wait ended early: {view}");
            Ok(heard)
        }));
    }
    tokio::time::sleep(SETTLE).await;
    let began = Instant::now();
    let ended = client.send("POST", &format!("/v2/parked/cancel/{id}"), &auth(), b"").await?;
    ensure!(ended.status == 200, "the job was not ended");
    heard(began, waiting).await
}

async fn subscribers(plan: &Plan, redis: &Redis, round: usize) -> anyhow::Result<Run> {
    let channel = format!("ends:{round}");
    let mut waiting: Vec<Waiting> = Vec::new();
    for _ in 0..plan.waiting {
        let mut client = Resp::connect(&redis.host).await?;
        client.call(&["SUBSCRIBE", &channel]).await?;
        waiting.push(tokio::spawn(async move {
            client.reply(&mut Vec::new()).await?;
            Ok(Instant::now())
        }));
    }
    tokio::time::sleep(SETTLE).await;
    let mut client = Resp::connect(&redis.host).await?;
    let began = Instant::now();
    // Durable first, as with us.
    client.call(&["SET", &format!("end:{round}"), "CANCELLED"]).await?;
    client.call(&["PUBLISH", &channel, r#"{"id":"a-job-id","status":"CANCELLED"}"#]).await?;
    heard(began, waiting).await
}

async fn writes(plan: &Plan) -> anyhow::Result<Run> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let host = listener.local_addr()?.to_string();
    let event = Arc::new(Notify::new());
    let notified = Arc::clone(&event);
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let event = Arc::clone(&notified);
            tokio::spawn(async move {
                let happened = event.notified();
                let mut buffer = [0u8; 4096];
                if stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                    happened.await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
                }
            });
        }
    });
    let mut waiting: Vec<Waiting> = Vec::new();
    for _ in 0..plan.waiting {
        let mut client = Client::connect(&host).await?;
        waiting.push(tokio::spawn(async move {
            client.send("GET", "/", "", b"").await?;
            Ok(Instant::now())
        }));
    }
    tokio::time::sleep(SETTLE).await;
    let began = Instant::now();
    event.notify_waiters();
    let run = heard(began, waiting).await;
    serving.abort();
    run
}

async fn heard(began: Instant, waiting: Vec<Waiting>) -> anyhow::Result<Run> {
    let mut micros = Vec::with_capacity(waiting.len());
    let mut last = Duration::ZERO;
    for one in waiting {
        let after = one.await??.saturating_duration_since(began);
        last = last.max(after);
        micros.push(after.as_micros() as u64);
    }
    Ok(Run::new(micros, last))
}
