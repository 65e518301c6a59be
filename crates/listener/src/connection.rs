//! One connection: requests in, each to the service, answers out, within the limits.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::Limits;
use crate::arrival::Arrival;
use crate::doors::Place;
use crate::guarded::Guarded;
use crate::pulse::{Busy, Pulse};
use crate::received::{Left, Received};

/// So many lines need no memory of their own.
const USUAL_HEADERS: usize = 100;

/// How long the first request of a new connection may be on its way when the listener closes.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// Serves a connection to its end. Once `closing` turns, what is being answered is answered, and nothing more.
pub(crate) async fn serve<A, S, F, B>(
    arrival: A,
    place: Place,
    limits: Arc<Limits>,
    service: S,
    mut closing: watch::Receiver<bool>,
) where
    A: Arrival,
    S: Fn(Request<Received>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let pulse = Arc::clone(&place.pulse);
    let settled = tokio::select! {
        biased;
        settled = arrival.settle(&limits) => settled,
        () = pulse.evicted.notified() => None,
        () = over(&mut closing, &pulse) => None,
    };
    let Some(stream) = settled else { return };
    let left = Arc::new(Left::default());
    let watched = service_fn(|request| {
        let (busy, pulse) = (pulse.begin(), Arc::clone(&pulse));
        let answer = service(left.watch(request));
        async move {
            let answer = answer.await.map(|body| Answering { body, _busy: busy });
            pulse.answers();
            Ok::<_, Infallible>(answer)
        }
    });
    let io = TokioIo::new(Guarded::new(stream, Arc::clone(&limits), Arc::clone(&pulse)));
    let mut http = http1::Builder::new();
    http.header_read_timeout(None).max_header_size(limits.header_bytes);
    if limits.headers != USUAL_HEADERS {
        http.max_headers(limits.headers);
    }
    let connection = http.serve_connection(io, watched);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = left.discard() => Ok(()),
        () = pulse.evicted.notified() => Ok(()),
        () = over(&mut closing, &pulse) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // A connection that breaks is its other side's right; what it held is seen by what is dropped.
    if let Err(error) = ended {
        tracing::debug!(%error, "A connection ended");
    }
    drop(place);
}

/// Resolves when the connection has to end: at once where it was used, a moment later where its first request may be on
/// its way, which would be lost.
async fn over(closing: &mut watch::Receiver<bool>, pulse: &Pulse) {
    // A listener that is gone closes too.
    let _ = closing.wait_for(|closing| *closing).await;
    if pulse.requests() == 0 {
        sleep(ON_ITS_WAY).await;
    }
}

/// A body that says when it is done with.
struct Answering<B> {
    body: B,
    _busy: Busy,
}

impl<B: Body + Unpin> Body for Answering<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
