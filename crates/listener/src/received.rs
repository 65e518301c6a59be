//! A request's body as a service gets it. What a service leaves unread is read away after its answer, within bounds:
//! a connection whose body is given up would be closed, and clients that send head and body apart, as most do, would
//! find their next request without an answer.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How much of a body is read away.
const DISCARD: u64 = 64 << 20;
/// And for how long; a slower sender finds its connection closed.
const DISCARD_FOR: Duration = Duration::from_secs(20);

/// The body of a request.
pub struct Received {
    body: Option<Incoming>,
    left: Option<Arc<Left>>,
}

/// What a service left of the body of a connection's current request.
#[derive(Default)]
pub(crate) struct Left {
    body: Mutex<Option<Incoming>>,
    there: Notify,
}

impl Left {
    /// A request whose body comes back here where it is not read to its end.
    pub(crate) fn watch(self: &Arc<Self>, request: Request<Incoming>) -> Request<Received> {
        // Who asks before sending ("Expect: 100-continue") sends nothing after a refusal.
        let asks = request.headers().contains_key(header::EXPECT);
        let left = (!asks).then(|| Arc::clone(self));
        request.map(|body| Received { body: Some(body), left })
    }

    /// Reads away what comes back, for as long as this is polled.
    pub(crate) async fn discard(&self) {
        loop {
            self.there.notified().await;
            let body = self.slot().take();
            if let Some(body) = body {
                let _ = timeout(DISCARD_FOR, discard(body)).await;
            }
        }
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Incoming>> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a body to its end, to the bound or to what breaks it.
async fn discard(mut body: Incoming) {
    let mut seen = 0;
    while seen < DISCARD {
        match std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            Some(Ok(frame)) => seen += frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(_)) | None => return,
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let Some((left, body)) = self.left.take().zip(self.body.take()) else { return };
        if !body.is_end_stream() {
            *left.slot() = Some(body);
            left.there.notify_one();
        }
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received").field("body", &self.body).finish_non_exhaustive()
    }
}
