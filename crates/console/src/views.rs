//! The objects of the API, as far as pages show them (`docs/api.md` says what they mean).

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::show::{self, State, Tone};

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Endpoint {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) serving: Option<u32>,
    pub(crate) settings: Map<String, Value>,
    pub(crate) state: String,
    pub(crate) state_message: Option<String>,
    pub(crate) rollout: Rollout,
    pub(crate) managed: Option<Managed>,
    pub(crate) workers: WorkerCounts,
    pub(crate) jobs: JobCounts,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rollout {
    pub(crate) in_progress: bool,
    pub(crate) workers_on_latest: u32,
    pub(crate) workers_total: u32,
    pub(crate) to: Option<u32>,
    pub(crate) canary_percent: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Managed {
    pub(crate) by: String,
    pub(crate) at: i64,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct WorkerCounts {
    pub(crate) starting: u32,
    pub(crate) idle: u32,
    pub(crate) running: u32,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct JobCounts {
    pub(crate) waiting: u64,
    pub(crate) running: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
}

impl Rollout {
    /// How far it is, in a sentence.
    pub(crate) fn words(&self) -> String {
        let (on, total) = (self.workers_on_latest, self.workers_total);
        let share = self.canary_percent.map_or_else(String::new, |percent| format!("; it gets {percent} of 100 jobs"));
        format!("Rollout: {on} of {total} workers run release {}{share}.", self.to.unwrap_or_default())
    }
}

impl Endpoint {
    pub(crate) fn pill(&self) -> String {
        show::endpoint_state(&self.state).pill()
    }

    /// Whether somebody should look at it.
    pub(crate) fn needs_attention(&self) -> bool {
        matches!(show::endpoint_state(&self.state).tone, Tone::Bad | Tone::Warn)
    }

    pub(crate) fn message(&self) -> &str {
        self.state_message.as_deref().unwrap_or_default()
    }

    pub(crate) fn most_workers(&self) -> u64 {
        self.settings.get("workers_max").and_then(Value::as_u64).unwrap_or_default()
    }

    pub(crate) fn gpus(&self) -> u64 {
        self.settings.get("gpus").and_then(Value::as_u64).unwrap_or_default()
    }

    pub(crate) fn href(&self) -> String {
        format!("/e/{}", self.name)
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) endpoint_name: Option<String>,
    pub(crate) status: String,
    pub(crate) submitted_at: i64,
    pub(crate) submitted_by: Option<String>,
    pub(crate) started_at: Option<i64>,
    pub(crate) ended_at: Option<i64>,
    pub(crate) delay_ms: Option<i64>,
    pub(crate) execution_ms: Option<i64>,
    pub(crate) attempt: u32,
    pub(crate) retries: u32,
    pub(crate) worker: Option<String>,
    pub(crate) release: Option<u32>,
    pub(crate) queue: Option<Queue>,
    pub(crate) reason: Option<Reason>,
    #[serde(default)]
    pub(crate) test: bool,
    #[serde(default)]
    pub(crate) webhooks: Vec<Webhook>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Queue {
    pub(crate) position: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reason {
    pub(crate) code: String,
    pub(crate) message: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Webhook {
    pub(crate) url: String,
    pub(crate) state: String,
    tried: u64,
}

impl Webhook {
    pub(crate) fn tries(&self) -> u64 {
        self.tried
    }
}

impl Job {
    pub(crate) fn pill(&self) -> String {
        show::job_state(&self.status).pill()
    }

    pub(crate) fn href(&self) -> String {
        format!("/jobs/{}", self.id)
    }

    pub(crate) fn short(&self) -> String {
        show::short(&self.id)
    }

    pub(crate) fn is_over(&self) -> bool {
        !matches!(self.status.as_str(), "IN_QUEUE" | "IN_PROGRESS")
    }

    pub(crate) fn may_retry(&self) -> bool {
        matches!(self.status.as_str(), "FAILED" | "TIMED_OUT")
    }

    pub(crate) fn endpoint(&self) -> &str {
        self.endpoint_name.as_deref().unwrap_or("(removed)")
    }

    pub(crate) fn delay(&self) -> String {
        self.delay_ms.map_or_else(|| "–".to_owned(), show::span)
    }

    pub(crate) fn execution(&self) -> String {
        self.execution_ms.map_or_else(|| "–".to_owned(), show::span)
    }

    /// Why it waits or failed.
    pub(crate) fn why(&self) -> &str {
        self.reason.as_ref().map_or("", |reason| reason.message.as_str())
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Why {
    pub(crate) sentence: Option<String>,
    pub(crate) causes: Vec<Cause>,
    pub(crate) hints: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cause {
    pub(crate) sentence: String,
    #[serde(default)]
    pub(crate) last_lines: Vec<String>,
}

impl Cause {
    pub(crate) fn lines(&self) -> String {
        lines(&self.last_lines)
    }
}

/// Last lines as one text, as a page may show it.
fn lines(lines: &[String]) -> String {
    tame(&lines.join("\n"))
}

/// Text without what a terminal would obey.
fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Worker {
    pub(crate) id: String,
    pub(crate) endpoint_name: Option<String>,
    pub(crate) release: u32,
    pub(crate) state: String,
    pub(crate) cause: String,
    pub(crate) gpus: Vec<u32>,
    pub(crate) jobs: Vec<String>,
    pub(crate) created_at: i64,
    pub(crate) started_at: Option<i64>,
    pub(crate) ready_at: Option<i64>,
    pub(crate) ended_at: Option<i64>,
    pub(crate) exit: Option<Exit>,
    pub(crate) stop_cause: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Exit {
    pub(crate) code: Option<i64>,
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) last_lines: Vec<String>,
}

impl Exit {
    pub(crate) fn lines(&self) -> String {
        lines(&self.last_lines)
    }
}

impl Worker {
    pub(crate) fn is_gone(&self) -> bool {
        self.state == "gone"
    }

    /// Whether it ended as nobody wanted.
    pub(crate) fn is_bad(&self) -> bool {
        self.stop_cause.is_none() && self.exit.as_ref().is_some_and(|exit| exit.code != Some(0))
    }

    pub(crate) fn state(&self) -> State {
        let bad = self.is_bad();
        match self.state.as_str() {
            "starting" => State::new(Tone::Starting, "Starting"),
            "idle" => State::new(Tone::Ok, "Idle"),
            "running" => State::new(Tone::Busy, "Running"),
            "draining" => State::new(Tone::Outdated, "Draining"),
            "gone" if bad => State::new(Tone::Bad, "Died"),
            _ => State::new(Tone::Idle, "Stopped"),
        }
    }

    pub(crate) fn pill(&self) -> String {
        self.state().pill()
    }

    /// From the decision to start it until it asked for its first job.
    pub(crate) fn start(&self) -> String {
        self.ready_at.map_or_else(|| "–".to_owned(), |ready| show::span(ready - self.created_at))
    }

    /// How long it has been there, or was.
    pub(crate) fn lived(&self, now: &i64) -> String {
        show::span(self.ended_at.unwrap_or(*now) - self.created_at)
    }

    pub(crate) fn gpu_words(&self) -> String {
        let list: Vec<String> = self.gpus.iter().map(u32::to_string).collect();
        if list.is_empty() { "–".to_owned() } else { list.join(", ") }
    }

    /// How it ended.
    pub(crate) fn ending(&self) -> String {
        match (&self.stop_cause, &self.exit) {
            (Some(cause), _) => cause.clone(),
            (None, Some(exit)) => exit.message.clone(),
            (None, None) => String::new(),
        }
    }
}

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
    pub(crate) page: Option<Value>,
}

impl Key {
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
        if self.endpoint_names.is_empty() { "all endpoints".to_owned() } else { self.endpoint_names.join(", ") }
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
    pub(crate) fn before(&self) -> String {
        brief(&self.old)
    }

    pub(crate) fn after(&self) -> String {
        brief(&self.new)
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
    pub(crate) source: String,
    pub(crate) level: Option<String>,
    #[serde(default)]
    pub(crate) inferred: bool,
    pub(crate) message: String,
}

impl Record {
    pub(crate) fn clock(&self) -> String {
        show::clock(self.at)
    }

    /// What was printed, without what a terminal would obey.
    pub(crate) fn text(&self) -> String {
        tame(&self.message)
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

    /// What keeps its place when lines come.
    pub(crate) fn key(&self) -> String {
        format!("l{}-{}-{}", self.at, self.seq, self.worker())
    }
}
