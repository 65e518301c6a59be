//! The server, played by the test: every request of the agent is shown to it, and answered when and how it
//! says. A request that is dropped breaks its connection.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use runyard_runtime::Paths;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::harness::within;

pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
    reply: oneshot::Sender<Response<Full<Bytes>>>,
}

impl Seen {
    pub fn answer(self, status: u16, headers: &[(&str, &str)], body: &str) {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let _ = self.reply.send(response.body(Full::new(Bytes::from(body.to_owned()))).unwrap());
    }

    /// Waits until the agent has broken off the request.
    pub async fn broken_off(mut self) {
        within("the end of the request", self.reply.closed()).await;
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub struct Server {
    requests: mpsc::UnboundedReceiver<Seen>,
    _serving: JoinSet<()>,
    socket: std::path::PathBuf,
}

impl Server {
    pub fn start(paths: &Paths) -> Self {
        let listener = UnixListener::bind(paths.server_socket()).unwrap();
        let (show, requests) = mpsc::unbounded_channel();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let show = show.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| take(show.clone(), request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { requests, _serving: serving, socket: paths.server_socket() }
    }

    pub async fn next(&mut self) -> Seen {
        within("a request to the server", self.requests.recv()).await.unwrap()
    }

    /// No request is waiting to be seen.
    pub fn is_idle(&mut self) -> bool {
        self.requests.try_recv().is_err()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

async fn take(
    show: mpsc::UnboundedSender<Seen>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let (reply, answer) = oneshot::channel();
    let seen = Seen {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec())?,
        reply,
    };
    show.send(seen).map_err(|_| "the test is over")?;
    Ok::<_, Infallible>(answer.await?).map_err(Into::into)
}
