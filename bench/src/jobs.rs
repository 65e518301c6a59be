//! Whole jobs through HTTP: a client submits, a stub worker takes and answers through the agent, the client
//! reads the result with one long poll. Every step is durable before it is acknowledged.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::{Map, Value, json};

use crate::Plan;
use crate::http::Client;
use crate::server::{ENDPOINT, Server, auth};
use crate::stats::{Run, median};

const BODY: &[u8] = br#"{"input":{"text":"a short input of 38 bytes"}}"#;

/// Every client count of the plan.
pub async fn run(plan: &Plan, server: &Server) -> anyhow::Result<Value> {
    let mut by_clients = Map::new();
    for &clients in &plan.clients {
        let mut runs = Vec::new();
        for _ in 0..plan.rounds {
            runs.push(once(plan, server, clients).await?);
        }
        by_clients.insert(clients.to_string(), median(runs));
    }
    Ok(json!({"row": "jobs", "clients": by_clients}))
}

async fn once(plan: &Plan, server: &Server, clients: usize) -> anyhow::Result<Run> {
    let began = Instant::now();
    let until = began + plan.run;
    let mut tasks = Vec::new();
    for _ in 0..clients {
        let mut client = Client::connect(&server.host).await?;
        tasks.push(tokio::spawn(async move {
            let mut micros = Vec::new();
            while Instant::now() < until {
                let asked = Instant::now();
                one_job(&mut client).await?;
                micros.push(asked.elapsed().as_micros() as u64);
            }
            anyhow::Ok(micros)
        }));
    }
    let mut micros = Vec::new();
    for task in tasks {
        micros.extend(task.await??);
    }
    Ok(Run::new(micros, began.elapsed()))
}

async fn one_job(client: &mut Client) -> anyhow::Result<()> {
    let headers = auth();
    let submitted = client.send("POST", &format!("/v2/{ENDPOINT}/run"), &headers, BODY).await?;
    let view: Value = serde_json::from_slice(&submitted.body)?;
    let id = view["id"].as_str().context("an id")?;
    let path = format!("/v2/{ENDPOINT}/status-sync/{id}?wait=30000");
    let read = client.send("GET", &path, &headers, b"").await?;
    let view: Value = serde_json::from_slice(&read.body)?;
    ensure!(view["status"] == "COMPLETED", "a job did not complete: {view}");
    Ok(())
}
