//! Floors: what the machine itself takes for one sync, for one HTTP round trip, and to start a program that
//! listens.

use std::fs::File;
use std::io::Write as _;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::Plan;
use crate::http::Client;
use crate::stats::{Run, Turn};

/// What every load sends as a job.
pub const BODY: &[u8] = br#"{"input":{"text":"a short input of 38 bytes"}}"#;

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
    Ok(json!({"row": "fdatasync", "clients": {"1": plan.samples.median("fdatasync", runs)?}}))
}

/// A server that answers each request with `{}`, and nothing behind it.
pub struct EchoServer {
    /// Its host and port.
    pub host: String,
    serving: JoinHandle<()>,
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl EchoServer {
    /// Listens on a free port of loopback.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let host = listener.local_addr()?.to_string();
        Ok(Self { host, serving: tokio::spawn(accept(listener)) })
    }

    /// These many clients of it.
    pub async fn clients(&self, clients: usize) -> anyhow::Result<Vec<Echo>> {
        let mut made = Vec::new();
        for _ in 0..clients {
            made.push(Echo(Client::connect(&self.host).await?));
        }
        Ok(made)
    }
}

/// The same as a program of its own, until it is killed: the floor of a server's start.
pub async fn echo_program(host: &str) -> anyhow::Result<()> {
    accept(TcpListener::bind(host).await?).await;
    Ok(())
}

async fn accept(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        tokio::spawn(answer(stream));
    }
}

async fn answer(mut stream: TcpStream) {
    let mut buffer = [0u8; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.is_err() {
            return;
        }
    }
}

/// One client of the echo.
pub struct Echo(Client);

impl Turn for Echo {
    async fn turn(&mut self) -> anyhow::Result<()> {
        self.0.send("POST", "/", "", BODY).await.map(drop)
    }
}
