//! Floors: what the machine itself takes for one sync and for one HTTP round trip.

use std::fs::File;
use std::io::Write as _;
use std::time::Instant;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::Plan;
use crate::http::Client;
use crate::stats::{Run, median};

/// Appending 4 KiB and fdatasync.
pub fn sync(plan: &Plan) -> anyhow::Result<Value> {
    let dir = tempfile::tempdir()?;
    let mut runs = Vec::new();
    for _ in 0..plan.rounds {
        let mut file = File::create(dir.path().join("sync"))?;
        let began = Instant::now();
        let mut micros = Vec::new();
        while began.elapsed() < plan.run / 2 {
            let asked = Instant::now();
            file.write_all(&[7; 4096])?;
            file.sync_data()?;
            micros.push(asked.elapsed().as_micros() as u64);
        }
        runs.push(Run::new(micros, began.elapsed()));
    }
    Ok(json!({"row": "fdatasync", "append4KiB": median(runs)}))
}

/// One request and its answer through the same client, with nothing behind it.
pub async fn echo(plan: &Plan) -> anyhow::Result<Value> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let host = listener.local_addr()?.to_string();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let mut buffer = [0u8; 4096];
                while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let mut by_clients = Map::new();
    for &clients in &plan.clients {
        let mut runs = Vec::new();
        for _ in 0..plan.rounds {
            runs.push(once(plan, &host, clients).await?);
        }
        by_clients.insert(clients.to_string(), median(runs));
    }
    serving.abort();
    Ok(json!({"row": "echo", "clients": by_clients}))
}

async fn once(plan: &Plan, host: &str, clients: usize) -> anyhow::Result<Run> {
    let began = Instant::now();
    let until = began + plan.run / 2;
    let mut tasks = Vec::new();
    for _ in 0..clients {
        let mut client = Client::connect(host).await?;
        tasks.push(tokio::spawn(async move {
            let mut micros = Vec::new();
            while Instant::now() < until {
                let asked = Instant::now();
                client.send("POST", "/", "", b"{\"input\":{\"text\":\"a short input of 38 bytes\"}}").await?;
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
