//! What a line says about itself: its level and the job that it belongs to. Guesses are cheap and modest; a
//! line that says nothing gets nothing.

use runyard_domain::JobId;
use serde_json::Value;

use crate::{Level, Running};

/// How far into a line a level is looked for.
const HEAD: usize = 200;

/// What was found in a line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its level.
    pub level: Option<Level>,
    /// Its job.
    pub job: Option<JobId>,
    /// Whether the job is only inferred.
    pub inferred: bool,
}

/// Reads `line`; `running` are the jobs that its worker holds or lately held. A line that names any other job is not
/// believed: whoever has a handler print a text could have it found among the lines of a job of somebody else.
pub fn detect(line: &str, running: &[Running]) -> Found {
    let text = line.trim();
    let mut found = match text.starts_with('{').then(|| serde_json::from_str::<Value>(text)) {
        Some(Ok(value)) if is_of_no_job(&value) => return json(&value, &[]),
        Some(Ok(value)) => json(&value, running),
        _ => bare(text, running),
    };
    let mut run = running.iter().filter(|held| !held.by_name);
    if found.job.is_none() {
        found.job = run.clone().find(|held| text.contains(held.job.as_str())).map(|held| held.job.clone());
    }
    if found.job.is_none()
        && let (Some(only), None) = (run.next(), run.next())
    {
        found.job = Some(only.job.clone());
        found.inferred = true;
    }
    found
}

fn json(value: &Value, running: &[Running]) -> Found {
    let level = ["level", "severity", "levelname"].iter().find_map(|key| match &value[*key] {
        Value::String(word) => Level::from_word(word),
        _ => None,
    });
    // The SDK's own line names its job also before and after it runs; other programs' ids count only while it does.
    let sdk = value["message"].is_string() && value["level"].is_string();
    let job = ["request_id", "requestId", "job_id", "id"]
        .iter()
        .find_map(|key| named(value[*key].as_str()?, running, sdk && *key == "requestId"));
    Found { level, job, inferred: false }
}

/// The job of this name, if it runs, or `any` will do.
fn named(name: &str, running: &[Running], any: bool) -> Option<JobId> {
    let held = running.iter().find(|held| held.job.as_str() == name && (any || !held.by_name));
    held.map(|held| held.job.clone())
}

/// Whether the SDK itself says that a line belongs to no job.
fn is_of_no_job(value: &Value) -> bool {
    value.get("requestId").is_some_and(Value::is_null) && value["message"].is_string()
}

fn bare(text: &str, running: &[Running]) -> Found {
    let head = &text[..text.floor_char_boundary(HEAD)];
    if let Some((first, rest)) = head.split_once('|')
        && let Some(level) = Level::from_word(first.trim())
    {
        // `INFO   | <job> | message`, as the SDK prints without an endpoint id.
        let job = rest.split_once('|').and_then(|(job, _)| named(job.trim(), running, true));
        return Found { level: Some(level), job, inferred: false };
    }
    Found { level: dashed(head).or_else(|| bracketed(head)).or_else(|| leading(head)), ..Found::default() }
}

/// `2026-01-01 10:00:00 - name - ERROR - message`.
fn dashed(head: &str) -> Option<Level> {
    head.split(" - ").skip(1).take(4).find_map(|part| Level::from_word(part.trim()))
}

/// `[error] message`, `[2026-01-01] [WARNING] message`.
fn bracketed(head: &str) -> Option<Level> {
    head.split('[').skip(1).take(4).find_map(|part| Level::from_word(part.split_once(']')?.0.trim()))
}

/// `ERROR: message`, `WARNING:root:message`, `INFO 10:00 message` and `E0102 10:00:00 message`.
fn leading(head: &str) -> Option<Level> {
    let word = head.split([':', ' ', '\t']).next().unwrap_or("");
    let loud = word.len() > 2
        && (word.bytes().all(|b| b.is_ascii_uppercase()) || head[word.len()..].starts_with(':'));
    if loud {
        return Level::from_word(word);
    }
    let bytes = word.as_bytes();
    if bytes.len() == 5 && bytes[1..].iter().all(u8::is_ascii_digit) {
        return match bytes[0] {
            b'I' => Some(Level::Info),
            b'W' => Some(Level::Warn),
            b'E' | b'F' => Some(Level::Error),
            _ => None,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(line: &str) -> Option<Level> {
        detect(line, &[]).level
    }

    #[test]
    fn levels_of_common_loggers() {
        assert_eq!(level(r#"{"levelname": "WARNING", "x": 1}"#), Some(Level::Warn));
        assert_eq!(level(r#"{"severity":"critical"}"#), Some(Level::Error));
        assert_eq!(level("INFO   | Started."), Some(Level::Info));
        assert_eq!(level("2026-01-01 10:00:00,1 - app - ERROR - no"), Some(Level::Error));
        assert_eq!(level("[error] no"), Some(Level::Error));
        assert_eq!(level("WARNING:root:odd"), Some(Level::Warn));
        assert_eq!(level("E0102 10:00:00.1 1 x.cc] no"), Some(Level::Error));
        for quiet in ["Info about errors", "{broken", "a | b", "", "error", "ééé [é"] {
            assert_eq!(level(quiet), None, "{quiet}");
        }
    }

    #[test]
    fn jobs_by_name_by_mention_and_by_elimination() {
        let (a, b, over) = (JobId::new("a-u1"), JobId::new("b-u1"), JobId::new("over-u1"));
        let ended = Running { by_name: true, ..over.clone().into() };
        let both = [a.clone().into(), b.clone().into(), ended.clone()];
        let explicit = |line: &str| {
            let found = detect(line, &both);
            assert!(!found.inferred);
            found.job
        };
        let sdk = |job: &str| format!(r#"{{"requestId": "{job}", "message": "m", "level": "INFO"}}"#);
        assert_eq!(explicit(&sdk("a-u1")), Some(a.clone()));
        assert_eq!(explicit(&sdk("over-u1")), Some(over.clone()));
        assert_eq!(explicit(&sdk("z-u1")), None, "none of this worker's");
        assert_eq!(explicit(r#"{"requestId": null, "message": "m", "level": "INFO"}"#), None);
        assert_eq!(explicit(r#"{"request_id": "b-u1"}"#), Some(b.clone()));
        assert_eq!(explicit(r#"{"request_id": "other"}"#), None);
        assert_eq!(explicit("INFO   | over-u1 | Finished."), Some(over));
        assert_eq!(explicit("INFO   | z-u1 | Finished."), None);
        assert_eq!(explicit("over-u1 is mentioned"), None);
        assert_eq!(explicit(r#"{"request_id": "over-u1"}"#), None);
        assert_eq!(explicit("working on b-u1 now"), Some(b));
        assert_eq!(explicit("working"), None);
        let inferred = detect("working", &[ended, a.clone().into()]);
        assert_eq!((inferred.job, inferred.inferred), (Some(a), true));
    }
}
