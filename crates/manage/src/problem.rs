//! Errors in RFC 9457's shape, with a stable code and what to do next.

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use runyard_engine::EngineError;
use runyard_fleet::FleetError;
use runyard_git::GitError;
use runyard_vault::Denied;
use serde_json::json;

/// The most that is kept of an extractor's words, in bytes.
const LONGEST_WORDS: usize = 4_096;

/// An error of the management API.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    hint: Option<String>,
    errors: Vec<String>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, title, detail: detail.into(), hint: None, errors: Vec::new() }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// 400: the request is wrong.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", "Invalid request", detail)
    }

    /// 422: the body is JSON, and not what the call takes; every mistake with its place.
    pub fn unprocessable(errors: Vec<String>) -> Self {
        let detail = "the body is not what this call takes";
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Unprocessable content", detail);
        Self { errors, ..problem }
    }

    /// 422: the body is well formed, and what it names cannot be had here.
    pub fn not_here(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Unprocessable content", detail)
    }

    /// 429: the key has called too often; after so many seconds it may again.
    pub fn rate_limited(wait_s: u64) -> Self {
        let detail = format!("this key has no calls left; in {wait_s} s it has some again");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests", detail)
            .hint("see rest_per_minute and rest_per_hour in 'runyard config'")
    }

    /// What kind of problem it is, in a few words.
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// What is wrong with a body, one by one.
    pub fn errors(&self) -> &[String] {
        &self.errors
    }

    /// 413: it is larger than it may be.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Too large", detail)
    }

    /// 401: whoever sent it did not show that they may.
    pub fn unsigned(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized", detail)
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What happened, and what to do about it.
    pub fn words(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}; {hint}", self.detail),
            None => self.detail.clone(),
        }
    }

    /// 404: there is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail)
    }

    /// 403: who asks is known, or need not be, and may not.
    pub fn refused(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Forbidden", detail)
    }

    /// 429: too many ask for it at once.
    pub fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests", detail)
            .hint("try again in a minute")
    }

    /// 502: what it takes is asked of another server, which does not give it.
    pub fn not_there(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "provider_away", "Provider away", detail)
            .hint("see oidc_issuer in 'runyard config'; the server's log tells more")
    }

    /// 409: it cannot be done now.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Conflict", detail)
    }

    /// 409: what a plan was made of is another by now.
    pub fn stale_plan(name: &str, plan: &str) -> Self {
        let plan: String = plan.chars().take(40).collect();
        let detail = format!("plan {plan} of '{name}' is stale: the endpoint or the file has changed since");
        Self::new(StatusCode::CONFLICT, "stale_plan", "Stale plan", detail)
            .hint("runyard plan shows what it would be now")
    }

    /// 412: it is not the version any more that the change was made for.
    pub fn precondition_failed(version: &str) -> Self {
        let detail =
            format!("it was changed since it was read, and is the version {version} now: nothing was done");
        Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", "Precondition failed", detail)
            .hint("read it again, and make the change for what it is now")
    }

    /// 408: the body came too slowly.
    pub fn body_timeout() -> Self {
        let detail = "the body came too slowly: see slow_timeout_s and slow_rate in 'runyard config'";
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "Request timeout", detail)
    }

    /// 503: there is no room for the body.
    pub fn overloaded() -> Self {
        let detail = "too many bytes of other requests are in flight";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Overloaded", detail)
            .hint("try again in a moment, or raise in_flight_mib")
    }

    /// 500: our fault.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "a management call failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", error.to_string())
    }

    /// 409: variables refer to secrets that are not there.
    pub fn secret_missing(missing: &[(&str, &str)]) -> Self {
        let short = |text: &str| text.chars().take(80).collect::<String>();
        let words: Vec<String> = missing
            .iter()
            .take(10)
            .map(|(variable, name)| {
                format!(
                    "the variable {} needs the secret '{}', which is not there",
                    short(variable),
                    short(name)
                )
            })
            .collect();
        let first = missing.first().map_or(String::new(), |(_, name)| short(name));
        Self::new(StatusCode::CONFLICT, "secret_missing", "Secret missing", words.join("; "))
            .hint(format!("runyard secret set {first}"))
    }

    /// There is no endpoint of this id or name.
    pub fn no_endpoint(id_or_name: &str) -> Self {
        Self::not_found(format!("there is no endpoint '{id_or_name}'")).hint("runyard endpoints list")
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        if denied.is_about_identity() {
            Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized", denied.to_string())
                .hint("runyard login URL, or set RUNYARD_API_KEY")
        } else {
            Self::new(StatusCode::FORBIDDEN, "forbidden", "Forbidden", denied.to_string())
                .hint("runyard keys create --access … makes a key that may")
        }
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Denied(denied) => denied.into(),
            EngineError::NoSuchEndpoint(_) | EngineError::NoSuchJob(_) => Self::not_found(error.to_string()),
            EngineError::Refused { .. } => Self::conflict(error.to_string()),
            EngineError::InputTooLarge { .. } => Self::too_large(error.to_string()),
            EngineError::QueueFull { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", "Queue full", error.to_string())
            }
            EngineError::DiskFull => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "disk_full", "Disk full", error.to_string())
            }
            EngineError::Draining | EngineError::Stopped => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "Unavailable", error.to_string())
            }
            other => Self::internal(&other),
        }
    }
}

impl From<runyard_store::StoreError> for Problem {
    fn from(error: runyard_store::StoreError) -> Self {
        Self::internal(&error)
    }
}

impl From<GitError> for Problem {
    fn from(error: GitError) -> Self {
        match error {
            GitError::Here { .. } => Self::internal(&error),
            GitError::Large { .. } => Self::too_large(error.to_string()),
            other => Self::invalid(other.to_string()),
        }
    }
}

impl From<FleetError> for Problem {
    fn from(error: FleetError) -> Self {
        match error {
            FleetError::Engine(error) => error.into(),
            FleetError::NoSuchEndpoint(id) => Self::no_endpoint(id.as_str()),
            FleetError::NotServable(..) | FleetError::Release(_) => Self::conflict(error.to_string()),
            FleetError::Runtime(error) => Self::internal(&error),
        }
    }
}

/// What an extractor says of a path, a query or a body that it cannot read, in the shape of every other error.
pub(crate) async fn in_shape(response: Response) -> Response {
    let words =
        response.headers().get(header::CONTENT_TYPE).is_none_or(|kind| kind.as_bytes().starts_with(b"text/"));
    if !response.status().is_client_error() || !words {
        return response;
    }
    let status = response.status();
    let text = axum::body::to_bytes(response.into_body(), LONGEST_WORDS).await.unwrap_or_default();
    let detail = String::from_utf8_lossy(&text).into_owned();
    Problem { status, ..Problem::invalid(detail) }.into_response()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": format!("https://runyard.dev/errors/{}", self.code),
            "title": self.title,
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
            "hint": self.hint,
        });
        if !self.errors.is_empty() {
            body["errors"] = json!(self.errors);
        }
        let mut response = (self.status, Json(body)).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        // For the dialect that shows it otherwise.
        response.extensions_mut().insert(self);
        response
    }
}

/// There is nothing at this path.
pub async fn nothing_there(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at {}", uri.path()))
        .hint("the job API is at /v2/ENDPOINT/run, the management API at /api/v1")
}

/// Answers that a path does not take a method.
pub async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed", detail)
        .hint("docs/api.md lists every call")
}

pub(crate) async fn no_such_call(uri: Uri) -> Problem {
    Problem::not_found(format!("there is no call {}", uri.path())).hint("docs/api.md lists every call")
}
