//! A tap on the wire between an unmodified SDK worker and the agent: passes every request and answer on, and notes
//! when the worker asked for a job, when it was handed one, and when its result came. That splits a round trip
//! into the SDK's share and ours; the tap's own two hops count as ours.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bytes::{Buf as _, BytesMut};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::http::Client;

/// What was seen of one job.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// When the request came that was answered with it.
    pub asked: Instant,
    /// When the worker was handed it.
    pub handed: Instant,
    /// When its result was here.
    pub done: Option<Instant>,
}

type Jobs = Arc<Mutex<HashMap<String, Seen>>>;

/// A tap that runs.
pub struct Tap {
    /// Where it listens. Workers ask for `http://{host}/{the agent's host}/…`.
    pub host: String,
    jobs: Jobs,
    serving: JoinHandle<()>,
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Tap {
    /// Listens on a free port of loopback.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let host = listener.local_addr()?.to_string();
        let jobs = Jobs::default();
        let seen = Arc::clone(&jobs);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let connection = Connection { stream, buffer: BytesMut::new(), jobs: Arc::clone(&seen) };
                // A worker that goes breaks its connections; that is no failure of the measurement.
                tokio::spawn(async move { connection.serve().await.ok() });
            }
        });
        Ok(Self { host, jobs, serving })
    }

    /// What was seen of a job.
    pub fn seen(&self, job: &str) -> Option<Seen> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).get(job).copied()
    }
}

struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    jobs: Jobs,
}

struct Request {
    method: String,
    upstream: String,
    path: String,
    headers: String,
    body: Vec<u8>,
}

impl Connection {
    async fn serve(mut self) -> anyhow::Result<()> {
        let mut upstream: Option<Client> = None;
        loop {
            let request = self.request().await?;
            let came = Instant::now();
            if let Some(job) = job_done(&request.path)
                && let Some(seen) = self.lock().get_mut(job)
            {
                seen.done.get_or_insert(came);
            }
            let client = match &mut upstream {
                Some(client) => client,
                none => none.insert(Client::connect(&request.upstream).await?),
            };
            let answer = client.send(&request.method, &request.path, &request.headers, &request.body).await?;
            if request.path.contains("/job-take") && answer.status == 200 {
                self.handed(&answer.body, came);
            }
            let head = format!(
                "HTTP/1.1 {} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                answer.status,
                answer.body.len()
            );
            let mut bytes = head.into_bytes();
            bytes.extend_from_slice(&answer.body);
            self.stream.write_all(&bytes).await?;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Seen>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the jobs of a take's answer: one, or a list.
    fn handed(&self, body: &[u8], asked: Instant) {
        let handed = Instant::now();
        let Ok(value) = serde_json::from_slice::<Value>(body) else { return };
        let list = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        let ids = list.iter().filter_map(|job| job["id"].as_str());
        self.lock().extend(ids.map(|id| (id.to_owned(), Seen { asked, handed, done: None })));
    }

    async fn request(&mut self) -> anyhow::Result<Request> {
        let end = loop {
            match self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.more().await?,
            }
        };
        let head = String::from_utf8(self.buffer.split_to(end).to_vec())?;
        let mut lines = head.lines();
        let mut words = lines.next().context("a request line")?.split(' ');
        let (method, target) = (words.next().context("a method")?, words.next().context("a path")?);
        let (upstream, path) = target.trim_start_matches('/').split_once('/').context("the agent's host")?;
        let (mut headers, mut length) = (String::new(), 0);
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').context("a header")?;
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse()?,
                "host" | "connection" | "content-type" | "accept-encoding" => {}
                "transfer-encoding" => anyhow::bail!("the tap reads no chunked requests"),
                _ => {
                    headers.push_str(line);
                    headers.push_str("\r\n");
                }
            }
        }
        while self.buffer.len() < length {
            self.more().await?;
        }
        let body = self.buffer[..length].to_vec();
        self.buffer.advance(length);
        let (method, upstream) = (method.to_owned(), upstream.to_owned());
        Ok(Request { method, upstream, path: format!("/{path}"), headers, body })
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the worker closed the connection");
        Ok(())
    }
}

/// The job that a `job-done` path names.
fn job_done(path: &str) -> Option<&str> {
    let path = path.split('?').next()?;
    path.contains("/job-done/").then(|| path.rsplit('/').next()).flatten()
}
