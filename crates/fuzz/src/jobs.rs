//! What clients send to the job API: bodies, queries, headers; and the answers that are put together from raw
//! payloads.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use runyard_gateway::probe;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::text;

const WEEK_MS: i64 = 7 * 86_400_000;

/// The scan agrees with a parser about what is JSON and which `input` counts, points into the text where it is
/// not, and measures the depth that a parser finds.
pub fn json_scan(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parsed = serde_json::from_str::<BTreeMap<String, &RawValue>>(text);
    match (probe::input_of(text), parsed) {
        (Ok(found), Ok(fields)) => {
            assert_eq!(found, fields.get("input").map(|raw| raw.get()), "another input was cut out");
        }
        (Err((line, column, words)), Err(_)) => {
            let lines: Vec<&str> = text.split('\n').collect();
            assert!((1..=lines.len()).contains(&line), "{words}: there is no such line");
            let longest = lines[line - 1].chars().count() + 1;
            assert!((1..=longest).contains(&column), "{words}: there is no such column");
            assert!(words.contains(&format!("at line {line}, column {column}")), "{words}");
        }
        (scan, parsed) => panic!("the scan says {scan:?}, a parser says {:?}", parsed.map(drop)),
    }
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        // Of equal keys a value keeps the last one, so the text may be deeper than the value.
        assert!(probe::depth_of(text) >= depth(&value));
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// What is taken of a submission is JSON that stood in it and lies within the documented bounds, and its webhook
/// is one that can be called.
pub fn submission(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let read = match probe::submission(&body) {
        Ok(read) => read,
        Err(words) => return assert!(!words.is_empty()),
    };
    is_part(&body, &read.input);
    if let Some(s3) = read.s3 {
        is_part(&body, &s3);
        assert!(s3.starts_with(b"{"));
    }
    assert!(read.execution_timeout_ms.is_none_or(|ms| (5_000..=WEEK_MS).contains(&ms)));
    assert!(read.ttl_ms.is_none_or(|ms| (10_000..=WEEK_MS).contains(&ms)));
    if let Some(webhook) = read.webhook {
        let parts = runyard_webhooks::probe::parse(&webhook);
        assert!(parts.is_ok(), "{webhook:?} is taken and can never be called: {parts:?}");
    }
}

/// `part` is a JSON text that lies in `whole`, not a copy.
pub fn is_part(whole: &Bytes, part: &Bytes) {
    assert!(whole.as_ptr_range().start <= part.as_ptr_range().start);
    assert!(part.as_ptr_range().end <= whole.as_ptr_range().end);
    assert!(serde_json::from_slice::<&RawValue>(part).is_ok(), "{part:?} is no JSON");
}

/// A number of the query is read or refused with words that name it.
pub fn query(data: &[u8]) {
    match probe::number(&text(data), "wait") {
        Ok(_) => {}
        Err(words) => assert!(words.starts_with("'wait' is '"), "{words}"),
    }
}

/// An idempotency key comes through as it is, or is refused.
pub fn headers(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let mut headers = HeaderMap::new();
    headers.insert("idempotency-key", value);
    match probe::idempotency_key(&headers) {
        Ok(key) => assert!(key.is_some_and(|key| key.as_bytes() == data && key.len() <= 255)),
        Err(words) => assert!(words.contains("Idempotency-Key"), "{words}"),
    }
}

/// Payloads come out of an answer as they went in, small ones and large ones.
pub fn splice(data: &[u8]) {
    let Ok(a) = serde_json::from_slice::<&RawValue>(data) else { return };
    let a = Bytes::copy_from_slice(a.get().as_bytes());
    for b in [a.clone(), Bytes::from(format!("\"{}\"", "x".repeat(700_000)))] {
        let body = probe::spliced(a.clone(), b.clone()).expect("a body of parts in memory is ready");
        let fields: BTreeMap<&str, &RawValue> = serde_json::from_slice(&body).expect("an answer is JSON");
        assert_eq!((fields["a"].get().as_bytes(), fields["b"].get().as_bytes()), (&a[..], &b[..]));
    }
}
