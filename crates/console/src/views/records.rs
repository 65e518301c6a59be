//! Objects that are made by somebody and stay: releases, keys, secrets, changes, lines of logs.

use runyard_domain::reason::said::reported;
use serde::Deserialize;
use serde_json::Value;

use super::{lines, tame};
use crate::ansi;
use crate::show::{self, State, Tone};

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Release {
    pub(crate) number: u32,
    pub(crate) state: String,
    pub(crate) serving: bool,
    pub(crate) created_at: i64,
    pub(crate) created_by: String,
    pub(crate) handler: Option<String>,
    pub(crate) image: Option<Image>,
    pub(crate) python: Option<String>,
    #[serde(default)]
    pub(crate) env: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) secure_env: Vec<String>,
    pub(crate) note: Option<String>,
    pub(crate) commit: Option<Commit>,
    pub(crate) took_ms: Option<i64>,
    pub(crate) reason: Option<FailReason>,
    #[serde(default)]
    pub(crate) worker_count: u32,
    #[serde(default)]
    pub(crate) canary: bool,
    #[serde(default)]
    pub(crate) kept: bool,
    pub(crate) withdrawn: Option<Withdrawn>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Image {
    pub(crate) name: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Commit {
    pub(crate) id: String,
    pub(crate) message: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FailReason {
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) last_lines: Vec<String>,
}

impl FailReason {
    pub(crate) fn lines(&self) -> String {
        lines(&self.last_lines)
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Withdrawn {
    pub(crate) why: String,
}

impl Release {
    pub(crate) fn pill(&self) -> String {
        let state = match self.state.as_str() {
            _ if self.serving => State::new(Tone::Ok, "Serving"),
            _ if self.canary => State::new(Tone::Busy, "Canary"),
            _ if self.withdrawn.is_some() => State::new(Tone::Warn, "Taken back"),
            "ready" => State::new(Tone::Idle, "Superseded"),
            "failed" => State::new(Tone::Bad, "Failed"),
            "testing" => State::new(Tone::Starting, "Testing"),
            _ => State::new(Tone::Starting, "Building"),
        };
        state.pill()
    }

    /// Where it comes from, in a few words.
    pub(crate) fn source(&self) -> String {
        if let Some(commit) = &self.commit {
            let first = commit.message.lines().next().unwrap_or_default();
            let id: String = commit.id.chars().take(8).collect();
            return format!("{id} {first}");
        }
        let image = self.image.as_ref().map(|image| image.name.clone());
        image.or_else(|| self.handler.clone()).unwrap_or_else(|| "–".to_owned())
    }

    pub(crate) fn took(&self) -> String {
        self.took_ms.map_or_else(|| "–".to_owned(), show::span)
    }

    /// Why it failed or was taken back, else its note.
    pub(crate) fn remark(&self) -> String {
        let failed = self.reason.as_ref().map(|reason| reason.message.clone());
        let taken = || self.withdrawn.as_ref().map(|gone| gone.why.clone());
        failed.or_else(taken).or_else(|| self.note.clone()).unwrap_or_default()
    }

    /// Whether a rollback may go there.
    pub(crate) fn may_return(&self) -> bool {
        self.state == "ready" && !self.serving && self.kept
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Key {
    pub(crate) state: String,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) access: String,
    #[serde(default)]
    pub(crate) endpoint_names: Vec<String>,
    pub(crate) created_at: i64,
    pub(crate) expires_at: Option<i64>,
    pub(crate) used_at: Option<i64>,
    pub(crate) page: Option<PageUse>,
    #[serde(default)]
    pub(crate) rates: std::collections::BTreeMap<String, Value>,
    #[serde(default)]
    pub(crate) session: Value,
    pub(crate) member: Option<KeyMember>,
}

/// What a key for pages in browsers is for.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PageUse {
    #[serde(default)]
    pub(crate) operations: Vec<String>,
    #[serde(default)]
    pub(crate) origins: Vec<String>,
}

/// Whose a key is.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct KeyMember {
    pub(crate) email: Option<String>,
}

impl Key {
    pub(crate) fn is_session(&self) -> bool {
        !matches!(self.session, Value::Null | Value::Bool(false))
    }

    /// Its own rates, as the command line takes them.
    pub(crate) fn rates(&self) -> String {
        let one = |(group, rate): (&String, &Value)| {
            format!("{group}={}", rate.as_str().map_or_else(|| rate.to_string(), str::to_owned))
        };
        self.rates.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    /// Whose it is.
    pub(crate) fn owner(&self) -> &str {
        self.member.as_ref().and_then(|member| member.email.as_deref()).unwrap_or("–")
    }

    pub(crate) fn pill(&self) -> String {
        let state = match self.state.as_str() {
            "valid" => State::new(Tone::Ok, "Valid"),
            "disabled" => State::new(Tone::Warn, "Disabled"),
            "expired" => State::new(Tone::Idle, "Expired"),
            _ => State::new(Tone::Idle, "Revoked"),
        };
        state.pill()
    }

    pub(crate) fn is_live(&self) -> bool {
        self.state == "valid" || self.state == "disabled"
    }

    pub(crate) fn scope(&self) -> String {
        if self.endpoint_names.is_empty() {
            "all endpoints".to_owned()
        } else {
            self.endpoint_names.join(", ")
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Secret {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) version: u32,
    pub(crate) updated_at: i64,
    pub(crate) used_at: Option<i64>,
    #[serde(default)]
    pub(crate) used_by: Vec<SecretUse>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretUse {
    pub(crate) endpoint_name: String,
    pub(crate) workers: Value,
}

impl Secret {
    pub(crate) fn users(&self) -> String {
        let names: Vec<&str> = self.used_by.iter().map(|used| used.endpoint_name.as_str()).collect();
        names.join(", ")
    }

    /// Workers that have the value and get a new one by a restart only.
    pub(crate) fn workers(&self) -> usize {
        let one = |used: &SecretUse| match &used.workers {
            Value::Array(list) => list.len(),
            Value::Number(n) => n.as_u64().unwrap_or_default() as usize,
            _ => 0,
        };
        self.used_by.iter().map(one).sum()
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Audit {
    pub(crate) seq: u64,
    pub(crate) at: i64,
    pub(crate) who: String,
    pub(crate) who_name: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) action: String,
    pub(crate) endpoint_name: Option<String>,
    pub(crate) subject: Option<String>,
    #[serde(default)]
    pub(crate) changes: Vec<Change>,
}

impl Audit {
    /// Whether somebody only came or went.
    pub(crate) fn is_sign_in(&self) -> bool {
        matches!(self.action.as_str(), "member.sign-in" | "member.sign-out")
    }

    /// Whether both were the same, done by the same to the same.
    pub(crate) fn is_step_of(&self, other: &Self) -> bool {
        let of =
            |it: &Self| (it.action.clone(), it.who.clone(), it.endpoint_name.clone(), it.subject.clone());
        of(self) == of(other)
    }

    pub(crate) fn actor(&self) -> &str {
        self.who_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&self.who)
    }
}

/// A field with another value.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Change {
    pub(crate) field: String,
    #[serde(default)]
    pub(crate) old: Value,
    #[serde(default)]
    pub(crate) new: Value,
}

impl Change {
    /// Whether there was nothing before.
    pub(crate) fn is_first(&self) -> bool {
        self.old.is_null()
    }

    pub(crate) fn before(&self) -> String {
        brief(&self.old)
    }

    pub(crate) fn after(&self) -> String {
        brief(&self.new)
    }
}

/// A wish for GPUs in one line.
pub(crate) fn wish(value: &Value) -> String {
    match value {
        Value::Array(kinds) => kinds.iter().map(wish).collect::<Vec<_>>().join(", "),
        Value::String(kind) => kind.clone(),
        other => other.to_string(),
    }
}

/// A value in one short line.
fn brief(value: &Value) -> String {
    let text = match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.chars().count() <= 160 { text } else { text.chars().take(160).chain(['…']).collect() }
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Record {
    pub(crate) at: i64,
    pub(crate) seq: u64,
    pub(crate) worker: Option<String>,
    #[serde(default)]
    pub(crate) release: u32,
    pub(crate) source: String,
    pub(crate) level: Option<String>,
    pub(crate) job: Option<String>,
    #[serde(default)]
    pub(crate) inferred: bool,
    pub(crate) message: String,
    /// It only stands near one that was looked for.
    #[serde(default)]
    pub(crate) context: bool,
    #[serde(default)]
    pub(crate) partial: bool,
    /// States of a progress bar that it overwrote.
    pub(crate) folded: Option<u64>,
}

/// The longest line of JSON that is read for its message, in bytes.
const MOST_JSON: usize = 64 << 10;

impl Record {
    pub(crate) fn clock(&self) -> String {
        show::clock(self.at)
    }

    /// What a line of JSON says, as loggers and the worker SDK write it; of a report of an exception the traceback.
    fn inner(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Line {
            #[serde(alias = "msg")]
            message: String,
        }
        let text = self.message.trim();
        if !text.starts_with('{') || text.len() > MOST_JSON {
            return None;
        }
        let said = serde_json::from_str::<Line>(text).ok()?.message;
        Some(reported(&said).unwrap_or(said))
    }

    /// What was printed, without what a terminal would obey.
    pub(crate) fn text(&self) -> String {
        tame(&self.inner().unwrap_or_else(|| self.message.clone()))
    }

    /// The same as HTML, with its colours.
    pub(crate) fn html(&self) -> String {
        let inner = self.inner();
        let text = inner.as_deref().unwrap_or(&self.message);
        text.split('\n').map(ansi::html).collect::<Vec<_>>().join("\n")
    }

    /// The whole of a line of JSON, as HTML.
    pub(crate) fn raw_json(&self) -> Option<String> {
        self.inner().map(|_| crate::json::pretty(self.message.trim()).0)
    }

    pub(crate) fn class(&self) -> &'static str {
        match self.level.as_deref() {
            Some("error") => "error",
            Some("warn") => "warn",
            Some("debug") => "debug",
            _ if self.source == "system" => "system",
            _ => "",
        }
    }

    pub(crate) fn level(&self) -> &str {
        self.level.as_deref().unwrap_or(if self.source == "system" { "system" } else { "" })
    }

    pub(crate) fn worker(&self) -> &str {
        self.worker.as_deref().unwrap_or_default()
    }

    /// A number below six that stays the same for a worker: its colour.
    pub(crate) fn hue(&self) -> u32 {
        self.worker().bytes().fold(7, |hash: u32, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)))
            % 6
    }

    /// What keeps its place when lines come.
    pub(crate) fn key(&self) -> String {
        format!("l{}-{}-{}", self.at, self.seq, self.worker())
    }

    /// The address of this line among those around it.
    pub(crate) fn link(&self, endpoint: &str) -> String {
        let whose = match &self.worker {
            Some(worker) => format!("worker={worker}"),
            None => format!("build={}", self.release),
        };
        format!("/e/{endpoint}/logs?{whose}&seq={}#{}", self.seq, self.key())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Record;

    fn record(message: &str) -> Record {
        let value = json!({"at": 5, "seq": 2, "worker": "w1", "source": "stdout", "message": message});
        serde_json::from_value(value).expect("a record")
    }

    #[test]
    fn a_line_of_json_is_its_message_and_whole_where_one_looks_closer() {
        let line = record(r#"{"requestId": "j1", "message": "started \u001b[31m<b>", "level": "INFO"}"#);
        assert_eq!(line.html(), "started <span class=\"f1\">&lt;b&gt;</span>");
        assert!(line.raw_json().is_some_and(|raw| raw.contains("requestId")));
        let other = record(r#"{"a": 1}"#);
        assert_eq!((other.raw_json(), other.text().as_str()), (None, r#"{"a": 1}"#));
        assert_eq!(record("x").link("ep"), "/e/ep/logs?worker=w1&seq=2#l5-2-w1");
    }
}
