//! A connection's stream, watched: a head that takes too long, an idle connection and a reader that does not read
//! are ended here, below the HTTP machinery, because only here is known when bytes move.
//!
//! Where that machinery would end a connection without a word of explanation, its words are replaced. It is brought
//! to refuse a slow head by a byte that no head may contain.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::pulse::Pulse;
use crate::refusal::{Refusal, made_up};
use crate::{Limits, Pace};

/// How much of what still comes is read away after a refusal, so that it is seen instead of a reset.
const DISCARD: usize = 1 << 20;
/// And for how long.
pub(crate) const DISCARD_FOR: Duration = Duration::from_secs(2);

/// The stream of one connection.
pub(crate) struct Guarded<T> {
    io: T,
    limits: Arc<Limits>,
    pulse: Arc<Pulse>,
    reading: Alarm,
    head_since: Option<Instant>,
    requests_seen: u64,
    slow_head: bool,
    writing: Alarm,
    pace: Pace,
    blocked_since: Option<Instant>,
    refusal: Option<(Vec<u8>, usize)>,
    lingers: Option<(Instant, usize)>,
}

/// A timer that is set again only when it rings, because most deadlines are moved before they come.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Whether the deadline is over; wakes the task when it will be.
    fn is_over(&mut self, deadline: Instant, cx: &mut Context<'_>) -> bool {
        loop {
            if Instant::now() >= deadline {
                return true;
            }
            let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if sleep.deadline() > deadline {
                sleep.as_mut().reset(deadline);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.0 = None;
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Guarded<T> {
    pub(crate) fn new(io: T, limits: Arc<Limits>, pulse: Arc<Pulse>) -> Self {
        let pace = Pace::new(limits.patience, limits.rate);
        Self {
            io,
            limits,
            pulse,
            reading: Alarm::default(),
            head_since: None,
            requests_seen: 0,
            slow_head: false,
            writing: Alarm::default(),
            pace,
            blocked_since: None,
            refusal: None,
            lingers: None,
        }
    }

    /// What the next read has to be over by; a request that is being answered takes its time.
    fn read_deadline(&self) -> Instant {
        if let Some(since) = self.head_since {
            return since + self.limits.header_timeout;
        }
        let idle = if self.requests_seen == 0 { self.limits.first_timeout } else { self.limits.idle_timeout };
        // While it is busy nobody tells us when it rests, so that has to be looked at now and then.
        let since = if self.pulse.is_busy() { Instant::now() } else { self.pulse.rests_since() };
        since + idle
    }

    /// Notes whether there was a whole request since the last look.
    fn look_for_requests(&mut self) {
        let requests = self.pulse.requests();
        if requests != self.requests_seen {
            self.requests_seen = requests;
            self.head_since = None;
        }
    }

    /// Writes our own words in the place of the machinery's.
    fn write_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((words, written)) = &mut self.refusal {
            if *written == words.len() {
                break;
            }
            match ready!(Pin::new(&mut self.io).poll_write(cx, &words[*written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                more => *written += more,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes note when the machinery begins to refuse by itself.
    fn look_at(&mut self, bytes: &[u8]) {
        if self.refusal.is_none()
            && self.pulse.writes_unasked()
            && let Some(status) = made_up(bytes)
        {
            let refusal = if self.slow_head { Refusal::SlowHead } else { Refusal::Unreadable(status) };
            self.refusal = Some((refusal.answer(&self.limits), 0));
        }
    }

    /// Keeps the account of a reader.
    fn wrote(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        match outcome {
            Poll::Ready(Ok(bytes)) => {
                let waited = self.blocked_since.take().map_or(Duration::ZERO, |since| now - since);
                self.pace.moved(waited, bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Pending => {
                let since = *self.blocked_since.get_or_insert(now);
                if self.writing.is_over(since + self.pace.left(), cx) {
                    tracing::debug!("A connection was ended: its reader is too slow");
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    /// Reads away what still comes, for a while.
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (until, mut left) = *self.lingers.get_or_insert((Instant::now() + DISCARD_FOR, DISCARD));
        let mut thrown_away = [0; 4096];
        loop {
            if left == 0 || self.reading.is_over(until, cx) {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut thrown_away);
            match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    left = left.saturating_sub(buffer.filled().len());
                    self.lingers = Some((until, left));
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.io).poll_read(cx, buffer) {
            self.look_for_requests();
            if buffer.filled().len() > before && !self.pulse.is_busy() {
                self.head_since.get_or_insert_with(Instant::now);
            }
            return Poll::Ready(read);
        }
        self.look_for_requests();
        let deadline = self.read_deadline();
        if !self.reading.is_over(deadline, cx) {
            return Poll::Pending;
        }
        // Idle, it ends as if the client had closed it.
        if self.head_since.is_some() {
            self.slow_head = true;
            buffer.put_slice(b"\0");
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.look_at(bytes);
        if self.refusal.is_some() {
            ready!(self.write_refusal(cx))?;
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = parts {
            return self.poll_write(cx, only);
        }
        // What the machinery says by itself is one part.
        let _ = self.pulse.writes_unasked();
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingers.is_none() {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        }
        if self.refusal.is_some() {
            ready!(self.linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}
