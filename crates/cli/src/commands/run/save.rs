//! `-o FILE`: a job's output as a file. Pictures, sounds and documents travel in JSON as base64, alone or under a
//! key such as `body` or `image`; where one is found, its bytes are written, else the output as text or JSON.

use std::path::Path;

use anyhow::Context as _;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::output::{Ui, json};

/// Keys under which workers put a file, the more telling ones first.
const KEYS: [&str; 14] = [
    "image",
    "images",
    "image_base64",
    "b64_json",
    "audio",
    "audio_base64",
    "video",
    "file",
    "body",
    "data",
    "content",
    "result",
    "output",
    "message",
];

/// How deep a file may lie: `{"images":[{"image":"…"}]}`.
const DEPTH: u32 = 4;

/// Writes the output to `file` and says what was written.
pub fn write(file: &Path, output: &RawValue, ui: Ui) -> anyhow::Result<()> {
    let value: Value = serde_json::from_str(output.get()).unwrap_or_default();
    let (bytes, what) = match (find(&value, DEPTH), value) {
        (Some((bytes, kind)), _) => (bytes, kind),
        (None, Value::String(text)) => (text.into_bytes(), "text"),
        (None, _) => (format!("{}\n", json::pretty(output.get())).into_bytes(), "JSON"),
    };
    std::fs::write(file, &bytes).with_context(|| format!("cannot write {}", file.display()))?;
    ui.note(&format!("wrote {} ({what}, {})", file.display(), json::bytes(bytes.len())));
    Ok(())
}

/// The first file inside `value`, and its kind.
fn find(value: &Value, depth: u32) -> Option<(Vec<u8>, &'static str)> {
    if depth == 0 {
        return None;
    }
    match value {
        Value::String(text) => decode(text),
        Value::Array(items) => items.iter().find_map(|item| find(item, depth - 1)),
        Value::Object(members) => {
            KEYS.iter().filter_map(|key| members.get(*key)).find_map(|member| find(member, depth - 1))
        }
        _ => None,
    }
}

/// The bytes of a base64 text or data URL, where they are a file of a known kind: any short word is valid base64.
fn decode(text: &str) -> Option<(Vec<u8>, &'static str)> {
    let body = match text.strip_prefix("data:") {
        Some(rest) => rest.split_once(";base64,")?.1,
        None => text,
    };
    let body: String = body.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(body).ok()?;
    let kind = kind(&bytes)?;
    Some((bytes, kind))
}

fn kind(bytes: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 14] = [
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff\xd8\xff", "JPEG"),
        (b"GIF8", "GIF"),
        (b"%PDF-", "PDF"),
        (b"PK\x03\x04", "ZIP"),
        (b"\x1f\x8b", "gzip"),
        (b"OggS", "Ogg"),
        (b"fLaC", "FLAC"),
        (b"ID3", "MP3"),
        (b"\xff\xfb", "MP3"),
        (b"\x1a\x45\xdf\xa3", "Matroska"),
        (b"glTF", "glTF"),
        (b"BM", "BMP"),
        (b"II*\0", "TIFF"),
    ];
    match (bytes.get(..4), bytes.get(4..8), bytes.get(8..12)) {
        (Some(b"RIFF"), _, Some(b"WEBP")) => return Some("WebP"),
        (Some(b"RIFF"), _, Some(b"WAVE")) => return Some("WAV"),
        (_, Some(b"ftyp"), _) => return Some("MP4"),
        _ => {}
    }
    KINDS.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn files_are_found_where_workers_put_them() {
        let png = STANDARD.encode(b"\x89PNG\r\n\x1a\nrest");
        let data_url = format!("data:image/png;base64,{png}");
        for output in [
            json!(png),
            json!({"statusCode": 200, "body": png}),
            json!({"image": data_url}),
            json!({"images": [{"image": png}]}),
            json!([{"data": png}]),
        ] {
            let (bytes, kind) = find(&output, DEPTH).expect("a picture");
            assert_eq!((bytes.starts_with(b"\x89PNG"), kind), (true, "PNG"), "{output}");
        }
        for output in [json!("hello"), json!({"body": "text"}), json!({"other": png}), json!(5)] {
            assert!(find(&output, DEPTH).is_none(), "{output}");
        }
    }
}
