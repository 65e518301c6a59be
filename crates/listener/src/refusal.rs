//! What a connection is told that no service answers: one JSON object with `error` and `code`, and its end.

use std::time::Duration;

use serde_json::json;

use crate::Limits;

/// Why a connection is ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Every connection is in use.
    Full,
    /// This address has its share.
    AddressFull,
    /// A request's head took too long.
    SlowHead,
    /// What came is not TLS, and nothing else is spoken here.
    NotTls,
    /// The HTTP machinery could not read a request, and answers with this status.
    Unreadable(u16),
}

impl Refusal {
    /// The whole answer, head and body.
    pub(crate) fn answer(&self, limits: &Limits) -> Vec<u8> {
        let (status, title, retry_after) = match self {
            Self::Full => (503, "Service Unavailable", Some(5)),
            Self::AddressFull => (429, "Too Many Requests", Some(5)),
            Self::SlowHead => (408, "Request Timeout", None),
            Self::Unreadable(414) => (414, "URI Too Long", None),
            Self::Unreadable(431) => (431, "Request Header Fields Too Large", None),
            Self::NotTls | Self::Unreadable(_) => (400, "Bad Request", None),
        };
        let body = json!({"error": self.sentence(limits), "code": self.code()}).to_string();
        let retry_after = retry_after.map_or(String::new(), |s: u32| format!("retry-after: {s}\r\n"));
        format!(
            "HTTP/1.1 {status} {title}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             {retry_after}connection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// The stable code.
    fn code(&self) -> &'static str {
        match self {
            Self::Full | Self::AddressFull => "too_many_connections",
            Self::SlowHead => "header_timeout",
            Self::Unreadable(414 | 431) => "header_too_large",
            Self::NotTls | Self::Unreadable(_) => "bad_request",
        }
    }

    fn sentence(&self, limits: &Limits) -> String {
        match self {
            Self::Full => format!(
                "all {} connections of this server are in use: try again in a moment; max_connections raises it",
                limits.connections
            ),
            Self::AddressFull => format!(
                "this address has {} connections open, which is its share: use them again or close some; \
                 max_connections_per_address raises it",
                limits.per_address
            ),
            Self::SlowHead => {
                format!("the request's headers did not arrive whole within {}", words(limits.header_timeout))
            }
            Self::NotTls => "this address speaks TLS only: write it with https://".to_owned(),
            Self::Unreadable(414) => "the request's address is longer than 65534 bytes".to_owned(),
            Self::Unreadable(431) => format!(
                "the request's line and headers are more than {} bytes or {} lines",
                limits.header_bytes, limits.headers
            ),
            Self::Unreadable(_) => "this is not a request of HTTP/1.1".to_owned(),
        }
    }
}

fn words(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{} s", time.as_secs())
    }
}

/// The status of an answer without a body that the HTTP machinery made up by itself.
pub(crate) fn made_up(head: &[u8]) -> Option<u16> {
    let status = head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let status = std::str::from_utf8(status).ok()?.parse::<u16>().ok()?;
    let empty = head.ends_with(b"\r\n\r\n")
        && head.windows(19).any(|w| w.eq_ignore_ascii_case(b"content-length: 0\r\n"));
    ((400..500).contains(&status) && empty).then_some(status)
}
