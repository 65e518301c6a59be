//! What a worker posts about a job, read into the engine's words. The body is JSON text under any content type
//! (the SDK says `application/x-www-form-urlencoded`). Whatever cannot be a result fails the job with the
//! reason: the SDK would drop a refused one without a word.

use bytes::Bytes;
use runyard_domain::FailReason;
use runyard_domain::job::Answer;
use serde_json::value::RawValue;

use super::traceback;
use crate::json::{Malformed, pick};

/// The longest error text that is kept.
const MAX_ERROR: usize = 1 << 20;

/// A post to `job-done`.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    /// `progress_update`: the job goes on.
    Progress(Bytes),
    /// The job is done.
    Done {
        /// How.
        answer: Answer,
        /// What it returned.
        output: Option<Bytes>,
        /// The worker wants to be replaced (`refresh_worker`).
        refresh: bool,
    },
}

/// How large an output may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Most {
    /// In bytes.
    pub(crate) bytes: usize,
    /// Its endpoint says so, and not the server.
    pub(crate) by_endpoint: bool,
}

/// Reads a post to `job-done`; `limit` bounds the output.
pub(crate) fn done(body: &Bytes, limit: Most) -> Said {
    let fields = text(body).and_then(|text| {
        pick(text, ["output", "error", "status", "stopPod"]).map_err(|error| not_json(text, &error))
    });
    let [output, error, status, stop] = match fields {
        Ok(fields) => fields,
        Err(why) => return Said::Done { answer: rejected(why), output: None, refresh: false },
    };
    let slice = |raw: &RawValue| body.slice_ref(raw.get().as_bytes());
    if status.is_some_and(|raw| raw.get() == "\"IN_PROGRESS\"") {
        return Said::Progress(output.map_or(Bytes::from_static(b"null"), slice));
    }
    let refresh = stop.is_some_and(|raw| raw.get() == "true");
    if let Some(output) = output.filter(|raw| raw.get().len() > limit.bytes) {
        let why = too_large(output.get().len() as u64, limit);
        return Said::Done { answer: rejected(why), output: None, refresh };
    }
    let answer = match error.and_then(error_text) {
        Some(error) => failure(error),
        None => Answer::Success,
    };
    Said::Done { answer, output: output.filter(|raw| raw.get() != "null").map(slice), refresh }
}

/// Reads a post that the agent made where a worker has no result that could be sent.
pub(crate) fn refused(body: &Bytes) -> Said {
    let why = text(body).ok().and_then(|text| pick(text, ["error"]).ok());
    let why = why.and_then(|[error]| error_text(error?)).unwrap_or_else(|| "it could not be sent".to_owned());
    Said::Done { answer: rejected(why), output: None, refresh: false }
}

/// Reads a post to `job-stream`: the value that was yielded, or why it cannot be one.
pub(crate) fn chunk(body: &Bytes, limit: Most) -> Result<Bytes, Answer> {
    let text = text(body).map_err(rejected)?;
    let [output] = pick(text, ["output"]).map_err(|error| rejected(not_json(text, &error)))?;
    // An error in the stream has no `output`: it is passed on as it is.
    let value = output.map_or(text.trim(), RawValue::get);
    if value.len() > limit.bytes {
        return Err(rejected(too_large(value.len() as u64, limit)));
    }
    Ok(body.slice_ref(value.as_bytes()))
}

/// The answer for a post that is too large to be looked at.
pub(crate) fn oversized(bytes: u64, limit: Most) -> Answer {
    rejected(too_large(bytes, limit))
}

fn text(body: &Bytes) -> Result<&str, String> {
    if body.trim_ascii().is_empty() {
        return Err("its body is empty".to_owned());
    }
    std::str::from_utf8(body)
        .map_err(|error| format!("it is not JSON: {}", Malformed::not_utf8(body, error.valid_up_to())))
}

fn not_json(text: &str, error: &serde_json::Error) -> String {
    if error.is_data() {
        return "its body is not a JSON object".to_owned();
    }
    format!("it is not JSON: {}", Malformed::locate(text, error))
}

fn too_large(bytes: u64, limit: Most) -> String {
    let size = bytes as f64 / f64::from(1 << 20);
    let most = match limit.bytes {
        whole if whole.is_multiple_of(1 << 20) => format!("{} MiB", whole >> 20),
        less => format!("{less} bytes"),
    };
    let size = if limit.bytes < 1 << 20 { format!("{bytes} bytes") } else { format!("{size:.1} MiB") };
    let raise = if limit.by_endpoint { ", or raise the endpoint's limit (--max-output)" } else { "" };
    format!(
        "it has {size} and at most {most} are taken; store it elsewhere (rp_upload, a volume) and return its address{raise}"
    )
}

fn rejected(why: String) -> Answer {
    let reason = FailReason::ResultRejected { why };
    Answer::Failure { error: reason.sentence(), reason }
}

/// The text of `error`: null and the empty text are none, what is no text is taken as it is written.
fn error_text(raw: &RawValue) -> Option<String> {
    let text = match raw.get() {
        "null" | "\"\"" => return None,
        raw => serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned()),
    };
    Some(shorten(text))
}

fn shorten(mut text: String) -> String {
    if text.len() > MAX_ERROR {
        let mut end = MAX_ERROR;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(" … (cut after 1 MiB)");
    }
    text
}

fn failure(error: String) -> Answer {
    let reason =
        traceback::exception(&error).unwrap_or_else(|| FailReason::HandlerError { message: error.clone() });
    Answer::Failure { error, reason }
}
