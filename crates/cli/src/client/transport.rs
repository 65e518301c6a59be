//! The ways to a server: TCP (with TLS or without), the data directory's Unix socket, or a router in this very process over an opened
//! data directory. All speak HTTP; the first two over one HTTP/1 connection a request, which is what a command
//! that makes a handful of requests needs.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper_util::rt::TokioIo;
use runyard_runtime::session::Frames;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tower::ServiceExt;

use crate::client::Trust;

/// An error of whatever lies below.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer.
pub type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A way to a server.
#[derive(Debug, Clone)]
pub enum Transport {
    /// A TCP address.
    Tcp {
        /// Host name or address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// Whom to believe, where TLS is spoken.
        tls: Option<Trust>,
    },
    /// A Unix socket.
    Unix(PathBuf),
    /// The same routes, without a listener.
    InProcess(Router),
}

/// Sending did not work.
#[derive(Debug)]
pub enum SendError {
    /// No connection: the request was not sent.
    Connect(io::Error),
    /// The connection broke: the request may have been sent.
    Broken(BoxError),
}

impl Transport {
    /// Sends a request and returns the head of its answer, with the body still to come.
    pub async fn send(&self, request: Request<Frames>) -> Result<Response<AnswerBody>, SendError> {
        match self {
            Self::Tcp { host, port, tls } => {
                let stream = connect(TcpStream::connect((host.as_str(), *port))).await?;
                let _ = stream.set_nodelay(true);
                match tls {
                    Some(trust) => exchange(connect(trust.wrap(host, stream)).await?, request).await,
                    None => exchange(stream, request).await,
                }
            }
            Self::Unix(path) => exchange(connect(UnixStream::connect(path)).await?, request).await,
            Self::InProcess(router) => {
                let answer = router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
                Ok(answer.map(|body| body.map_err(BoxError::from).boxed_unsync()))
            }
        }
    }

    /// Whether something accepts connections there, within `limit`.
    pub async fn answers(&self, limit: Duration) -> bool {
        let connected = async {
            match self {
                Self::Tcp { host, port, .. } => TcpStream::connect((host.as_str(), *port)).await.is_ok(),
                Self::Unix(path) => UnixStream::connect(path).await.is_ok(),
                Self::InProcess(_) => true,
            }
        };
        tokio::time::timeout(limit, connected).await.unwrap_or(false)
    }
}

async fn connect<S>(connecting: impl Future<Output = io::Result<S>>) -> Result<S, SendError> {
    let late = |_| {
        let text = format!("no connection within {} s", CONNECT_TIMEOUT.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, text)
    };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
    connected.map_err(late).flatten().map_err(SendError::Connect)
}

async fn exchange<S>(stream: S, request: Request<Frames>) -> Result<Response<AnswerBody>, SendError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |e: hyper::Error| SendError::Broken(e.into());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // Ends when the answer's body was read or dropped; its errors reach the body.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(broken)?;
    Ok(answer.map(|body| body.map_err(BoxError::from).boxed_unsync()))
}
