//! The same job through Redis streams, append-only and synced always: XADD (submit), XREADGROUP (take), a
//! transaction of LPUSH, XACK and XDEL (done), BRPOP (read). Redis comes from the machine's packages; without
//! it the row says so.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, BytesMut};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::Plan;
use crate::stats::{Run, median};

/// Every client count of the plan.
pub async fn run(plan: &Plan) -> anyhow::Result<Value> {
    let dir = tempfile::tempdir()?;
    let (mut child, host) = start(dir.path()).await?;
    let mut by_clients = Map::new();
    for &clients in &plan.clients {
        let mut runs = Vec::new();
        for _ in 0..plan.rounds {
            runs.push(once(plan, &host, clients).await?);
        }
        by_clients.insert(clients.to_string(), median(runs));
    }
    let _ = child.kill().await;
    Ok(json!({"row": "redis", "clients": by_clients}))
}

async fn start(dir: &std::path::Path) -> anyhow::Result<(Child, String)> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--appendonly", "yes"])
        .args(["--appendfsync", "always", "--save", "", "--dir", &dir.display().to_string()])
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("redis-server is not installed (Debian: redis-server)")?;
    let host = format!("127.0.0.1:{port}");
    for _ in 0..500 {
        if let Ok(mut client) = Resp::connect(&host).await {
            client.call(&["XGROUP", "CREATE", "jobs", "workers", "$", "MKSTREAM"]).await?;
            return Ok((child, host));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("redis-server did not come up")
}

async fn once(plan: &Plan, host: &str, clients: usize) -> anyhow::Result<Run> {
    let lanes = clients.min(16);
    let mut workers = Vec::new();
    for n in 0..lanes {
        let mut client = Resp::connect(host).await?;
        workers.push(tokio::spawn(async move { while work(&mut client, n).await.is_ok() {} }));
    }
    let began = Instant::now();
    let until = began + plan.run;
    let mut tasks = Vec::new();
    for n in 0..clients {
        let mut client = Resp::connect(host).await?;
        tasks.push(tokio::spawn(async move {
            let mut micros = Vec::new();
            let mut k = 0u64;
            while Instant::now() < until {
                k += 1;
                let asked = Instant::now();
                let reply_to = format!("r:{n}:{k}");
                let input = r#"{"text":"a short input of 38 bytes"}"#;
                client.call(&["XADD", "jobs", "*", "reply", &reply_to, "input", input]).await?;
                client.call(&["BRPOP", &reply_to, "30"]).await?;
                micros.push(asked.elapsed().as_micros() as u64);
            }
            anyhow::Ok(micros)
        }));
    }
    let mut micros = Vec::new();
    for task in tasks {
        micros.extend(task.await??);
    }
    let took = began.elapsed();
    for worker in workers {
        worker.abort();
    }
    Ok(Run::new(micros, took))
}

/// One round of a worker: takes up to 32 jobs and answers each.
async fn work(client: &mut Resp, n: usize) -> anyhow::Result<()> {
    let name = format!("w{n}");
    let take =
        ["XREADGROUP", "GROUP", "workers", &name, "COUNT", "32", "BLOCK", "1000", "STREAMS", "jobs", ">"];
    let mut texts = Vec::new();
    client.call_into(&take, &mut texts).await?;
    // The texts of the reply: the stream's name, then per job its id, `reply`, the name, `input`, the value.
    let mut at = 1;
    while at + 4 < texts.len() {
        let (id, reply_to, input) = (&texts[at], &texts[at + 2], &texts[at + 4]);
        let push = ["LPUSH", reply_to.as_str(), input.as_str()];
        let steps: [&[&str]; 5] =
            [&["MULTI"], &push, &["XACK", "jobs", "workers", id], &["XDEL", "jobs", id], &["EXEC"]];
        client.pipeline(&steps).await?;
        at += 5;
    }
    Ok(())
}

/// One connection that speaks RESP.
struct Resp {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Resp {
    async fn connect(host: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: BytesMut::new() })
    }

    async fn call(&mut self, words: &[&str]) -> anyhow::Result<()> {
        self.call_into(words, &mut Vec::new()).await
    }

    async fn call_into(&mut self, words: &[&str], texts: &mut Vec<String>) -> anyhow::Result<()> {
        self.stream.write_all(encode(words).as_bytes()).await?;
        self.reply(texts).await
    }

    async fn pipeline(&mut self, steps: &[&[&str]]) -> anyhow::Result<()> {
        let request: String = steps.iter().map(|words| encode(words)).collect();
        self.stream.write_all(request.as_bytes()).await?;
        for _ in steps {
            self.reply(&mut Vec::new()).await?;
        }
        Ok(())
    }

    /// Reads one whole reply and keeps its texts in order.
    async fn reply(&mut self, texts: &mut Vec<String>) -> anyhow::Result<()> {
        let mut left = 1usize;
        while left > 0 {
            left -= 1;
            let line = self.line().await?;
            let (kind, rest) = line.split_at(1);
            match kind {
                "$" if rest != "-1" => {
                    let len: usize = rest.parse()?;
                    texts.push(self.bytes(len).await?);
                }
                "*" if rest != "-1" => left += rest.parse::<usize>()?,
                "-" => bail!("redis says {rest}"),
                _ => {}
            }
        }
        Ok(())
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line = String::from_utf8(self.buffer.split_to(end).to_vec())?;
                self.buffer.advance(2);
                ensure!(!line.is_empty(), "an empty line");
                return Ok(line);
            }
            self.more().await?;
        }
    }

    async fn bytes(&mut self, len: usize) -> anyhow::Result<String> {
        while self.buffer.len() < len + 2 {
            self.more().await?;
        }
        let text = String::from_utf8(self.buffer.split_to(len).to_vec())?;
        self.buffer.advance(2);
        Ok(text)
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "redis closed the connection");
        Ok(())
    }
}

fn encode(words: &[&str]) -> String {
    let parts = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), parts.collect::<String>())
}
