//! What an accepted connection becomes before HTTP is spoken on it: over TCP it may first have to agree on TLS, which
//! happens in its own task, where it holds up nobody.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::Limits;
use crate::accept::tell;
use crate::guarded::DISCARD_FOR;
use crate::refusal::Refusal;

/// The first byte of whoever begins with TLS.
const HANDSHAKE: u8 = 0x16;

/// An accepted connection.
pub(crate) trait Arrival: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Whose it is, where that means anything.
    fn address(&self) -> Option<IpAddr>;

    /// The stream to speak HTTP on; `None` where it did not come to that.
    fn settle(self, limits: &Limits) -> impl Future<Output = Option<Self::Stream>> + Send;

    /// The stream to say at once why there is no place; `None` where that could not be understood.
    fn unsettled(self) -> Option<Self::Stream>;
}

impl Arrival for UnixStream {
    type Stream = Self;

    fn address(&self) -> Option<IpAddr> {
        None
    }

    async fn settle(self, _limits: &Limits) -> Option<Self> {
        Some(self)
    }

    fn unsettled(self) -> Option<Self> {
        Some(self)
    }
}

/// A connection over TCP, and what it has to agree on first.
pub(crate) struct Tcp {
    pub(crate) stream: TcpStream,
    pub(crate) address: IpAddr,
    pub(crate) tls: Option<TlsAcceptor>,
}

/// Its stream.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Arrival for Tcp {
    type Stream = Wire;

    fn address(&self) -> Option<IpAddr> {
        Some(self.address)
    }

    async fn settle(self, limits: &Limits) -> Option<Wire> {
        let Some(acceptor) = self.tls else { return Some(Wire::Plain(self.stream)) };
        let mut first = [0];
        let peeked = timeout(limits.first_timeout, self.stream.peek(&mut first)).await;
        if peeked.ok()?.ok()? == 0 {
            return None;
        }
        if first != [HANDSHAKE] {
            let words = Refusal::NotTls.answer(limits);
            let _ = timeout(DISCARD_FOR, tell(self.stream, &words)).await;
            return None;
        }
        match timeout(limits.header_timeout, acceptor.accept(self.stream)).await {
            Ok(Ok(stream)) => Some(Wire::Tls(Box::new(stream))),
            Ok(Err(error)) => {
                tracing::debug!(%error, address = %self.address, "A TLS handshake failed");
                None
            }
            Err(_) => {
                tracing::debug!(address = %self.address, "A TLS handshake took too long");
                None
            }
        }
    }

    fn unsettled(self) -> Option<Wire> {
        self.tls.is_none().then_some(Wire::Plain(self.stream))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
