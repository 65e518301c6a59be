//! Durable submits: POST `/run`, answered once the job is on disk. Nothing takes them meanwhile: they go to an
//! endpoint that allows no worker.

use std::time::Instant;

use anyhow::ensure;
use serde_json::{Map, Value, json};

use crate::Plan;
use crate::http::Client;
use crate::server::{Server, auth};
use crate::stats::{Run, median};

const BODY: &[u8] = br#"{"input":{"text":"a short input of 38 bytes"}}"#;

/// Every client count of the plan.
pub async fn run(plan: &Plan, server: &Server) -> anyhow::Result<Value> {
    let mut client = Client::connect(&server.host).await?;
    let body = json!({"name": "parked", "settings": {"workers_max": 0}}).to_string();
    let made = client.send("POST", "/api/v1/endpoints", &auth(), body.as_bytes()).await?;
    ensure!(made.status == 200, "the parked endpoint was not made: {}", String::from_utf8_lossy(&made.body));
    let mut by_clients = Map::new();
    for &clients in &plan.clients {
        let mut runs = Vec::new();
        for _ in 0..plan.rounds {
            runs.push(once(plan, server, clients).await?);
        }
        by_clients.insert(clients.to_string(), median(runs));
    }
    let purge = client.send("POST", "/v2/parked/purge-queue", &auth(), b"").await?;
    ensure!(purge.status == 200, "the parked queue was not purged");
    Ok(json!({"row": "submit", "clients": by_clients}))
}

async fn once(plan: &Plan, server: &Server, clients: usize) -> anyhow::Result<Run> {
    let began = Instant::now();
    let until = began + plan.run;
    let mut tasks = Vec::new();
    for _ in 0..clients {
        let mut client = Client::connect(&server.host).await?;
        tasks.push(tokio::spawn(async move {
            let headers = auth();
            let mut micros = Vec::new();
            while Instant::now() < until {
                let asked = Instant::now();
                let answer = client.send("POST", "/v2/parked/run", &headers, BODY).await?;
                ensure!(answer.status == 200, "a submit was refused with {}", answer.status);
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
