//! Listeners: TCP for users, a Unix socket for the agent and for the owner's command line.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use runyard_listener::{Limits, Received, Tls};
use runyard_runtime::Paths;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tower::Service as _;

use crate::ServerError;
use crate::client::Peer;

/// A listener that somebody handed to this process, by the variables that systemd uses: a server before this one, or a
/// service manager that holds the port. Asked once, before the process has threads that look at its environment.
pub fn inherited() -> Option<std::net::TcpListener> {
    let listener = listenfd::ListenFd::from_env().take_tcp_listener(0).ok().flatten()?;
    listener.set_nonblocking(true).ok()?;
    Some(listener)
}

/// Takes over a listener that was handed to this process.
pub fn take_over(listener: std::net::TcpListener) -> Result<(TcpListener, SocketAddr), ServerError> {
    let fail = |source| ServerError::Listen { address: "the socket that was handed over".to_owned(), source };
    let local = listener.local_addr().map_err(fail)?;
    Ok((TcpListener::from_std(listener).map_err(fail)?, local))
}

/// Listens on `address`; with `or_free`, on any free port of the same host where that one is taken.
pub async fn tcp(address: &str, or_free: bool) -> Result<(TcpListener, SocketAddr), ServerError> {
    let fail = |source| ServerError::Listen { address: address.to_owned(), source };
    let listener = match TcpListener::bind(address).await {
        Err(error) if or_free && error.kind() == std::io::ErrorKind::AddrInUse => {
            let host = address.rsplit_once(':').map_or("127.0.0.1", |(host, _)| host);
            TcpListener::bind(format!("{host}:0")).await
        }
        bound => bound,
    };
    let listener = listener.map_err(fail)?;
    let local = listener.local_addr().map_err(fail)?;
    Ok((listener, local))
}

/// How many connections of users are open.
#[derive(Debug, Clone, Default)]
pub struct Connections(Arc<AtomicUsize>);

/// One of them.
struct Open(Connections);

impl Connections {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn open(&self) -> Open {
        self.0.fetch_add(1, Ordering::Relaxed);
        Open(self.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves `routes` over TCP until `closing` rings: then nothing new is accepted, and what is being answered is
/// answered. Each connection is counted while it is open.
pub fn serve_tcp(
    listener: TcpListener,
    tls: Option<Tls>,
    limits: Limits,
    routes: Router,
    closing: Arc<Notify>,
    connections: Connections,
) -> JoinHandle<()> {
    let closing = async move { closing.notified().await };
    tokio::spawn(async move {
        let each = move |peer| {
            let (open, answer) = (connections.open(), answers(routes.clone(), peer));
            move |request| {
                let _is_open = &open;
                answer(request)
            }
        };
        runyard_listener::serve_tcp(listener, tls, limits, each, closing).await;
    })
}

/// What answers the requests of one connection.
fn answers(routes: Router, peer: Option<IpAddr>) -> impl Fn(Request<Received>) -> Answered {
    move |request| {
        let mut request = request.map(Body::new);
        if let Some(peer) = peer {
            request.extensions_mut().insert(Peer(peer));
        }
        let answer = routes.clone().call(request);
        Box::pin(async move {
            let Ok(answer) = answer.await;
            answer
        })
    }
}

type Answered = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Listens on the data directory's socket. One that a killed server left is replaced: the lock is ours.
pub fn unix(paths: &Paths) -> Result<UnixListener, ServerError> {
    let path = paths.server_socket();
    let fail = |path: &Path, source| ServerError::Listen { address: path.display().to_string(), source };
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(&path, error)),
        _ => {}
    }
    UnixListener::bind(&path).map_err(|source| fail(&path, source))
}

/// Serves `routes` over the Unix socket until the task is aborted.
pub fn serve_unix(listener: UnixListener, limits: Limits, routes: Router) -> JoinHandle<()> {
    tokio::spawn(async move {
        let never = std::future::pending();
        runyard_listener::serve_unix(listener, limits, move |peer| answers(routes.clone(), peer), never)
            .await;
    })
}
