//! What the job API answers when it cannot do what was asked. A handler returns a [`JobError`]; the edge turns
//! it into the body, because only the edge knows the request's id.

use std::error::Error as _;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use runyard_domain::BatchRefusal;
use runyard_domain::rates::WINDOW_S;
use runyard_engine::EngineError;
use runyard_store::StoreError;
use runyard_vault::Denied;
use serde::Serialize;

use super::request::BadBody;
use crate::Timing;
use crate::body::Unread;
use crate::rates::TooMany;

/// Why a call of the job API did nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    #[error("{0}")]
    Denied(Denied),
    #[error(
        "this server needs no key and therefore answers only programs on its own machine, and this request {0}; call it as http://localhost or http://127.0.0.1, or start the server with keys"
    )]
    NotLocal(&'static str),
    #[error(
        "there is no endpoint '{0}', or the key is not for it: use the id or the name of one that exists"
    )]
    NoSuchEndpoint(String),
    #[error(
        "there is no job '{job}' of endpoint '{endpoint}': its id is wrong, its time to live ended, or its result is no longer kept"
    )]
    NoSuchJob {
        /// What was asked for.
        job: String,
        /// Where.
        endpoint: String,
    },
    #[error("the stream of job '{0}' is over: it was cancelled; its status is still kept")]
    StreamOver(String),
    #[error(
        "there is no such operation: the job API has run, runsync, status, status-sync, stream, cancel, retry, purge-queue, health, metrics, requests, batch and openai/v1"
    )]
    NoSuchOperation,
    #[error("this operation answers {0} only")]
    Method(&'static str),
    #[error("exceeded max body size of {0}MiB")]
    TooLarge(usize),
    #[error("too many bytes of other requests are in flight: try again in a moment, or raise in_flight_mib")]
    NoRoom,
    #[error("too many bytes of other answers are in flight: try again in a moment, or raise in_flight_mib")]
    NoRoomToAnswer,
    #[error("{}", rate_limited(.0))]
    RateLimited(TooMany),
    #[error(
        "the body came too slowly: it may pause for {patience_s} s in all and must bring {rate} bytes a second"
    )]
    Slow {
        /// The pauses that are forgiven, in seconds.
        patience_s: u64,
        /// Bytes a second.
        rate: u64,
    },
    #[error("the body broke off before its end")]
    Broken,
    #[error("{0}")]
    Body(#[from] BadBody),
    #[error("'{name}' is '{found}'; it must be {allowed}")]
    Parameter {
        /// Of the query or a header.
        name: &'static str,
        /// What came.
        found: String,
        /// What is allowed.
        allowed: &'static str,
    },
    #[error("only a job that failed or timed out can be retried; this one is {0}")]
    NotRetryable(&'static str),
    #[error(transparent)]
    Engine(EngineError),
}

impl From<Denied> for JobError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<EngineError> for JobError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Denied(denied) => Self::Denied(denied),
            other => Self::Engine(other),
        }
    }
}

impl From<StoreError> for JobError {
    fn from(error: StoreError) -> Self {
        Self::Engine(EngineError::Store(error))
    }
}

fn rate_limited(many: &TooMany) -> String {
    let (group, rate) = (many.standing.group, many.standing.rate);
    let what = match many.wait {
        Some(_) => format!("{} in {WINDOW_S} s", rate.per_window),
        None => format!("{} at once", rate.at_once),
    };
    format!(
        "too many calls: a key may make {what} of the group '{group}' at this endpoint; try again in {} s, or raise \
         it: runyard endpoints set NAME --rate {group}=N/M, or rate_{group} in server.toml",
        many.retry_after()
    )
}

impl JobError {
    /// A body that was not read; `limit` is what it may have.
    pub(crate) fn unread(error: &Unread, limit: usize, timing: &Timing) -> Self {
        match error {
            Unread::TooLarge { .. } => Self::TooLarge(limit >> 20),
            Unread::NoRoom => Self::NoRoom,
            Unread::Slow => Self::Slow { patience_s: timing.body_silence.as_secs(), rate: timing.body_rate },
            Unread::Broken(_) => Self::Broken,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Denied(denied) if denied.is_about_identity() => StatusCode::UNAUTHORIZED,
            Self::Denied(_) | Self::NotLocal(_) => StatusCode::FORBIDDEN,
            Self::NoSuchEndpoint(_)
            | Self::NoSuchJob { .. }
            | Self::StreamOver(_)
            | Self::NoSuchOperation
            | Self::Engine(EngineError::NoSuchEndpoint(_) | EngineError::NoSuchJob(_)) => {
                StatusCode::NOT_FOUND
            }
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Engine(EngineError::InputTooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooLarge(_)
            | Self::Broken
            | Self::Body(_)
            | Self::Parameter { .. }
            | Self::NotRetryable(_)
            | Self::Engine(EngineError::Refused { .. }) => StatusCode::BAD_REQUEST,
            Self::Slow { .. } => StatusCode::REQUEST_TIMEOUT,
            // RunPod's client tries a read again after 429, and never after 503.
            Self::NoRoomToAnswer | Self::RateLimited(_) | Self::Engine(EngineError::QueueFull { .. }) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::NoRoom
            | Self::Engine(EngineError::Draining | EngineError::DiskFull | EngineError::Stopped) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Engine(EngineError::Batch(refusal)) => match refusal {
                BatchRefusal::NoSuchBatch | BatchRefusal::NoSuchRequest => StatusCode::NOT_FOUND,
                BatchRefusal::TooManyActive => StatusCode::TOO_MANY_REQUESTS,
                _ => StatusCode::BAD_REQUEST,
            },
            Self::Engine(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The stable code.
    fn code(&self) -> &'static str {
        match self {
            Self::Denied(denied) if denied.is_about_identity() => "unauthorized",
            Self::Denied(_) => "forbidden",
            Self::NotLocal(_) => "not_local",
            Self::NoSuchEndpoint(_) | Self::Engine(EngineError::NoSuchEndpoint(_)) => "endpoint_not_found",
            Self::NoSuchJob { .. } | Self::StreamOver(_) | Self::Engine(EngineError::NoSuchJob(_)) => {
                "job_not_found"
            }
            Self::NoSuchOperation => "not_found",
            Self::Method(_) => "method_not_allowed",
            Self::TooLarge(_) => "too_large",
            Self::NoRoom | Self::NoRoomToAnswer => "overloaded",
            Self::RateLimited(_) => "rate_limited",
            Self::Engine(EngineError::InputTooLarge { .. }) => "input_too_large",
            Self::Engine(EngineError::QueueFull { .. }) => "queue_full",
            Self::Slow { .. } => "body_timeout",
            Self::Broken => "body_broken",
            Self::Body(BadBody::Malformed(_)) => "malformed_json",
            Self::Body(_) | Self::Parameter { .. } => "invalid",
            Self::NotRetryable(_) | Self::Engine(EngineError::Refused { .. }) => "not_retryable",
            Self::Engine(EngineError::Draining) => "draining",
            Self::Engine(EngineError::DiskFull) => "disk_full",
            Self::Engine(EngineError::Batch(refusal)) => match refusal {
                BatchRefusal::NoSuchBatch => "batch_not_found",
                BatchRefusal::NoSuchRequest => "job_not_found",
                BatchRefusal::NotDraft | BatchRefusal::Cancelled => "batch_not_draft",
                BatchRefusal::TooManyActive | BatchRefusal::TooManyRequests { .. } => "batch_limit",
            },
            Self::Engine(_) => "internal",
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::NoRoom | Self::NoRoomToAnswer => Some(1),
            Self::RateLimited(many) => Some(many.retry_after()),
            Self::Engine(EngineError::Draining | EngineError::QueueFull { .. }) => Some(5),
            Self::Engine(EngineError::DiskFull | EngineError::Stopped) => Some(30),
            _ => None,
        }
    }

    /// RunPod's two words on a missing and on a wrong key.
    fn detail(&self) -> Option<String> {
        match self {
            Self::Denied(Denied::NoKey) => Some("no token provided".to_owned()),
            Self::Denied(denied) if denied.is_about_identity() => Some("invalid api key".to_owned()),
            Self::Denied(_) | Self::NotLocal(_) => Some(self.to_string()),
            _ => None,
        }
    }
}

impl IntoResponse for JobError {
    fn into_response(self) -> Response {
        let status = self.status();
        let hidden = status == StatusCode::INTERNAL_SERVER_ERROR;
        let refusal = Refusal {
            message: if hidden {
                "the server failed to do this; its log says why, under this request id".to_owned()
            } else {
                self.to_string()
            },
            cause: hidden.then(|| match self.source() {
                Some(source) => format!("{self}: {source}"),
                None => self.to_string(),
            }),
            code: self.code(),
            detail: self.detail(),
            plain: matches!(self, Self::TooLarge(_)),
        };
        let mut response = status.into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Self::Method(allowed) = self {
            headers.insert(
                header::ALLOW,
                HeaderValue::from_static(match allowed {
                    "GET and POST" => "GET, POST",
                    "GET and PUT" => "GET, PUT",
                    one => one,
                }),
            );
        }
        response.extensions_mut().insert(refusal);
        response
    }
}

/// The content of an error body, without the request's id.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    message: String,
    /// What the caller is not told.
    cause: Option<String>,
    code: &'static str,
    detail: Option<String>,
    plain: bool,
}

impl Refusal {
    /// What belongs into the log instead of the answer.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The body as OpenAI's clients read it; they take the request's id from its header.
    pub(crate) fn openai_body(&self, status: StatusCode) -> (&'static str, String) {
        let kind = match status.as_u16() {
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        let error =
            serde_json::json!({"message": self.message, "type": kind, "param": null, "code": self.code});
        ("application/json", serde_json::json!({ "error": error }).to_string())
    }

    /// The body and its type.
    pub(crate) fn body(&self, status: StatusCode, request_id: &str) -> (&'static str, String) {
        if self.plain {
            return ("text/plain; charset=utf-8", self.message.clone());
        }
        let wire = Wire {
            error: &self.message,
            code: self.code,
            status: self.detail.as_ref().map(|_| status.as_u16()),
            title: self.detail.as_ref().and_then(|_| status.canonical_reason()),
            detail: self.detail.as_deref(),
            request_id,
        };
        let text = serde_json::to_string(&wire).expect("a struct of texts and numbers has a JSON form");
        ("application/json", text)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    error: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    request_id: &'a str,
}
