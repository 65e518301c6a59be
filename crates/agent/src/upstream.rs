//! The road to the server: pooled connections to its Unix socket, one request at a time on each. Where the
//! server cannot answer, the caller learns that it is away and decides whether to wait, spool or give up.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use runyard_runtime::wire::KEY_HEADER;
use tokio::net::UnixStream;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use crate::post;
use crate::room::{self, Part};
use crate::worker::locked;

/// Set by a server that is there but cannot answer yet, or any more.
const AWAY: &str = "x-runyard-away";
/// Answers up to this length need no room, in bytes.
const UNCOUNTED: usize = 256 << 10;
/// How long a large answer waits for room.
const ROOM_WAIT: Duration = Duration::from_secs(10);
/// Connections that are kept for later.
const IDLE: usize = 64;
/// The first and the longest pause between two looks for the server.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// A request as it goes to the server, as often as needed.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub path: String,
    /// Its headers, without those of the connection.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// The server that it is meant for, where it makes no sense to any other.
    pub only: Option<Server>,
}

/// Which of the servers, one after the other, it is: they are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server(u64);

/// The server's answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, without those of the connection.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Its part of the room for answers, where it is large.
    pub room: Option<Part>,
}

/// The server cannot be reached, or broke off before its answer was whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away;

/// The server, seen from here.
#[derive(Debug)]
pub struct Upstream {
    socket: PathBuf,
    key: String,
    idle: Mutex<Vec<Road>>,
    room: Arc<Semaphore>,
    current: Mutex<(Server, Option<HeaderValue>)>,
    away: AtomicBool,
    back: Notify,
    seen: Mutex<Instant>,
}

/// A connection, and the server at its other end.
#[derive(Debug)]
struct Road {
    sender: SendRequest<Full<Bytes>>,
    server: Server,
}

/// The pauses of one waiter.
#[derive(Debug)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(PAUSE.0)
    }
}

impl Upstream {
    /// The server that listens on `socket`; `key` proves who we are.
    pub fn new(socket: PathBuf, key: String) -> Self {
        Self {
            socket,
            key,
            idle: Mutex::default(),
            room: Arc::new(Semaphore::new(room::FOR_ANSWERS)),
            current: Mutex::new((Server(0), None)),
            away: AtomicBool::new(false),
            back: Notify::new(),
            seen: Mutex::new(Instant::now()),
        }
    }

    /// There was a sign of life: whoever waits for the server tries again now.
    pub fn alive(&self) {
        *locked(&self.seen) = Instant::now();
        if self.away.swap(false, Ordering::SeqCst) {
            self.back.notify_waiters();
        }
    }

    /// A server looks at what the workers hold: from now on that counts, and no longer what an earlier one answered,
    /// even where its last words are still on their way through this process.
    pub fn looked_at_by(&self, name: Option<&HeaderValue>) {
        let mut current = locked(&self.current);
        if current.1.as_ref() != name {
            *current = (Server(current.0.0 + 1), name.cloned());
        }
    }

    /// A server shows itself; it is the current one where there was none.
    pub fn seen(&self, name: Option<&HeaderValue>) {
        let mut current = locked(&self.current);
        if current.1.is_none() {
            current.1 = name.cloned();
        }
        drop(current);
        self.alive();
    }

    /// The server that looked last.
    pub fn current(&self) -> Server {
        locked(&self.current).0
    }

    /// When there was a sign of life.
    pub fn last_seen(&self) -> Instant {
        *locked(&self.seen)
    }

    /// Whether somebody listens on the socket.
    pub async fn listens(&self) -> bool {
        UnixStream::connect(&self.socket).await.is_ok()
    }

    /// Waits a moment, or for a sign of life, before another try.
    pub async fn pause(&self, backoff: &mut Backoff) {
        tokio::select! {
            () = self.back.notified() => *backoff = Backoff::default(),
            () = sleep(backoff.0) => backoff.0 = (backoff.0 * 2).min(PAUSE.1),
        }
    }

    /// Sends a request and reads the whole answer. `on_head` sees its headers, and who answers, before its body is
    /// read; what it makes is dropped if the body does not come.
    pub async fn call<G>(
        &self,
        request: &Outgoing,
        on_head: impl FnOnce(&HeaderMap, Server) -> G,
    ) -> Result<(Answer, G), Away> {
        let result = self.exchange(request, on_head).await;
        match &result {
            Ok(_) => self.alive(),
            Err(Away) => self.away.store(true, Ordering::SeqCst),
        }
        result
    }

    async fn exchange<G>(
        &self,
        request: &Outgoing,
        on_head: impl FnOnce(&HeaderMap, Server) -> G,
    ) -> Result<(Answer, G), Away> {
        let (road, response) = self.send(request).await?;
        let (mut parts, body) = response.into_parts();
        if parts.status == StatusCode::SERVICE_UNAVAILABLE && parts.headers.contains_key(AWAY) {
            return Err(Away);
        }
        let made = on_head(&parts.headers, road.server);
        let room = self.room_for(&parts.headers).await?;
        let body = body.collect().await.map_err(|_| Away)?.to_bytes();
        self.keep(road);
        end_to_end(&mut parts.headers);
        Ok((Answer { status: parts.status, headers: parts.headers, body, room }, made))
    }

    /// Room for a large answer. Workers that do not read theirs hold it; who waits for too long gives up, and the jobs
    /// in its answer go back.
    async fn room_for(&self, headers: &HeaderMap) -> Result<Option<Part>, Away> {
        let bytes = post::length(headers).unwrap_or(0);
        if bytes <= UNCOUNTED {
            return Ok(None);
        }
        let kib = room::in_kib(bytes).min(room::FOR_ANSWERS as u32);
        if let Ok(Ok(part)) = timeout(ROOM_WAIT, Arc::clone(&self.room).acquire_many_owned(kib)).await {
            return Ok(Some(part));
        }
        tracing::warn!(bytes, "A large answer finds no room: workers do not read theirs");
        Err(Away)
    }

    /// Sends on a kept connection, and where that turns out to be dead, on a new one.
    async fn send(&self, request: &Outgoing) -> Result<(Road, http::Response<Incoming>), Away> {
        while let Some(mut road) = self.kept() {
            if let Ok(response) = road.sender.send_request(self.build(request)?).await {
                return Ok((road, response));
            }
        }
        let stream = UnixStream::connect(&self.socket).await.map_err(|_| Away)?;
        // A server looks before it listens, and the one before it is gone by then.
        let server = self.current();
        if request.only.is_some_and(|only| only != server) {
            return Err(Away);
        }
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| Away)?;
        tokio::spawn(connection);
        let response = sender.send_request(self.build(request)?).await.map_err(|_| Away)?;
        Ok((Road { sender, server }, response))
    }

    fn kept(&self) -> Option<Road> {
        let mut idle = locked(&self.idle);
        while let Some(road) = idle.pop() {
            if road.sender.is_ready() && road.server == self.current() {
                return Some(road);
            }
        }
        None
    }

    fn keep(&self, road: Road) {
        let mut idle = locked(&self.idle);
        idle.retain(|road| !road.sender.is_closed());
        if !road.sender.is_closed() && idle.len() < IDLE {
            idle.push(road);
        }
    }

    fn build(&self, request: &Outgoing) -> Result<Request<Full<Bytes>>, Away> {
        let mut built = Request::new(Full::new(request.body.clone()));
        *built.method_mut() = request.method.clone();
        *built.uri_mut() = request.path.parse().map_err(|_| Away)?;
        *built.headers_mut() = request.headers.clone();
        built.headers_mut().insert(header::HOST, HeaderValue::from_static("runyard"));
        if let Ok(key) = HeaderValue::from_str(&self.key) {
            built.headers_mut().insert(KEY_HEADER, key);
        }
        Ok(built)
    }
}

/// Removes the headers that belong to one connection and not to the message.
pub fn end_to_end(headers: &mut HeaderMap) {
    const HOP: [HeaderName; 7] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::EXPECT,
    ];
    for name in HOP {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// Removes what a worker may not say: headers by which server and agent talk to each other.
pub fn from_worker(headers: &mut HeaderMap) {
    end_to_end(headers);
    headers.remove(header::HOST);
    let own: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-runyard-")).cloned().collect();
    for name in own {
        headers.remove(name);
    }
}
