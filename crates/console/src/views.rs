//! The objects of the API, as far as pages show them (`docs/api.md` says what they mean).

mod records;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::show::{self, State, Tone};

pub(crate) use records::{Audit, Change, Key, PageUse, Record, Release, Secret, wish};

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
        let share = self
            .canary_percent
            .map_or_else(String::new, |percent| format!("; it gets {percent} of 100 jobs"));
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

    /// The GPUs of each worker, as people write them: a number, or kinds in order of preference.
    pub(crate) fn gpus(&self) -> String {
        self.settings.get("gpus").map_or_else(String::new, wish)
    }

    pub(crate) fn href(&self) -> String {
        format!("/e/{}", self.name)
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    pub(crate) id: String,
    #[serde(rename = "endpoint")]
    pub(crate) endpoint_id: String,
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

    /// Whether its deliveries are over.
    pub(crate) fn may_repeat(&self) -> bool {
        self.state != "pending"
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
    pub(crate) like: Option<Like>,
}

/// How many jobs failed like one.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Like {
    pub(crate) sentence: String,
}

/// Failures with one fingerprint.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FailureGroup {
    pub(crate) code: String,
    pub(crate) title: String,
    pub(crate) sentence: String,
    pub(crate) count: u64,
    pub(crate) last_at: i64,
    pub(crate) first_release: Option<u32>,
    pub(crate) job: String,
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

/// What a worker printed, as `runyard logs` shows it: without colours, with a progress bar in its last state.
fn tame(text: &str) -> String {
    runyard_logs::plain(text)
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Worker {
    pub(crate) id: String,
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

    /// The parts of its start: before its process was there, and while that loaded code and models.
    pub(crate) fn phases(&self) -> Option<[String; 2]> {
        let (started, ready) = (self.started_at?, self.ready_at?);
        let (launch, load) = (show::span(started - self.created_at), show::span(ready - started));
        Some([format!("launch {launch}"), format!("load {load}")])
    }

    /// How long it has been there, or was.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "templates pass references")]
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
            (None, None) if self.is_gone() => "lost with its agent".to_owned(),
            (None, None) => String::new(),
        }
    }
}
