//! Doors to the parsers of outside bytes, for the fuzz targets (`crates/fuzz`). No part of the interface: what a
//! parser makes is told in plain types, so that nothing else becomes public.

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use runyard_domain::FailReason;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::jobs::{query, request, submit, worker_error};
use crate::json::{Malformed, depth, pick};
use crate::splice::Splice;
use crate::workers::{access, answer, traceback};

/// The field `input` of an object as it stands in the text; else line and column of what is wrong, and the
/// words for it.
pub fn input_of(text: &str) -> Result<Option<&str>, (usize, usize, String)> {
    match pick(text, ["input"]) {
        Ok([input]) => Ok(input.map(RawValue::get)),
        Err(error) => {
            let found = Malformed::locate(text, &error);
            let (line, column) = found.place();
            Err((line, column, found.to_string()))
        }
    }
}

/// How deep a valid JSON text is nested.
pub fn depth_of(text: &str) -> usize {
    depth(text)
}

/// A body of `/run`, read.
#[derive(Debug)]
pub struct Submitted {
    /// `input`, as it came.
    pub input: Bytes,
    /// `s3Config`, as it came.
    pub s3: Option<Bytes>,
    /// `webhook`.
    pub webhook: Option<String>,
    /// `policy.executionTimeout`.
    pub execution_timeout_ms: Option<i64>,
    /// `policy.ttl`.
    pub ttl_ms: Option<i64>,
}

/// Reads a body of `/run`; else the words of the refusal.
pub fn submission(body: &Bytes) -> Result<Submitted, String> {
    let read = request::parse(body).map_err(|error| error.to_string())?;
    Ok(Submitted {
        input: read.input,
        s3: read.s3,
        webhook: read.webhook,
        execution_timeout_ms: read.execution_timeout_ms,
        ttl_ms: read.ttl_ms,
    })
}

/// A number of the query; else the words of the refusal.
pub fn number(query: &str, name: &'static str) -> Result<Option<i64>, String> {
    query::number(Some(query), name).map_err(|error| error.to_string())
}

/// The header `Idempotency-Key`; else the words of the refusal.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, String> {
    submit::idempotency_key(headers).map_err(|error| error.to_string())
}

/// A body of `job-done`, read.
#[derive(Debug)]
pub enum Posted {
    /// The job goes on.
    Progress(Bytes),
    /// The job ends: with this error text, or well, and with this output.
    Done(Option<String>, Option<Bytes>),
}

/// Reads a body of `job-done`; `limit` bounds the output.
pub fn done(body: &Bytes, limit: usize) -> Posted {
    match answer::done(body, answer::Most { bytes: limit, by_endpoint: false }) {
        answer::Said::Progress(value) => Posted::Progress(value),
        answer::Said::Done { answer, output, .. } => Posted::Done(error_of(answer), output),
    }
}

/// Reads a body of `job-stream`: the value, or the error text that the job ends with.
pub fn chunk(body: &Bytes, limit: usize) -> Result<Bytes, String> {
    answer::chunk(body, answer::Most { bytes: limit, by_endpoint: false })
        .map_err(|answer| error_of(answer).unwrap_or_default())
}

fn error_of(answer: runyard_domain::job::Answer) -> Option<String> {
    match answer {
        runyard_domain::job::Answer::Failure { error, .. } => Some(error),
        runyard_domain::job::Answer::Success => None,
    }
}

/// The exception in an error text.
pub fn exception(error: &str) -> Option<FailReason> {
    traceback::exception(error)
}

/// The error object in an error text.
pub fn error_object(error: &str) -> Option<Value> {
    worker_error::object_of(error)
}

/// The version in a worker's `User-Agent`.
pub fn sdk_version(agent: &str) -> Option<String> {
    access::sdk_version(agent)
}

/// The body of an answer `{"a":…,"b":…}` around two payloads.
pub fn spliced(a: Bytes, b: Bytes) -> Option<Bytes> {
    let mut splice = Splice::default();
    splice.text("{").key("a").raw(a).key("b").raw(b).text("}");
    let body = splice.answer().into_body().collect().now_or_never()?.ok()?;
    Some(body.to_bytes())
}
