//! The same job through Redis streams, append-only and synced always: XADD (submit), XREADGROUP (take), a
//! transaction of LPUSH, XACK and XDEL (done), BRPOP (read). Redis comes from the machine's packages; without
//! it the row says so.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::process::{Usage, free_port};
use crate::stats::Turn;

/// A Redis of one's own, synced always.
pub struct Redis {
    /// Its host and port.
    pub host: String,
    /// From its start to its first answer.
    pub ready: Duration,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Redis {
    /// Starts it; `appendfsync` is `always` or `everysec`.
    pub async fn start(appendfsync: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let port = free_port()?;
        let began = Instant::now();
        let child = spawn(port, appendfsync, dir.path())?;
        let host = format!("127.0.0.1:{port}");
        while began.elapsed() < Duration::from_secs(20) {
            if let Ok(mut client) = Resp::connect(&host).await {
                client.call(&["XGROUP", "CREATE", "jobs", "workers", "$", "MKSTREAM"]).await?;
                return Ok(Self { host, ready: began.elapsed(), child, _dir: dir });
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bail!("redis-server did not come up")
    }

    /// What its process uses.
    pub fn usage(&self) -> Usage {
        Usage::of(self.child.id().unwrap_or(0))
    }

    /// Workers that take jobs of the stream and answer them, as long as this is kept.
    pub async fn workers(&self, lanes: usize) -> anyhow::Result<JoinSet<()>> {
        let mut workers = JoinSet::new();
        for n in 0..lanes {
            let mut client = Resp::connect(&self.host).await?;
            workers.spawn(async move { while work(&mut client, n).await.is_ok() {} });
        }
        Ok(workers)
    }

    /// These many clients; `round` keeps their names apart from those of other runs.
    pub async fn clients(&self, clients: usize, round: usize) -> anyhow::Result<Vec<Whole>> {
        let mut made = Vec::new();
        for n in 0..clients {
            let client = Resp::connect(&self.host).await?;
            made.push(Whole { client, name: format!("r:{clients}:{round}:{n}"), jobs: 0 });
        }
        Ok(made)
    }
}

fn spawn(port: u16, appendfsync: &str, dir: &Path) -> anyhow::Result<Child> {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--appendonly", "yes"])
        .args(["--appendfsync", appendfsync, "--save", "", "--dir", &dir.display().to_string()])
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("redis-server is not installed (Debian: redis-server)")
}

/// One client of whole jobs.
pub struct Whole {
    client: Resp,
    name: String,
    jobs: u64,
}

const INPUT: &str = r#"{"text":"a short input of 38 bytes"}"#;

impl Turn for Whole {
    async fn turn(&mut self) -> anyhow::Result<()> {
        self.jobs += 1;
        let reply_to = format!("{}:{}", self.name, self.jobs);
        self.client.call(&["XADD", "jobs", "*", "reply", &reply_to, "input", INPUT]).await?;
        self.client.call(&["BRPOP", &reply_to, "30"]).await
    }
}

/// One client that only submits.
pub struct Submit(pub Resp);

impl Turn for Submit {
    async fn turn(&mut self) -> anyhow::Result<()> {
        self.0.call(&["XADD", "parked", "*", "input", INPUT]).await
    }
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
pub struct Resp {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Resp {
    /// Connects to `host` (with port).
    pub async fn connect(host: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: BytesMut::new() })
    }

    /// One command and its reply.
    pub async fn call(&mut self, words: &[&str]) -> anyhow::Result<()> {
        self.call_into(words, &mut Vec::new()).await
    }

    async fn call_into(&mut self, words: &[&str], texts: &mut Vec<String>) -> anyhow::Result<()> {
        self.stream.write_all(encode(words).as_bytes()).await?;
        self.reply(texts).await
    }

    /// Several commands at once and their replies.
    async fn pipeline(&mut self, steps: &[&[&str]]) -> anyhow::Result<()> {
        let request: String = steps.iter().map(|words| encode(words)).collect();
        self.stream.write_all(request.as_bytes()).await?;
        for _ in steps {
            self.reply(&mut Vec::new()).await?;
        }
        Ok(())
    }

    /// Reads one whole reply, or message, and keeps its texts in order.
    pub async fn reply(&mut self, texts: &mut Vec<String>) -> anyhow::Result<()> {
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
