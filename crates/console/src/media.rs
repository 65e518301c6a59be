//! Pictures, sounds and films in the output of a job: found by the bytes they begin with, served one by one under the
//! type that those bytes have, and never as anything that a browser would run.

use axum::extract::{Path, RawQuery};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::call::{Trouble, encoded};
use crate::place::Query;
use crate::session::Visit;

/// The shortest base64 text that may be a file, in bytes.
const SHORTEST: usize = 60;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Image,
    Audio,
    Video,
}

/// Kind and media type of bytes, by how they begin. What could hold scripts is none of these.
pub(crate) fn sniff(bytes: &[u8]) -> Option<(Kind, &'static str)> {
    let found = match bytes {
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, ..] => (Kind::Image, "image/png"),
        [0xff, 0xd8, 0xff, ..] => (Kind::Image, "image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => (Kind::Image, "image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => (Kind::Image, "image/webp"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => (Kind::Audio, "audio/wav"),
        [b'I', b'D', b'3', ..] | [0xff, 0xfb | 0xf3 | 0xf2, ..] => (Kind::Audio, "audio/mpeg"),
        [b'O', b'g', b'g', b'S', ..] => (Kind::Audio, "audio/ogg"),
        [b'f', b'L', b'a', b'C', ..] => (Kind::Audio, "audio/flac"),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => (Kind::Video, "video/mp4"),
        [0x1a, 0x45, 0xdf, 0xa3, ..] => (Kind::Video, "video/webm"),
        _ => return None,
    };
    Some(found)
}

/// The base64 of a text that is a data URI or base64 itself.
fn base64_of(text: &str) -> Option<&str> {
    let text = match text.strip_prefix("data:") {
        Some(rest) => rest.split_once(";base64,")?.1,
        None => text,
    };
    (text.len() >= SHORTEST).then_some(text)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let decoded =
        STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).or_else(|_| STANDARD_NO_PAD.decode(text));
    decoded.or_else(|_| STANDARD.decode(text.split_ascii_whitespace().collect::<String>())).ok()
}

/// What a text is, without decoding all of it; and about how many bytes it has.
pub(crate) fn glance(text: &str) -> Option<(Kind, &'static str, u64)> {
    let base64 = base64_of(text)?;
    let (kind, media) = sniff(&decode(base64.get(..32)?)?)?;
    Some((kind, media, base64.len() as u64 * 3 / 4))
}

/// The address of what stands at a place of a job's output.
pub(crate) fn href(job: &str, pointer: &str) -> String {
    format!("/jobs/{job}/media?at={}", encoded(pointer))
}

#[derive(Deserialize)]
struct Output {
    output: Value,
}

/// `GET /jobs/{id}/media?at=POINTER`.
pub(crate) async fn serve(visit: Visit, Path(id): Path<String>, RawQuery(query): RawQuery) -> Response {
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let output: Output = match visit.get(&format!("/api/v1/jobs/{}", encoded(&id))).await {
        Ok(output) => output,
        Err(trouble) => return plain(&trouble),
    };
    let text = output.output.pointer(query.get("at").unwrap_or_default()).and_then(Value::as_str);
    let file = text.and_then(base64_of).and_then(decode);
    let Some((file, (_, media))) = file.and_then(|file| sniff(&file).map(|kind| (file, kind))) else {
        return plain(&Trouble::new(
            StatusCode::NOT_FOUND,
            "Not found",
            "the output has no picture, sound or film there",
        ));
    };
    let headers = [
        (header::CONTENT_TYPE, media),
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
        // What a finished job answered does not change.
        (header::CACHE_CONTROL, "private, max-age=3600"),
    ];
    (headers, file).into_response()
}

#[derive(Deserialize)]
struct RawOutput<'a> {
    #[serde(borrow)]
    output: &'a RawValue,
}

/// `GET /jobs/{id}/output`: the output as it came, to be kept.
pub(crate) async fn output(visit: Visit, Path(id): Path<String>) -> Response {
    let bytes = match visit.bytes(&format!("/api/v1/jobs/{}", encoded(&id))).await {
        Ok(bytes) => bytes,
        Err(trouble) => return plain(&trouble),
    };
    let raw = serde_json::from_slice::<RawOutput<'_>>(&bytes).map(|job| job.output.get().to_owned());
    let name: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(80).collect();
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.json\"")),
    ];
    (headers, raw.unwrap_or_else(|_| "null".to_owned())).into_response()
}

fn plain(trouble: &Trouble) -> Response {
    (trouble.status, trouble.words()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_what_their_bytes_say() {
        let png = STANDARD.encode([&[0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a][..], &[0; 80]].concat());
        assert_eq!(glance(&png).map(|found| found.1), Some("image/png"));
        let lies = format!("data:text/html;base64,{png}");
        assert_eq!(glance(&lies).map(|found| found.1), Some("image/png"), "what is claimed is not believed");
        let html = STANDARD.encode("<html><script>alert(1)</script></html>".repeat(4));
        let svg =
            format!("data:image/svg+xml;base64,{}", STANDARD.encode("<svg onload='alert(1)'/>".repeat(8)));
        for other in ["", "a", "data:", "data:;base64,", &html, &svg, &"é".repeat(60), &"A".repeat(100)] {
            assert_eq!(glance(other), None, "{other}");
        }
    }
}
