//! The answers that workers get. One body type for all: some bytes, and the jobs that they deliver.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Frame, SizeHint};

use crate::delivery::{self, Delivery, Outdated};
use crate::room::Part;
use crate::upstream::Answer;

/// How much is given to the connection at once. It asks for more when it has room, so that the last piece
/// of a large answer is asked for only when the worker has read most of it.
const PIECE: usize = 64 * 1024;

/// The body of an answer to a worker.
#[derive(Debug)]
pub struct Reply {
    data: Option<Bytes>,
    delivery: Option<Delivery>,
    /// Held until the connection is done with the answer.
    _room: Option<Part>,
}

impl http_body::Body for Reply {
    type Data = Bytes;
    type Error = Outdated;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Outdated>>> {
        let Some(mut rest) = self.data.take() else { return Poll::Ready(None) };
        let piece = rest.split_to(rest.len().min(PIECE));
        if !rest.is_empty() {
            self.data = Some(rest);
        } else if let Some(delivery) = self.delivery.take() {
            // Without its last piece the answer is broken off, and the worker asks again.
            delivery.handed_over()?;
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response<Reply> {
    let mut response = Response::new(Reply { data: None, delivery: None, _room: None });
    *response.status_mut() = status;
    response
}

/// An error in the shape that the worker protocol has for it.
pub fn refusal(status: StatusCode, message: &str) -> Response<Reply> {
    let text = serde_json::json!({ "error": message }).to_string();
    let mut response = Response::new(Reply { data: Some(text.into()), delivery: None, _room: None });
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The same, and the end of the connection.
pub fn last_refusal(status: StatusCode, message: &str) -> Response<Reply> {
    let mut response = refusal(status, message);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The server's answer, with the jobs in it.
pub fn passed_on(answer: Answer, delivery: Option<Delivery>) -> Response<Reply> {
    let data = (!answer.body.is_empty()).then_some(answer.body);
    let mut response = Response::new(Reply { data, delivery, _room: answer.room });
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response.headers_mut().remove(delivery::JOBS);
    response.headers_mut().remove(delivery::ATTEMPTS);
    response
}
