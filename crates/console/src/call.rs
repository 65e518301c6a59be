//! Calls of the server's own API, in this process and as the visitor. What the API refuses is a [`Trouble`], with the
//! API's own words.

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::session::Visit;

/// The largest answer that is read, in bytes.
const MOST: usize = 64 << 20;

/// How long a change that is told line by line is listened to: it goes on by itself.
const LISTENS: std::time::Duration = std::time::Duration::from_secs(5);

/// What could not be done, and why.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    pub(crate) status: StatusCode,
    pub(crate) title: String,
    pub(crate) detail: String,
    pub(crate) hint: Option<String>,
}

impl Trouble {
    pub(crate) fn new(status: StatusCode, title: &str, detail: impl Into<String>) -> Self {
        Self { status, title: title.to_owned(), detail: detail.into(), hint: None }
    }

    /// There is no such page.
    pub(crate) fn no_page(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found", format!("there is no page at {path}"))
    }

    /// What happened, and what to do about it.
    pub(crate) fn words(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{} ({hint})", self.detail),
            None => self.detail.clone(),
        }
    }
}

/// An error as the dialects of the API write it.
#[derive(Deserialize, Default)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
    error: Option<String>,
    hint: Option<String>,
    /// Each thing that is wrong with a body.
    #[serde(default)]
    errors: Vec<String>,
}

impl Visit {
    /// What a call answers.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Trouble> {
        let bytes = self.bytes(path).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let detail = format!("{path} answered what this page does not read: {error}");
            Trouble::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal error", detail)
        })
    }

    /// The items of a list, page after page, up to so many; and whether there are more.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        field: &str,
        most: usize,
    ) -> Result<(Vec<T>, bool), Trouble> {
        let (mut items, mut after) = (Vec::new(), String::new());
        let join = if path.contains('?') { '&' } else { '?' };
        while items.len() < most {
            let limit = (most - items.len()).min(1_000);
            let mut page: Value = self.get(&format!("{path}{join}limit={limit}{after}")).await?;
            let found: Vec<T> = serde_json::from_value(page[field].take()).map_err(|error| {
                let detail = format!("{path} answered what this page does not read: {error}");
                Trouble::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal error", detail)
            })?;
            let is_end = found.is_empty();
            items.extend(found);
            match page["nextCursor"].as_str().filter(|_| !is_end) {
                Some(cursor) => after = format!("&cursor={}", encoded(cursor)),
                None => return Ok((items, false)),
            }
        }
        Ok((items, true))
    }

    /// The same, unread.
    pub(crate) async fn bytes(&self, path: &str) -> Result<Bytes, Trouble> {
        self.call(Method::GET, path, None).await
    }

    /// A call that changes something.
    pub(crate) async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, Trouble> {
        let bytes = self.call(method, path, Some(body.to_string())).await?;
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// A call with a body that came as it is.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Bytes, Trouble> {
        let response = self.answer(method, path, body).await;
        let status = response.status();
        let read = Limited::new(response.into_body(), MOST).collect().await;
        let bytes = read.map(http_body_util::Collected::to_bytes).map_err(|error| {
            Trouble::new(
                StatusCode::BAD_GATEWAY,
                "Too large",
                format!("{path} could not be read whole: {error}"),
            )
        })?;
        if status.is_success() { Ok(bytes) } else { Err(trouble(status, &bytes)) }
    }

    /// A change that is told line by line: it is followed until it is done, failed, or goes on by itself. Answers the
    /// last line that came.
    pub(crate) async fn follow(&self, path: &str, body: &Value) -> Result<Value, Trouble> {
        let response = self.answer(Method::POST, path, Some(body.to_string())).await;
        let status = response.status();
        if !status.is_success() {
            let read = Limited::new(response.into_body(), MOST).collect().await;
            return Err(trouble(status, &read.map(http_body_util::Collected::to_bytes).unwrap_or_default()));
        }
        let mut body = response.into_body();
        let mut last = Value::Null;
        let listens = async {
            while let Some(Ok(frame)) = body.frame().await {
                for line in frame.data_ref().map_or(&[][..], |data| data).split(|byte| *byte == b'\n') {
                    last = serde_json::from_slice(line).unwrap_or_else(|_| last.take());
                }
            }
        };
        let _ = tokio::time::timeout(LISTENS, listens).await;
        if last["ok"] == false || last["state"] == "failed" {
            let why = last["reason"]["message"].as_str().or(last["message"].as_str()).unwrap_or("it failed");
            return Err(Trouble::new(StatusCode::CONFLICT, "Failed", why));
        }
        Ok(last)
    }

    /// What a call answers, as it comes.
    pub(crate) async fn open(&self, method: Method, path: &str) -> axum::response::Response {
        self.answer(method, path, None).await
    }

    async fn answer(&self, method: Method, path: &str, body: Option<String>) -> axum::response::Response {
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        self.ask(request.body(body.map_or_else(Body::empty, Body::from))).await
    }

    /// What a call answers, with the version of it.
    pub(crate) async fn versioned<T: DeserializeOwned>(&self, path: &str) -> Result<(T, String), Trouble> {
        let response = self.answer(Method::GET, path, None).await;
        let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let (version, status) = (tag.unwrap_or_default().to_owned(), response.status());
        let read = Limited::new(response.into_body(), MOST).collect().await;
        let bytes = read.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        if !status.is_success() {
            return Err(trouble(status, &bytes));
        }
        let value = serde_json::from_slice(&bytes).map_err(|error| {
            let detail = format!("{path} answered what this page does not read: {error}");
            Trouble::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal error", detail)
        })?;
        Ok((value, version))
    }

    /// Begins a change, of this version only where one is named. Answers whether it is one that is told line by line: it
    /// goes on by itself, and its release is the newest.
    pub(crate) async fn begin(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        version: Option<&str>,
    ) -> Result<bool, Trouble> {
        let mut request =
            Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        if let Some(version) = version {
            request = request.header(header::IF_MATCH, version);
        }
        let response = self.ask(request.body(Body::from(body.to_string()))).await;
        let status = response.status();
        let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes().to_vec());
        if status.is_success() && kind.is_some_and(|kind| kind.starts_with(b"application/x-ndjson")) {
            return Ok(true);
        }
        let read = Limited::new(response.into_body(), MOST).collect().await;
        let bytes = read.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        if status.is_success() { Ok(false) } else { Err(trouble(status, &bytes)) }
    }

    /// Submits a job; the same key returns the first one.
    pub(crate) async fn submit(&self, path: &str, body: String, key: Option<&str>) -> Result<Bytes, Trouble> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = self.ask(request.body(Body::from(body))).await;
        let status = response.status();
        let read = Limited::new(response.into_body(), MOST).collect().await;
        let bytes = read.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        if status.is_success() { Ok(bytes) } else { Err(trouble(status, &bytes)) }
    }

    /// Sends bytes that are no JSON.
    pub(crate) async fn upload(&self, path: &str, kind: &str, bytes: Bytes) -> Result<(), Trouble> {
        let request = Request::builder().method(Method::PUT).uri(path).header(header::CONTENT_TYPE, kind);
        let response = self.ask(request.body(Body::from(bytes))).await;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let read = Limited::new(response.into_body(), MOST).collect().await;
        Err(trouble(status, &read.map(http_body_util::Collected::to_bytes).unwrap_or_default()))
    }

    async fn ask(&self, request: http::Result<Request<Body>>) -> axum::response::Response {
        let Ok(request) = request else {
            let mut response = axum::response::Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        };
        self.pass(request).await
    }

    /// A call as it is, as the visitor.
    pub(crate) async fn pass(&self, mut request: Request<Body>) -> axum::response::Response {
        request.extensions_mut().insert(self.caller.clone());
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        let Ok(response) = self.console.inner.api.clone().oneshot(request).await;
        response
    }
}

/// An error of the API, read.
pub(crate) fn trouble(status: StatusCode, body: &[u8]) -> Trouble {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let title = problem.title.unwrap_or_else(|| status.canonical_reason().unwrap_or("Error").to_owned());
    let detail = problem.detail.or(problem.error).unwrap_or_else(|| format!("the server answered {status}"));
    let detail = match problem.errors.as_slice() {
        [] => detail,
        errors => format!("{detail}: {}", errors.join("; ")),
    };
    Trouble { status, title, detail, hint: problem.hint }
}

/// A part of a path or a query, as it is sent.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.extend(["%", &format!("{byte:02X}")]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_have_the_words_of_either_dialect() {
        let ours = trouble(
            StatusCode::CONFLICT,
            br#"{"title":"Conflict","detail":"there is one","hint":"do this"}"#,
        );
        assert_eq!(ours.words(), "there is one (do this)");
        let theirs =
            trouble(StatusCode::TOO_MANY_REQUESTS, br#"{"error":"the queue is full","code":"queue_full"}"#);
        assert_eq!(
            (theirs.title.as_str(), theirs.words().as_str()),
            ("Too Many Requests", "the queue is full")
        );
        let several = trouble(StatusCode::BAD_REQUEST, br#"{"detail":"no","errors":["$.a: a","$.b: b"]}"#);
        assert_eq!(several.words(), "no: $.a: a; $.b: b");
        assert_eq!(trouble(StatusCode::BAD_GATEWAY, b"<html>").detail, "the server answered 502 Bad Gateway");
    }

    #[test]
    fn parts_of_addresses_stay_parts() {
        assert_eq!(encoded("a/b?c&d e"), "a%2Fb%3Fc%26d%20e");
        assert_eq!(encoded("job-1_x.~"), "job-1_x.~");
    }
}
