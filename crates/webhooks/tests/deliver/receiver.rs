//! A receiver of webhooks that does as it is told, and keeps what it was sent.

use std::collections::HashMap;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Longer than anything that goes well.
pub const SOON: Duration = Duration::from_secs(20);

/// What a receiver does with one request.
#[derive(Debug, Clone)]
pub enum Act {
    /// Answers with this status.
    Answer(u16),
    /// Sends elsewhere.
    Redirect(u16, String),
    /// Says nothing, and keeps the connection.
    Silence,
    /// Closes without a word.
    HangUp,
    /// Answers 200, and then never stops.
    Endless,
}

/// A request as it came.
#[derive(Debug)]
pub struct Received {
    pub line: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub struct Receiver {
    pub port: u16,
    requests: UnboundedReceiver<Received>,
}

impl Receiver {
    /// Does one act after the other, the last one for ever.
    pub async fn start(acts: &[Act]) -> Self {
        Self::with(acts, |stream| async move { Some(stream) }).await
    }

    /// The same over whatever `wrap` makes of a connection.
    pub async fn with<S, W>(acts: &[Act], wrap: impl Fn(TcpStream) -> W + Send + Sync + 'static) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        W: Future<Output = Option<S>> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (told, requests) = unbounded_channel();
        let mut acts: Vec<Act> = acts.iter().rev().cloned().collect();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Some(stream) = wrap(stream).await else { continue };
                let act = if acts.len() > 1 { acts.pop() } else { acts.last().cloned() };
                tokio::spawn(serve(stream, act.unwrap(), told.clone()));
            }
        });
        Self { port, requests }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The next request.
    pub async fn next(&mut self) -> Received {
        tokio::time::timeout(SOON, self.requests.recv()).await.expect("a request comes").unwrap()
    }

    /// What came and was not asked for yet.
    pub fn more(&mut self) -> usize {
        std::iter::from_fn(|| self.requests.try_recv().ok()).count()
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, act: Act, told: UnboundedSender<Received>) {
    let Some(request) = read(&mut stream).await else { return };
    let _ = told.send(request);
    let answer = match act {
        Act::Answer(status) => format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok"),
        Act::Redirect(status, to) => {
            format!("HTTP/1.1 {status} X\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        }
        Act::Silence => {
            let _ = stream.read_u8().await;
            return;
        }
        Act::HangUp => return,
        Act::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
            return;
        }
    };
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Received> {
    let mut bytes = vec![];
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let line = lines.next()?.to_owned();
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut body = bytes.split_off(end + 4);
    let length: usize = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Received { line, headers, body })
}
