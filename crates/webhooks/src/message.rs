//! What is posted: RunPod's body, as it was captured from the original, around the raw bytes of input and
//! output, and the headers that identify and sign it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::{Frame, SizeHint};
use runyard_domain::{Delivery, Outcome, Phase, Timestamp};
use runyard_vault::Signer;
use serde::Serialize;

/// What receivers see in `user-agent`.
const USER_AGENT: &str = concat!("runyard/", env!("CARGO_PKG_VERSION"));

/// A message, ready to be sent any number of times.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) headers: HeaderMap,
    /// The body, piece by piece.
    pub(crate) parts: Vec<Bytes>,
}

#[derive(Serialize)]
struct Reason<'a> {
    code: &'a str,
    message: String,
}

impl Message {
    /// The message of one try at `now`.
    pub(crate) fn new(
        delivery: &Delivery,
        input: Bytes,
        output: Option<Bytes>,
        signer: Option<&Signer>,
        now: Timestamp,
    ) -> Self {
        let parts = body(delivery, input, output);
        let seconds = now.0.div_euclid(1_000);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        if let Some(signer) = signer {
            let signature = signer.sign(delivery.id.as_str(), seconds, parts.iter().map(|part| &part[..]));
            for (name, value) in [
                ("webhook-id", delivery.id.to_string()),
                ("webhook-timestamp", seconds.to_string()),
                ("webhook-signature", signature),
            ] {
                // Ids and base64 are ASCII without control characters.
                if let Ok(value) = HeaderValue::from_str(&value) {
                    headers.insert(HeaderName::from_static(name), value);
                }
            }
        }
        Self { headers, parts }
    }

    /// The body, to be sent once.
    pub(crate) fn body(&self) -> Parts {
        Parts {
            left: self.parts.iter().map(|part| part.len() as u64).sum(),
            parts: self.parts.clone().into(),
        }
    }
}

/// The status object with `input` and `webhook`, its keys in RunPod's order. What did not complete says why.
fn body(delivery: &Delivery, input: Bytes, output: Option<Bytes>) -> Vec<Bytes> {
    let mut body = Pieces::default();
    if let Phase::Done { outcome, delay_ms, execution_ms, .. } = &delivery.end {
        if let Some(ms) = delay_ms {
            body.field("delayTime", ms);
        }
        if let Outcome::Failed { error, .. } = outcome {
            body.field("error", error);
        }
        if let Some(ms) = execution_ms {
            body.field("executionTime", ms);
        }
    }
    body.field("id", delivery.job.as_str()).raw("input", input);
    if let Some(output) = output {
        body.raw("output", output);
    }
    if let Phase::Done { outcome, .. } = &delivery.end {
        match outcome {
            Outcome::Completed => {}
            Outcome::Failed { reason, .. } | Outcome::TimedOut { reason } => {
                body.field("reason", &Reason { code: reason.code(), message: reason.sentence() });
            }
            Outcome::Cancelled { by } => {
                let message = format!("cancelled by {by}");
                body.field("reason", &Reason { code: "cancelled", message });
            }
        }
        body.field("status", status(outcome));
    }
    body.field("webhook", &delivery.url);
    body.end()
}

/// The wire's word for an end.
fn status(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "COMPLETED",
        Outcome::Failed { .. } => "FAILED",
        Outcome::Cancelled { .. } => "CANCELLED",
        Outcome::TimedOut { .. } => "TIMED_OUT",
    }
}

/// A JSON object in the making.
#[derive(Default)]
struct Pieces {
    parts: Vec<Bytes>,
    open: Vec<u8>,
    begun: bool,
}

impl Pieces {
    fn key(&mut self, name: &str) {
        self.open.push(if self.begun { b',' } else { b'{' });
        self.begun = true;
        self.value(name);
        self.open.push(b':');
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) {
        serde_json::to_writer(&mut self.open, value)
            .expect("numbers, texts and plain structs have a JSON form");
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> &mut Self {
        self.key(name);
        self.value(value);
        self
    }

    /// A payload, as it came.
    fn raw(&mut self, name: &str, payload: Bytes) -> &mut Self {
        self.key(name);
        self.parts.push(std::mem::take(&mut self.open).into());
        self.parts.push(payload);
        self
    }

    fn end(mut self) -> Vec<Bytes> {
        self.open.push(b'}');
        self.parts.push(self.open.into());
        self.parts
    }
}

/// A body of known length that lies in pieces.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    parts: VecDeque<Bytes>,
    left: u64,
}

impl http_body::Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(part) = self.parts.pop_front() else { return Poll::Ready(None) };
        self.left -= part.len() as u64;
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
    use runyard_domain::delivery::DeliveryState;
    use runyard_domain::{DeliveryId, FailReason, JobId};

    use super::*;

    fn text(outcome: Outcome, ran: bool, output: Option<&'static str>) -> String {
        let delivery = Delivery {
            id: DeliveryId::new("msg_j-1"),
            job: JobId::new("j"),
            seq: 1,
            url: "https://h/?a=\"".into(),
            made_at: Timestamp(5),
            end: Phase::Done {
                at: Timestamp(5),
                outcome,
                worker: None,
                release: None,
                delay_ms: ran.then_some(9_533),
                execution_ms: ran.then_some(88),
                upload_ms: None,
            },
            state: DeliveryState::Pending { next_at: Timestamp(5) },
            tried: 0,
            tries: vec![],
        };
        let output = output.map(|text| Bytes::from_static(text.as_bytes()));
        let parts = body(&delivery, Bytes::from_static(b"{ \"x\" : 1.50 }"), output);
        String::from_utf8(parts.concat()).unwrap()
    }

    #[test]
    fn the_body_is_runpods() {
        let completed = text(Outcome::Completed, true, Some("{\"echo\": 1e400}"));
        let expected = r#"{"delayTime":9533,"executionTime":88,"id":"j","input":{ "x" : 1.50 },"output":{"echo": 1e400},"status":"COMPLETED","webhook":"https://h/?a=\""}"#;
        assert_eq!(completed, expected);
        let empty = text(Outcome::Completed, true, None);
        assert!(!empty.contains("output"), "{empty}");
    }

    #[test]
    fn every_other_end_says_why() {
        let reason = FailReason::HandlerError { message: "no".into() };
        let failed = text(Outcome::Failed { error: "Traceback \"x\"".into(), reason }, true, None);
        assert!(
            failed.starts_with(r#"{"delayTime":9533,"error":"Traceback \"x\"","executionTime":88,"#),
            "{failed}"
        );
        let limit = FailReason::TtlExpired { ttl_ms: 1, queued_ms: 1, ran_ms: 0 };
        for (outcome, status) in [
            (Outcome::TimedOut { reason: limit }, "TIMED_OUT"),
            (Outcome::Cancelled { by: "local".into() }, "CANCELLED"),
        ] {
            let value: serde_json::Value = serde_json::from_str(&text(outcome, false, None)).unwrap();
            assert_eq!(value["status"], status);
            assert!(value["reason"]["message"].is_string() && value["reason"]["code"].is_string());
            assert!(value.get("delayTime").is_none() && value.get("error").is_none());
        }
    }
}
