//! What clients submit: the body of `/run` and `/runsync` as RunPod documents it, checked, with `input` and
//! `s3Config` left as the raw text that came.

use bytes::Bytes;
use http::Uri;
use http::uri::Authority;
use runyard_domain::endpoint::WEEK_MS;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{Malformed, depth, pick};

/// A JSON text nested deeper than this can be read by no Python worker (its limit is 1,000 frames in all).
const MAX_DEPTH: usize = 500;

/// A submission as the wire carries it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Submission {
    /// One JSON value, as it came.
    pub(crate) input: Bytes,
    /// One JSON object, as it came.
    pub(crate) s3: Option<Bytes>,
    /// Where to post the result.
    pub(crate) webhook: Option<String>,
    /// `policy.executionTimeout`.
    pub(crate) execution_timeout_ms: Option<i64>,
    /// `policy.ttl`.
    pub(crate) ttl_ms: Option<i64>,
    /// `policy.lowPriority`.
    pub(crate) low_priority: bool,
}

/// Why a body is no submission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadBody {
    #[error("the body is empty: send a JSON object such as {{\"input\": {{\"prompt\": \"hi\"}}}}")]
    Empty,
    #[error("malformed JSON: {0}")]
    Malformed(Malformed),
    #[error("the body is {0}; it must be a JSON object such as {{\"input\": {{\"prompt\": \"hi\"}}}}")]
    NotAnObject(&'static str),
    #[error(
        "the body has no 'input': send {{\"input\": …}} with any JSON value, which the handler gets as job[\"input\"]"
    )]
    NoInput,
    #[error(
        "the body is nested {0} levels deep; at most {MAX_DEPTH} are allowed, because Python workers cannot read more"
    )]
    TooDeep(usize),
    #[error("request {0} (counted from 0): {1}")]
    Request(usize, Box<BadBody>),
    #[error("'{field}' is {found}; it must be {allowed}")]
    Field {
        /// The field as users write it.
        field: &'static str,
        /// What came, shortened.
        found: String,
        /// What is allowed.
        allowed: &'static str,
    },
}

/// The text of a body that is one JSON object, not too deep.
pub(crate) fn object(body: &Bytes) -> Result<&str, BadBody> {
    let text = json(body)?;
    let first = text.trim_start_matches([' ', '\t', '\r', '\n']);
    if !first.starts_with('{') {
        let malformed = |error| BadBody::Malformed(Malformed::locate(text, &error));
        serde_json::from_str::<&RawValue>(text).map_err(malformed)?;
        return Err(BadBody::NotAnObject(kind(first)));
    }
    Ok(text)
}

/// The text of a body that is not empty and not too deep.
pub(crate) fn json(body: &Bytes) -> Result<&str, BadBody> {
    let text = match std::str::from_utf8(body) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => return Err(BadBody::Malformed(Malformed::not_utf8(body, error.valid_up_to()))),
    };
    let first = text.trim_start_matches([' ', '\t', '\r', '\n']);
    if first.is_empty() {
        return Err(BadBody::Empty);
    }
    let malformed = |error| BadBody::Malformed(Malformed::locate(text, &error));
    // Counting is far quicker than scanning, and few bodies have brackets enough to be too deep.
    let brackets = text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();
    let deep = if brackets > MAX_DEPTH { depth(text) } else { 0 };
    if deep > MAX_DEPTH {
        serde_json::from_str::<&RawValue>(text).map_err(malformed)?;
        return Err(BadBody::TooDeep(deep));
    }
    Ok(text)
}

/// Reads a body.
pub(crate) fn parse(body: &Bytes) -> Result<Submission, BadBody> {
    let text = object(body)?;
    let malformed = |error| BadBody::Malformed(Malformed::locate(text, &error));
    let [input, webhook, policy, s3] =
        pick(text, ["input", "webhook", "policy", "s3Config"]).map_err(malformed)?;
    let input = input.ok_or(BadBody::NoInput)?;
    let policy = read_policy(policy)?;
    Ok(Submission {
        input: body.slice_ref(input.get().as_bytes()),
        s3: read_s3(s3)?.map(|raw| body.slice_ref(raw.get().as_bytes())),
        webhook: read_webhook(webhook)?,
        ..policy
    })
}

fn present(value: Option<&RawValue>) -> Option<&RawValue> {
    value.filter(|raw| raw.get() != "null")
}

fn read_s3(value: Option<&RawValue>) -> Result<Option<&RawValue>, BadBody> {
    match present(value) {
        // What it holds is a secret: it is not repeated.
        Some(raw) if !raw.get().starts_with('{') => Err(BadBody::Field {
            field: "s3Config",
            found: kind(raw.get()).to_owned(),
            allowed: "an object with accessId, accessSecret, bucketName and endpointUrl",
        }),
        other => Ok(other),
    }
}

fn read_webhook(value: Option<&RawValue>) -> Result<Option<String>, BadBody> {
    let Some(raw) = present(value) else { return Ok(None) };
    let url = serde_json::from_str::<String>(raw.get()).ok().filter(|url| is_http_url(url));
    let bad = || bad_field("webhook", raw, "a text with an http:// or https:// URL");
    url.map(Some).ok_or_else(bad)
}

fn is_http_url(url: &str) -> bool {
    url.len() <= 8_192
        && url.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri.authority().is_some_and(has_possible_port)
        })
}

/// Whether the host stands there plainly, and nothing, an empty port or one from 0 to 65535 follows the host.
fn has_possible_port(authority: &Authority) -> bool {
    let bare = authority.as_str().rsplit('@').next().unwrap_or_default();
    let after = bare.strip_prefix(authority.host()).unwrap_or_default();
    let alone = bare.parse::<Authority>().is_ok_and(|alone| alone.host() == authority.host());
    let is_number = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let is_possible = |port: &str| port.is_empty() || is_number(port);
    alone && (after.is_empty() || after.strip_prefix(':').is_some_and(is_possible))
}

/// The policy alone, in a submission without anything else.
fn read_policy(value: Option<&RawValue>) -> Result<Submission, BadBody> {
    let mut read = Submission {
        input: Bytes::new(),
        s3: None,
        webhook: None,
        execution_timeout_ms: None,
        ttl_ms: None,
        low_priority: false,
    };
    let Some(policy) = present(value) else { return Ok(read) };
    let names = ["executionTimeout", "ttl", "lowPriority"];
    let picked = pick(policy.get(), names).map_err(|_| bad_field("policy", policy, "an object"))?;
    let [timeout, ttl, low] = picked.map(present);
    if let Some(raw) = timeout {
        let allowed = "5000 (5 s) to 604800000 (7 days), in whole milliseconds";
        read.execution_timeout_ms =
            Some(millis(raw, 5_000).ok_or_else(|| bad_field("policy.executionTimeout", raw, allowed))?);
    }
    if let Some(raw) = ttl {
        let allowed = "10000 (10 s) to 604800000 (7 days), in whole milliseconds";
        read.ttl_ms = Some(millis(raw, 10_000).ok_or_else(|| bad_field("policy.ttl", raw, allowed))?);
    }
    if let Some(raw) = low {
        let bad = |_| bad_field("policy.lowPriority", raw, "true or false");
        read.low_priority = serde_json::from_str(raw.get()).map_err(bad)?;
    }
    Ok(read)
}

/// A whole number of milliseconds from `least` to a week; `5000.0` is one too.
fn millis(raw: &RawValue, least: i64) -> Option<i64> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Whole(i64),
        Float(f64),
    }
    let ms = match serde_json::from_str(raw.get()).ok()? {
        Number::Whole(ms) => ms,
        Number::Float(ms) if ms.fract() == 0.0 && ms.abs() < 1e15 => ms as i64,
        Number::Float(_) => return None,
    };
    (least..=WEEK_MS).contains(&ms).then_some(ms)
}

fn bad_field(field: &'static str, raw: &RawValue, allowed: &'static str) -> BadBody {
    let text = raw.get();
    let found = if text.chars().count() <= 60 { text.to_owned() } else { kind(text).to_owned() };
    BadBody::Field { field, found, allowed }
}

/// What kind of value starts so.
fn kind(text: &str) -> &'static str {
    match text.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a text",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Submission, BadBody> {
        parse(&Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn inputs_stay_as_they_came() {
        for input in ["{}", "null", "[1, 2.50, 1e400]", "\"\\ud800\"", "{ \"a\" : 1, \"a\" : 2 }", "0"] {
            let body = format!("\u{feff} {{\"junk\": [{{}}], \"input\": {input} }}\n");
            assert_eq!(read(&body).unwrap().input, input, "{input}");
        }
    }

    #[test]
    fn the_policy_has_bounds() {
        let read = read(
            r#"{"input":1,"policy":{"executionTimeout":5000.0,"ttl":604800000,"lowPriority":true,"x":1}}"#,
        );
        let read = read.unwrap();
        assert_eq!(read.execution_timeout_ms, Some(5_000));
        assert_eq!(read.ttl_ms, Some(WEEK_MS));
        assert!(read.low_priority);
    }
}
