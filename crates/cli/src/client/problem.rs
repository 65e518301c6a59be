//! What can go wrong between a command and a server, as types. The server's own words arrive as RFC 9457
//! documents (docs/api.md) on `/api/v1` and in RunPod's shapes on `/v2`; both become a [`Problem`].

use std::io;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::client::transport::BoxError;

/// A request had no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("'{url}' is no address of a server: write it as http://host:port")]
    Address {
        /// What was given.
        url: String,
    },
    /// No connection.
    #[error("no server answers at {target}")]
    Unreachable {
        /// Which server.
        target: String,
        /// Why.
        source: io::Error,
    },
    /// The connection ended before the answer was complete.
    #[error("the connection to {target} broke before the answer was complete")]
    Broken {
        /// Which server.
        target: String,
        /// Why.
        source: BoxError,
    },
    /// No answer in time.
    #[error("{target} did not answer within {} s", .after.as_secs())]
    Silent {
        /// Which server.
        target: String,
        /// How long we waited.
        after: Duration,
    },
    /// Something that is not runyard answered, or another version of it.
    #[error("the answer of {target} to {path} makes no sense")]
    Unreadable {
        /// Which server.
        target: String,
        /// What was asked.
        path: String,
        /// Where reading it failed.
        source: serde_json::Error,
    },
    /// The server refused.
    #[error("{0}")]
    Refused(Box<Problem>),
}

impl ClientError {
    /// Whether the server is away for now (a restart), so that a command that only waits may wait on.
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Silent { .. } => true,
            Self::Refused(problem) => problem.status == 503,
            _ => false,
        }
    }

    /// Whether the thing asked for is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(problem) if problem.status == 404)
    }
}

/// A refusal in the server's words.
#[derive(Debug, Clone, Default)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable code, as `not_found`.
    pub code: Option<String>,
    /// What happened.
    pub detail: String,
    /// Why, where this side knows more than the server says.
    pub cause: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// For the server's log.
    pub request_id: Option<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Wire {
    code: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    hint: Option<String>,
    request_id: Option<String>,
    error: Option<Value>,
    message: Option<String>,
}

impl Problem {
    /// Reads the body of a refusal; one that is no document becomes the detail itself.
    pub fn read(status: http::StatusCode, body: &[u8]) -> Self {
        let wire: Wire = serde_json::from_slice(body).unwrap_or_default();
        let error = wire.error.map(|e| e.as_str().map_or_else(|| e.to_string(), str::to_owned));
        let plain = || {
            let text: String = String::from_utf8_lossy(body).trim().chars().take(300).collect();
            let is_text = !text.is_empty() && !text.starts_with(['<', '{']);
            if is_text { text } else { format!("the server answered {status}") }
        };
        let detail = wire.detail.or(error).or(wire.message).or(wire.title).unwrap_or_else(plain);
        Self {
            status: status.as_u16(),
            code: wire.code,
            detail,
            cause: None,
            hint: wire.hint,
            request_id: wire.request_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_dialects_become_a_problem() {
        let ours = br#"{"title":"Not found","status":404,"code":"not_found","detail":"there is no endpoint 'x'","hint":"runyard endpoints list","requestId":"r1"}"#;
        let problem = Problem::read(http::StatusCode::NOT_FOUND, ours);
        assert_eq!(problem.code.as_deref(), Some("not_found"));
        assert_eq!(problem.to_string(), "there is no endpoint 'x'");
        assert_eq!(problem.hint.as_deref(), Some("runyard endpoints list"));

        let runpod = Problem::read(http::StatusCode::BAD_REQUEST, br#"{"error":"not allowed for QB API"}"#);
        assert_eq!(runpod.detail, "not allowed for QB API");
        let text = Problem::read(http::StatusCode::BAD_REQUEST, b"exceeded max body size of 10MiB");
        assert_eq!(text.detail, "exceeded max body size of 10MiB");
        let page = Problem::read(http::StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(page.detail, "the server answered 502 Bad Gateway");
    }
}
