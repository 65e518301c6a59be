//! One record: a line of output with what is known about it. This is both the stored and the wire form.

use std::borrow::Cow;

use runyard_domain::{EndpointId, JobId, Timestamp, WorkerId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The worker's standard output.
    Stdout,
    /// The worker's standard error.
    Stderr,
    /// runyard itself, about the worker.
    System,
    /// A build.
    Build,
}

/// How grave a line is, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For developers.
    Debug,
    /// Normal events.
    Info,
    /// Something odd.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    /// The level that a word of any common logger names: `WARNING`, `err`, `critical`, `trace`.
    pub fn from_word(word: &str) -> Option<Self> {
        const WORDS: [(&str, Level); 15] = [
            ("trace", Level::Debug),
            ("notset", Level::Debug),
            ("debug", Level::Debug),
            ("info", Level::Info),
            ("information", Level::Info),
            ("notice", Level::Info),
            ("warn", Level::Warn),
            ("warning", Level::Warn),
            ("err", Level::Error),
            ("error", Level::Error),
            ("critical", Level::Error),
            ("fatal", Level::Error),
            ("alert", Level::Error),
            ("emergency", Level::Error),
            ("panic", Level::Error),
        ];
        WORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, level)| *level)
    }

    /// `debug`, `info`, `warn`, `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl From<runyard_domain::LogLevel> for Level {
    fn from(level: runyard_domain::LogLevel) -> Self {
        match level {
            runyard_domain::LogLevel::Debug => Self::Debug,
            runyard_domain::LogLevel::Info => Self::Info,
            runyard_domain::LogLevel::Warn => Self::Warn,
            runyard_domain::LogLevel::Error => Self::Error,
        }
    }
}

/// One line of output, or several of runyard's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When it was read.
    pub at: Timestamp,
    /// Its number in its file, rising from 1.
    pub seq: u64,
    /// Whose endpoint's.
    pub endpoint: EndpointId,
    /// Which worker's; none for builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    /// Which release's.
    pub release: u32,
    /// Where it came from.
    pub source: Source,
    /// How grave it is, where the line says so. Standard error alone does not make an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// The job that it belongs to, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Which attempt of the job, from 1, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Whether the job is only inferred: it was the one job that ran on the worker.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inferred: bool,
    /// Whether the line goes on in the next record of the same source: it was longer than
    /// [`crate::MAX_LINE`], or its rest came late.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Where this record stands for lines that are missing here: how many. Its message says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<u64>,
    /// The line without its line feed; bytes that are not UTF-8 are replaced here and kept in `raw`.
    pub message: String,
    /// The exact bytes where `message` is not exact, escaped as in a Rust byte string (`\xff`, `\\`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

/// A job that a worker holds or lately held, for what the worker prints meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The job.
    pub job: JobId,
    /// Which attempt of it, from 1, where that is known.
    pub attempt: Option<u32>,
    /// Whether it does not run yet, or no more: only what the SDK says of it by name is its.
    pub by_name: bool,
}

impl From<JobId> for Running {
    fn from(job: JobId) -> Self {
        Self { job, attempt: None, by_name: false }
    }
}

/// A line as text, and its exact bytes where the text is not exact.
pub(crate) struct Exact {
    pub(crate) message: String,
    pub(crate) raw: Option<String>,
}

impl Exact {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let message = String::from_utf8_lossy(bytes);
        let raw = matches!(message, Cow::Owned(_)).then(|| bytes.escape_ascii().to_string());
        Self { message: message.into_owned(), raw }
    }
}

/// The most fields of one line that are given out.
const MAX_FIELDS: usize = 64;

impl Record {
    /// Its level; a line that names none counts as `info`.
    pub fn gravity(&self) -> Level {
        self.level.unwrap_or(Level::Info)
    }

    /// The line as people see it and as it is searched: without terminal escapes and control characters, a progress
    /// bar in its last state.
    pub fn shown(&self) -> Cow<'_, str> {
        crate::plain::plain_line(&self.message)
    }

    /// How many earlier states of a progress bar the line overwrote.
    pub fn folded(&self) -> usize {
        let states = self.message.split('\r').filter(|state| !state.is_empty()).count();
        states.saturating_sub(1)
    }

    /// The fields of a JSON line besides those that became the record's own, at most 64.
    pub fn fields(&self) -> Option<Map<String, Value>> {
        const OWN: [&str; 6] = ["message", "msg", "level", "severity", "levelname", "requestId"];
        let text = self.message.trim();
        let Value::Object(object) = text.starts_with('{').then(|| serde_json::from_str(text).ok())?? else {
            return None;
        };
        let more = object.into_iter().filter(|(key, _)| !OWN.contains(&key.as_str())).take(MAX_FIELDS);
        Some(more.collect::<Map<_, _>>()).filter(|fields| !fields.is_empty())
    }

    /// The exact bytes that were printed, without the line feed.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match &self.raw {
            None => Cow::Borrowed(self.message.as_bytes()),
            Some(raw) => Cow::Owned(unescape(raw)),
        }
    }

    /// The text for people: the inner message of the worker SDK's JSON lines, without terminal escapes.
    pub fn text(&self) -> String {
        #[derive(Deserialize)]
        struct SdkLine {
            #[serde(rename = "requestId")]
            _request_id: Option<serde::de::IgnoredAny>,
            message: String,
            #[serde(rename = "level")]
            _level: String,
        }
        if self.message.starts_with("{\"requestId\"")
            && let Ok(line) = serde_json::from_str::<SdkLine>(&self.message)
        {
            return crate::plain(&line.message);
        }
        crate::plain(&self.message)
    }
}

/// Reverses `[u8]::escape_ascii`.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'n') => out.push(b'\n'),
            Some(b'x') => {
                let digit = |byte: Option<u8>| byte.and_then(|b| (b as char).to_digit(16)).unwrap_or(0) as u8;
                out.push(digit(bytes.next()) << 4 | digit(bytes.next()));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_bytes_come_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&all.escape_ascii().to_string()), all);
    }
}
