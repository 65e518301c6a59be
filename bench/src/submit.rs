//! Durable submits: POST `/run`, answered once the job is on disk. Nothing takes them meanwhile: they go to an
//! endpoint that allows no worker.

use anyhow::ensure;
use serde_json::json;

use crate::floors::BODY;
use crate::http::Client;
use crate::server::{Server, auth};
use crate::stats::Turn;

/// The endpoint that allows no worker.
pub const PARKED: &str = "parked";

/// One client that submits.
pub struct Submit {
    client: Client,
    headers: String,
}

impl Turn for Submit {
    async fn turn(&mut self) -> anyhow::Result<()> {
        let answer = self.client.send("POST", "/v2/parked/run", &self.headers, BODY).await?;
        ensure!(answer.status == 200, "a submit was refused with {}", answer.status);
        Ok(())
    }
}

/// These many clients.
pub async fn clients(server: &Server, clients: usize) -> anyhow::Result<Vec<Submit>> {
    let mut made = Vec::new();
    for _ in 0..clients {
        made.push(Submit { client: Client::connect(&server.host).await?, headers: auth() });
    }
    Ok(made)
}

/// Makes the endpoint; its queue may be as deep as it gets.
pub async fn park(server: &Server) -> anyhow::Result<()> {
    let mut client = Client::connect(&server.host).await?;
    let body = json!({"name": PARKED, "settings": {"workers_max": 0, "queue_limit": 0}}).to_string();
    let made = client.send("POST", "/api/v1/endpoints", &auth(), body.as_bytes()).await?;
    ensure!(made.status == 200, "the parked endpoint was not made: {}", String::from_utf8_lossy(&made.body));
    Ok(())
}

/// Empties its queue.
pub async fn purge(server: &Server) -> anyhow::Result<()> {
    let mut client = Client::connect(&server.host).await?;
    let purge = client.send("POST", "/v2/parked/purge-queue", &auth(), b"").await?;
    ensure!(purge.status == 200, "the parked queue was not purged");
    Ok(())
}
