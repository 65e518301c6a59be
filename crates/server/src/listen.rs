//! Listeners: TCP for users, a Unix socket for the agent and for the owner's command line.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::serve::ListenerExt as _;
use runyard_runtime::Paths;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::ServerError;

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

/// Serves `routes` over TCP until `closing` rings: then nothing new is accepted, and what is being answered is
/// answered.
pub fn serve_tcp(listener: TcpListener, routes: Router, closing: Arc<Notify>) -> JoinHandle<()> {
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection could not be set to answer without delay");
        }
    });
    tokio::spawn(async move {
        let closing = async move { closing.notified().await };
        if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(closing).await {
            tracing::error!(%error, "the listener failed");
        }
    })
}

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
pub fn serve_unix(listener: UnixListener, routes: Router) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "the socket's listener failed");
        }
    })
}
