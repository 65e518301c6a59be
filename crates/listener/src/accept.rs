//! Accepting: each connection gets a place and a task, or is told why there is none.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::doors::Doors;
use crate::guarded::DISCARD_FOR;
use crate::{Limits, connection};

/// How many are told at once why they may not come in; the others are closed without a word.
const TOLD_AT_ONCE: usize = 64;

/// The pause after a failed accept, mostly for want of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where connections come from.
trait Source: Sync {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one, and whose it is.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Option<IpAddr>)>> + Send;
}

/// A TCP listener, and what the kernel may keep for each reader.
struct Tcp(TcpListener, Option<usize>);

impl Source for Tcp {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Option<IpAddr>)> {
        let (stream, peer) = self.0.accept().await?;
        // Neither is worth a connection.
        let _ = stream.set_nodelay(true);
        if let Some(bytes) = self.1 {
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, bytes);
        }
        Ok((stream, Some(peer.ip())))
    }
}

impl Source for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Option<IpAddr>)> {
        Ok((self.accept().await?.0, None))
    }
}

/// Serves connections over TCP until `closing` resolves, and then until what is being answered is answered.
/// `service` is called once for each connection and makes what answers its requests.
pub async fn serve_tcp<M, S, F, B>(
    listener: TcpListener,
    limits: Limits,
    service: M,
    closing: impl Future<Output = ()> + Send,
) where
    M: Fn() -> S + Send,
    S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let source = Tcp(listener, limits.send_buffer);
    serve(source, limits, service, closing).await;
}

/// The same over a Unix socket.
pub async fn serve_unix<M, S, F, B>(
    listener: UnixListener,
    limits: Limits,
    service: M,
    closing: impl Future<Output = ()> + Send,
) where
    M: Fn() -> S + Send,
    S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    serve(listener, limits, service, closing).await;
}

async fn serve<A, M, S, F, B>(source: A, limits: Limits, service: M, closing: impl Future<Output = ()> + Send)
where
    A: Source,
    M: Fn() -> S + Send,
    S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (limits, doors) = (Arc::new(limits), Arc::new(Doors::default()));
    let told = Arc::new(Semaphore::new(TOLD_AT_ONCE));
    let (close, closes) = watch::channel(false);
    let mut closing = std::pin::pin!(closing);
    loop {
        let accepted = tokio::select! {
            accepted = source.next() => accepted,
            () = &mut closing => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "A connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match doors.enter(address, &limits) {
            Ok(place) => {
                let (limits, closes) = (Arc::clone(&limits), closes.clone());
                tokio::spawn(connection::serve(stream, place, limits, service(), closes));
            }
            Err(refusal) => {
                if let Ok(permit) = Arc::clone(&told).try_acquire_owned() {
                    let words = refusal.answer(&limits);
                    tokio::spawn(async move {
                        let _ = timeout(DISCARD_FOR, tell(stream, &words)).await;
                        drop(permit);
                    });
                }
            }
        }
    }
    drop((source, closes));
    close.send_replace(true);
    close.closed().await;
}

/// Says why there is no place, and waits until that was heard.
async fn tell<T: AsyncRead + AsyncWrite + Unpin>(mut stream: T, words: &[u8]) -> io::Result<()> {
    stream.write_all(words).await?;
    stream.shutdown().await?;
    let mut thrown_away = [0; 4096];
    while stream.read(&mut thrown_away).await? > 0 {}
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Generous ones, for tests to narrow.
    pub(crate) fn limits() -> Limits {
        let long = Duration::from_mins(1);
        Limits {
            connections: 100,
            per_address: 100,
            header_bytes: 16 << 10,
            headers: 50,
            header_timeout: long,
            first_timeout: long,
            idle_timeout: long,
            patience: long,
            rate: 0,
            send_buffer: None,
        }
    }
}
