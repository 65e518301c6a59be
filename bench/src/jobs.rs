//! Whole jobs through HTTP: a client submits, a stub worker takes and answers through the agent, the client
//! reads the result with one long poll. Every step is durable before it is acknowledged.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::floors::BODY;
use crate::http::Client;
use crate::server::{ENDPOINT, Server, auth};
use crate::stats::Turn;

/// One client.
pub struct Whole {
    client: Client,
    headers: String,
    endpoint: String,
}

impl Turn for Whole {
    async fn turn(&mut self) -> anyhow::Result<()> {
        let path = format!("/v2/{}/run", self.endpoint);
        let submitted = self.client.send("POST", &path, &self.headers, BODY).await?;
        let view: Value = serde_json::from_slice(&submitted.body)?;
        let id = view["id"].as_str().context("an id")?;
        let path = format!("/v2/{}/status-sync/{id}?wait=60000", self.endpoint);
        let read = self.client.send("GET", &path, &self.headers, b"").await?;
        let view: Value = serde_json::from_slice(&read.body)?;
        ensure!(view["status"] == "COMPLETED", "a job did not complete: {view}");
        Ok(())
    }
}

/// One client of `endpoint`.
pub async fn client(server: &Server, endpoint: &str) -> anyhow::Result<Whole> {
    let client = Client::connect(&server.host).await?;
    Ok(Whole { client, headers: auth(), endpoint: endpoint.to_owned() })
}

/// These many clients of the endpoint with the stub workers.
pub async fn clients(server: &Server, clients: usize) -> anyhow::Result<Vec<Whole>> {
    let mut made = Vec::new();
    for _ in 0..clients {
        made.push(client(server, ENDPOINT).await?);
    }
    Ok(made)
}
