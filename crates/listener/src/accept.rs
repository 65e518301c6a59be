//! Accepting: each connection gets a place and a task, or is told why there is none.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::arrival::{Arrival, Tcp};
use crate::doors::Doors;
use crate::guarded::DISCARD_FOR;
use crate::{Limits, Received, Tls, connection};

/// How many are told at once why they may not come in; the others are closed without a word.
const TOLD_AT_ONCE: usize = 64;

/// The pause after a failed accept, mostly for want of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where connections come from.
trait Source: Sync {
    type Arrival: Arrival;

    /// The next one.
    fn next(&self) -> impl Future<Output = io::Result<Self::Arrival>> + Send;
}

/// A TCP listener, what is spoken on it, and what the kernel may keep for each reader.
struct TcpSource {
    listener: TcpListener,
    tls: Option<Tls>,
    send_buffer: Option<usize>,
}

impl Source for TcpSource {
    type Arrival = Tcp;

    async fn next(&self) -> io::Result<Tcp> {
        let (stream, peer) = self.listener.accept().await?;
        // Neither is worth a connection.
        let _ = stream.set_nodelay(true);
        if let Some(bytes) = self.send_buffer {
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, bytes);
        }
        Ok(Tcp { stream, address: peer.ip(), tls: self.tls.as_ref().map(Tls::acceptor) })
    }
}

impl Source for UnixListener {
    type Arrival = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

/// Serves connections over TCP until `closing` resolves, and then until what is being answered is answered. With
/// `tls` nothing else is spoken. `service` is called once for each connection, with the address that it comes from,
/// and makes what answers its requests.
pub async fn serve_tcp<M, S, F, B>(
    listener: TcpListener,
    tls: Option<Tls>,
    limits: Limits,
    service: M,
    closing: impl Future<Output = ()> + Send,
) where
    M: Fn(Option<IpAddr>) -> S + Send,
    S: Fn(Request<Received>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let source = TcpSource { listener, tls, send_buffer: limits.send_buffer };
    serve(source, limits, service, closing).await;
}

/// The same over a Unix socket.
pub async fn serve_unix<M, S, F, B>(
    listener: UnixListener,
    limits: Limits,
    service: M,
    closing: impl Future<Output = ()> + Send,
) where
    M: Fn(Option<IpAddr>) -> S + Send,
    S: Fn(Request<Received>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    serve(listener, limits, service, closing).await;
}

async fn serve<A, M, S, F, B>(source: A, limits: Limits, service: M, closing: impl Future<Output = ()> + Send)
where
    A: Source,
    M: Fn(Option<IpAddr>) -> S + Send,
    S: Fn(Request<Received>) -> F + Send + Sync + 'static,
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
        let arrival = match accepted {
            Ok(arrival) => arrival,
            Err(error) => {
                tracing::warn!(%error, "A connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let address = arrival.address();
        match doors.enter(address, &limits) {
            Ok(place) => {
                let (limits, closes) = (Arc::clone(&limits), closes.clone());
                tokio::spawn(connection::serve(arrival, place, limits, service(address), closes));
            }
            Err(refusal) => {
                if let Ok(permit) = Arc::clone(&told).try_acquire_owned()
                    && let Some(stream) = arrival.unsettled()
                {
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
pub(crate) async fn tell<T: AsyncRead + AsyncWrite + Unpin>(mut stream: T, words: &[u8]) -> io::Result<()> {
    stream.write_all(words).await?;
    stream.shutdown().await?;
    let mut thrown_away = [0; 4096];
    while stream.read(&mut thrown_away).await? > 0 {}
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Networks;

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
            shared: Networks::default(),
        }
    }
}
