//! JSON answers that carry payloads: text that we write and raw bytes that we pass on, one after the other,
//! without a second copy of what is large. A hook fires once the connection has taken the whole body, and
//! never when it was given up before.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body::{Frame, SizeHint};
use serde::Serialize;

use crate::body::Room;

/// Raw bytes up to this length are copied next to the text, so that small answers leave in one packet.
const COPY_UP_TO: usize = 32 << 10;

/// The last byte of a longer part travels alone: it is taken when the connection has written the rest.
const SPLIT_ABOVE: usize = 512 << 10;

/// The JSON text of an answer.
#[derive(Debug, Default)]
pub(crate) struct Splice {
    parts: Vec<Bytes>,
    open: Vec<u8>,
    rooms: Vec<Room>,
}

impl Splice {
    /// Text as it stands.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.open.extend_from_slice(text.as_bytes());
        self
    }

    /// A value that we make: never a payload.
    pub(crate) fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> &mut Self {
        serde_json::to_writer(&mut self.open, value)
            .expect("numbers, texts and plain structs have a JSON form");
        self
    }

    /// A payload, as it came.
    pub(crate) fn raw(&mut self, bytes: Bytes) -> &mut Self {
        if bytes.len() <= COPY_UP_TO {
            self.open.extend_from_slice(&bytes);
        } else {
            self.close();
            self.parts.push(bytes);
        }
        self
    }

    /// Keeps room in the budget until the connection has taken the answer.
    pub(crate) fn hold(&mut self, room: Option<Room>) -> &mut Self {
        self.rooms.extend(room);
        self
    }

    /// `"name":` with what has to stand before it in an object.
    pub(crate) fn key(&mut self, name: &str) -> &mut Self {
        if !matches!(self.open.last(), Some(b'{') | None) || (self.open.is_empty() && !self.parts.is_empty())
        {
            self.open.push(b',');
        }
        self.value(name).text(":")
    }

    /// One field of an object.
    pub(crate) fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> &mut Self {
        self.key(name).value(value)
    }

    /// Another text after this one.
    pub(crate) fn append(&mut self, mut other: Self) -> &mut Self {
        self.rooms.append(&mut other.rooms);
        if other.parts.is_empty() {
            self.open.extend_from_slice(&other.open);
            return self;
        }
        self.close();
        self.parts.append(&mut other.parts);
        self.open = other.open;
        self
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.parts.push(std::mem::take(&mut self.open).into());
        }
    }

    /// An answer 200 with this text.
    pub(crate) fn answer(self) -> http::Response<Body> {
        self.respond(None)
    }

    /// The same; `taken` is called once the connection has taken all of it.
    pub(crate) fn answer_then(self, taken: impl FnOnce() + Send + 'static) -> http::Response<Body> {
        self.respond(Some(Box::new(taken)))
    }

    fn respond(mut self, taken: Option<Taken>) -> http::Response<Body> {
        self.close();
        if let Some(last) = self.parts.last_mut().filter(|last| last.len() > SPLIT_ABOVE) {
            let end = last.split_off(last.len() - 1);
            self.parts.push(end);
        }
        let left = self.parts.iter().map(|part| part.len() as u64).sum();
        let body = SpliceBody { parts: self.parts.into(), left, taken, _rooms: self.rooms };
        let mut response = http::Response::new(Body::new(body));
        *response.status_mut() = StatusCode::OK;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(left));
        response
    }
}

type Taken = Box<dyn FnOnce() + Send>;

/// The body of a [`Splice`]. Hyper takes a further part only when it has written most of those before, so the
/// last part of a large body is taken when the others are on their way.
struct SpliceBody {
    parts: VecDeque<Bytes>,
    left: u64,
    taken: Option<Taken>,
    _rooms: Vec<Room>,
}

impl http_body::Body for SpliceBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(part) = self.parts.pop_front() else { return Poll::Ready(None) };
        self.left -= part.len() as u64;
        if self.parts.is_empty()
            && let Some(taken) = self.taken.take()
        {
            taken();
        }
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn small_and_large_payloads_are_spliced_in_order() {
        let large = Bytes::from(format!("\"{}\"", "x".repeat(COPY_UP_TO)));
        let mut splice = Splice::default();
        splice.text("{").field("a", "q\"").key("b").raw(large.clone());
        splice.key("c").raw(Bytes::from_static(b"[1, 2]"));
        splice.text("}");
        let expected =
            format!("{{\"a\":\"q\\\"\",\"b\":{},\"c\":[1, 2]}}", std::str::from_utf8(&large).unwrap());
        let fired = Arc::new(AtomicUsize::new(0));
        let count = fired.clone();
        let response = splice.answer_then(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(response.headers()["content-length"], expected.len().to_string());
        assert_eq!(fired.load(Ordering::Relaxed), 0);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), expected);
        assert_eq!(fired.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_body_that_is_given_up_does_not_fire() {
        let fired = Arc::new(AtomicUsize::new(0));
        let count = fired.clone();
        let mut splice = Splice::default();
        splice.text("[").raw(Bytes::from(vec![b' '; COPY_UP_TO + 1])).text("]");
        let mut body = splice
            .answer_then(move || {
                count.fetch_add(1, Ordering::Relaxed);
            })
            .into_body();
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert_eq!(fired.load(Ordering::Relaxed), 0);
    }
}
