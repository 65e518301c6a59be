//! What commands read out of the server's answers (docs/api.md). Lenient on purpose: a field that another version
//! of the server leaves out is empty here, and one that it adds is ignored.

use std::collections::BTreeMap;

use runyard_domain::image::Container;
use runyard_domain::reason::said::reported;
use runyard_domain::{Gpus, Rates, RolloutSettings};
use serde::Deserialize;
use serde_json::value::RawValue;

macro_rules! view {
    ($(#[$doc:meta])* $name:ident { $($(#[$attr:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name { $($(#[$attr])* pub $field: $type,)* }
    };
}

view!(
    /// `GET /api/v1/info`.
    Info { version: String, data: Option<String>, url: Option<String>, open: bool, draining: bool,
        boundary: Option<serde_json::Value>, gpus: Option<serde_json::Value>, disk: Option<Disk>, }
);
view!(
    /// The disk of the data directory, in bytes.
    Disk { full: bool, free_bytes: Option<u64>, reserve_bytes: Option<u64>, reserve_left_bytes: Option<u64>, }
);
view!(
    /// An endpoint.
    Endpoint { id: String, name: String, created_at: i64, url: Option<String>, serving: Option<u32>,
        settings: Settings, state: String, state_message: Option<String>, rollout: RolloutView, workers: WorkerCounts, jobs: JobCounts, }
);
view!(
    /// Workers of an endpoint by state.
    WorkerCounts { starting: u32, idle: u32, running: u32, draining: u32, }
);
view!(
    /// Jobs of an endpoint by state.
    JobCounts { waiting: u64, running: u64, completed: u64, failed: u64, cancelled: u64, retried: u64, }
);
view!(
    /// A release.
    Release { number: u32, state: String, serving: bool, created_at: i64, created_by: Option<String>,
        handler: Option<String>, python: Option<String>, env: BTreeMap<String, String>, env_read: Vec<String>,
        note: Option<String>, commit: Option<Commit>, reason: Option<Reason>, worker_count: u32, canary: bool,
        withdrawn: Option<Withdrawn>, }
);
view!(
    /// Why traffic was taken from a release.
    Withdrawn { at: i64, why: String, }
);
view!(
    /// How far a rollout is.
    RolloutView { in_progress: bool, workers_on_latest: u32, workers_total: u32, stage: Option<String>,
        to: Option<u32>, from: Vec<u32>, ends_at: Option<i64>, canary_percent: Option<u32>, }
);
view!(
    /// The commit of a release.
    Commit { id: String, }
);
view!(
    /// An endpoint's repository.
    Connection { endpoint: String, endpoint_name: Option<String>, from: String, url: String, branch: Option<String>,
        on: Option<String>, path: Option<String>, dockerfile: Option<String>, handler: Option<String>,
        access: Option<String>, api: Option<String>, poll_s: Option<u32>, pull_requests: bool, webhook: Hook,
        trouble: Option<String>, previews: Vec<Preview>, builds: Vec<Build>, }
);
view!(
    /// A registry login.
    Registry { name: String, server: String, username: String, created_at: i64, used_by: Vec<String>, }
);
view!(
    /// Where its forge sends messages.
    Hook { url: Option<String>, secret: Option<String>, }
);
view!(
    /// The endpoint of a pull request.
    Preview { number: u64, endpoint_name: Option<String>, }
);
view!(
    /// What became of a commit.
    Build { commit: String, reference: String, title: Option<String>, author: Option<String>, state: String,
        why: Option<String>, release: Option<u32>, serves: bool, queued_at: i64, ms: Option<i64>, }
);
view!(
    /// Why something is as it is.
    Reason { code: String, message: String, last_lines: Vec<String>, }
);
view!(
    /// A worker.
    Worker { id: String, endpoint_name: Option<String>, release: Option<u32>, state: String, cause: Option<String>,
        gpus: Vec<serde_json::Value>, jobs: Vec<String>, created_at: i64, ready_at: Option<i64>,
        ended_at: Option<i64>, exit: Option<Exit>, stop_cause: Option<String>, }
);
view!(
    /// A GPU of the machine.
    Gpu { index: u32, #[serde(rename = "type")] kind: String, memory_gb: u32, pool: Option<String>, free: bool,
        worker: Option<String>, endpoint_name: Option<String>, }
);
view!(
    /// What a worker uses.
    Stats { worker: String, endpoint_name: Option<String>, kind: String, cpu_percent: Option<f64>,
        memory_bytes: Option<u64>, memory_limit_bytes: Option<u64>, pids: Option<u64>,
        received_bytes: Option<u64>, sent_bytes: Option<u64>, read_bytes: Option<u64>,
        written_bytes: Option<u64>, }
);
view!(
    /// How a worker ended.
    Exit { code: Option<i32>, signal: Option<i32>, out_of_memory: bool, last_lines: Vec<String>,
        message: Option<String>, }
);
view!(
    /// A job.
    Job { id: String, endpoint: String, endpoint_name: Option<String>, status: String, submitted_at: i64,
        submitted_by: Option<String>, ended_at: Option<i64>, delay_ms: Option<i64>, execution_ms: Option<i64>,
        attempt: Option<u32>, retries: Option<u32>, worker: Option<String>, release: Option<u32>,
        sdk: Option<String>, queue: Option<Queue>, phase: Option<String>, reason: Option<Reason>,
        error: Option<Box<RawValue>>, output: Option<Box<RawValue>>, webhooks: Vec<Webhook>, }
);
view!(
    /// An end of a job on its way to the job's webhook.
    Webhook { id: String, url: String, state: String, tried: u32, next_at: Option<i64>, ended_at: Option<i64>,
        tries: Vec<Try>, }
);
view!(
    /// One try to deliver it.
    Try { status: Option<u16>, error: Option<String>, }
);
view!(
    /// A batch, as RunPod's job API has it.
    Batch { id: String, status: String, name: Option<String>, created_at: i64, ended_at: Option<i64>,
        request_total: u64, request_queued: u64, request_in_progress: u64, request_completed: u64,
        request_failed: u64, request_cancelled: u64, }
);
view!(
    /// A place in the queue.
    Queue { position: Option<u64>, eta_ms: Option<i64>, }
);
view!(
    /// An explanation.
    Why { about: Option<String>, status: Option<String>, sentence: String, code: Option<String>,
        causes: Vec<Cause>, hints: Vec<String>, waiting_ms: Option<i64>, like: Option<Like>, }
);
view!(
    /// How many failed like it.
    Like { sentence: String, }
);
view!(
    /// A job's life.
    Timeline { from: i64, to: Option<i64>, now: i64, spans: Vec<Span>, }
);
view!(
    /// A part of it; what goes on has no end.
    Span { name: String, start: i64, end: Option<i64>, state: String, attempt: Option<u32>,
        worker: Option<String>, note: Option<String>, usual_ms: Option<i64>, }
);
view!(
    /// Failures with one fingerprint.
    FailureGroup { fingerprint: String, code: String, title: String, count: u64, first_at: i64, last_at: i64,
        first_release: Option<u32>, job: String, }
);
view!(
    /// One of its causes.
    Cause { code: Option<String>, sentence: String, last_lines: Vec<String>, }
);
view!(
    /// An API key.
    Key { id: String, name: String, access: String, state: String, endpoints: Vec<String>,
        endpoint_names: Vec<String>, grants: BTreeMap<String, String>, rates: Rates, created_at: i64,
        expires_at: Option<i64>, revoked_at: Option<i64>, disabled_at: Option<i64>, used_at: Option<i64>,
        page: Option<Page>, #[serde(rename = "key")] secret: Option<String>, }
);
view!(
    /// What a key for pages in browsers is held to.
    Page { operations: Vec<String>, origins: Vec<String>, }
);
view!(
    /// A member.
    Member { id: String, email: String, name: String, role: String, state: String, created_at: i64,
        signed_in_at: Option<i64>, keys: u32, sessions: u32, key: Option<String>, }
);
view!(
    /// Every member.
    MemberPage { members: Vec<Member>, }
);
view!(
    /// Who calls.
    Me { who: String, name: Option<String>, access: String, endpoints: Vec<String>, every_endpoint: bool,
        session: bool, expires_at: Option<i64>, member: Option<Member>, }
);
view!(
    /// A session, or the wait for it.
    SignedIn { key: String, expires_at: Option<i64>, member: Option<Member>, pending: bool, slower: bool, }
);
view!(
    /// A sign-in by another machine's browser.
    Device { handle: String, user_code: String, verification_uri: String,
        verification_uri_complete: Option<String>, interval_s: u64, }
);
view!(
    /// A page of the audit log; each record keeps its text.
    AuditPage { records: Vec<Box<RawValue>>, next_cursor: Option<String>, }
);
view!(
    /// Who changed what.
    Audit { at: i64, who: String, who_name: Option<String>, member: Option<String>, from: Option<String>, action: String,
        endpoint_name: Option<String>, subject: Option<String>, changes: Vec<FieldChange>, }
);
view!(
    /// A field before and after.
    FieldChange { field: String, old: serde_json::Value, new: serde_json::Value, }
);
view!(
    /// A secret, without its value.
    Secret { name: String, description: Option<String>, version: u32, created_at: i64, updated_at: i64,
        used_at: Option<i64>, used_by: Vec<SecretUse>, restarting: Vec<SecretUse>, }
);
view!(
    /// An endpoint that uses a secret.
    SecretUse { endpoint: String, endpoint_name: Option<String>, variables: Vec<String>, releases: Vec<u32>,
        workers: u32, }
);
view!(
    /// A line of a log.
    Record { at: i64, seq: Option<u64>, endpoint: Option<String>, worker: Option<String>, source: Option<String>,
        level: Option<String>, job: Option<String>, inferred: bool, partial: bool, context: bool,
        message: String, }
);
view!(
    /// A line of a deploy's stream: a change of a step, or the end.
    DeployLine { step: String, state: String, message: String, ms: Option<i64>, done: bool, ok: bool,
        release: Option<u32>, url: Option<String>, reason: Option<Reason>, serving: Option<u32>, }
);
view!(
    /// An answer of RunPod's job API: `run`, `status`, `status-sync`, `stream`.
    JobAnswer { id: String, status: String, output: Option<Box<RawValue>>, error: Option<Box<RawValue>>,
        stream: Vec<Chunk>, queue: Option<Queue>, phase: Option<String>, reason: Option<Reason>, }
);
view!(
    /// One element of a stream.
    Chunk { output: Option<Box<RawValue>>, }
);

/// The settings of an endpoint; unlike the rest they are written with underscores.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub workers_min: u32,
    pub workers_max: u32,
    pub idle_timeout_s: u32,
    pub scaler: Scaler,
    pub execution_timeout_ms: i64,
    pub ttl_ms: i64,
    pub start_timeout_s: u32,
    pub requeues: u32,
    pub retention_ms: i64,
    pub queue_limit: u32,
    pub rates: Rates,
    pub gpus: Gpus,
    pub flash_boot: String,
    pub input_limit_bytes: u64,
    pub output_limit_bytes: u64,
    pub cors: Vec<String>,
    pub stop_grace_ms: i64,
    pub replace_grace_ms: i64,
    pub network_volume: Option<String>,
    pub container: Container,
    pub concurrency: u32,
    pub prefetch: String,
    pub rollout: RolloutSettings,
}

/// When workers are added.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Scaler {
    #[serde(rename = "type")]
    pub kind: String,
    pub value: f64,
}

/// Whether a job in this state will not change any more.
pub fn is_final(status: &str) -> bool {
    matches!(status, "COMPLETED" | "FAILED" | "CANCELLED" | "TIMED_OUT")
}

impl Job {
    /// What to call its endpoint.
    pub fn endpoint_label(&self) -> &str {
        self.endpoint_name.as_deref().unwrap_or(&self.endpoint)
    }

    /// What went wrong, or why it waits.
    pub fn remark(&self) -> String {
        // The reason is a sentence; the error is what the worker sent, which may be JSON with a traceback.
        let reason = self.reason.as_ref().map(|r| r.message.clone());
        reason.or_else(|| self.error.as_deref().map(text_of)).unwrap_or_default()
    }
}

impl Record {
    /// What the line says: the message of the SDK's JSON lines (`{"requestId", "message", "level"}`), of its report of an
    /// exception the traceback, any other line as it is, a progress bar in its last state.
    pub fn said(&self) -> String {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(
            non_snake_case,
            dead_code,
            reason = "the wire's names, which together make it the SDK's line"
        )]
        struct Sdk {
            requestId: Option<String>,
            message: String,
            level: String,
        }
        let sdk = self.message.starts_with('{').then(|| serde_json::from_str::<Sdk>(&self.message));
        let message = match sdk {
            Some(Ok(sdk)) => reported(&sdk.message).unwrap_or(sdk.message),
            _ => self.message.clone(),
        };
        let last = |line: &str| {
            let states = line.rsplit('\r').find(|state| !state.is_empty());
            states.unwrap_or_default().to_owned()
        };
        message.split('\n').map(last).collect::<Vec<_>>().join("\n")
    }
}

/// A JSON string without its quotes; any other value as JSON.
pub fn text_of(value: &RawValue) -> String {
    serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned())
}

impl Connection {
    /// The endpoint as people call it.
    pub fn name(&self) -> &str {
        self.endpoint_name.as_deref().unwrap_or(&self.endpoint)
    }

    /// What of the repository counts.
    pub fn follows(&self) -> String {
        let branch = self.branch.as_deref().unwrap_or_default();
        match (self.from.as_str(), self.on.as_deref()) {
            ("pushed", _) => "pushes to this server".to_owned(),
            (_, Some("tag")) => "the highest tag".to_owned(),
            (_, Some("release")) => "the latest release".to_owned(),
            _ => format!("branch {branch}"),
        }
    }
}

impl SecretUse {
    /// The endpoint as people call it.
    pub fn name(&self) -> String {
        crate::output::text::line(self.endpoint_name.as_deref().unwrap_or(&self.endpoint), 80)
    }
}

impl Build {
    /// The commit as people write it.
    pub fn short(&self) -> &str {
        self.commit.get(..8).unwrap_or(&self.commit)
    }

    /// How far it is, and whether its release is the one that gets traffic.
    pub fn word(&self) -> &str {
        if self.serves { "serving" } else { &self.state }
    }

    /// Why it failed, or what its commit says.
    pub fn remark(&self) -> Option<&str> {
        self.why.as_deref().or(self.title.as_deref())
    }
}

view!(
    /// A template.
    Template { id: String, name: String, image: String, args: String, disk: u32, env: BTreeMap<String, String>,
        ports: Vec<String>, registry: Option<String>, category: String, }
);
view!(
    /// A network volume.
    Volume { id: String, name: String, size: u32, data_center: String, #[serde(rename = "type")] kind: String,
        used: Option<VolumeUse>, }
);
view!(
    /// What a network volume holds on the disk.
    VolumeUse { bytes: u64, more: bool, }
);
view!(
    /// A kind of GPU.
    GpuKind { id: String, pool: Option<String>, memory: u32, price: Price, max_count: MaxCount,
        availability: Option<String>, }
);
view!(
    /// What an hour costs.
    Price { serverless: f64, serverless_per_vcpu: f64, }
);
view!(
    /// How many there are.
    MaxCount { secure: u32, }
);
view!(
    /// A flavour of processors.
    Cpu { id: String, name: String, vcpu: Range, ram_gb_per_vcpu: f64, price: Price,
        availability: Option<String>, }
);
view!(
    /// From and to.
    Range { min: u32, max: u32, }
);
view!(
    /// A data centre.
    DataCenter { id: String, name: String, network_volume_types: Vec<String>, }
);
view!(
    /// Something changed.
    Event { at: i64, kind: String, endpoint: Option<String>, endpoint_name: Option<String>, worker: Option<String>, }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_sdk_are_shown_as_their_message() {
        let said = |message: &str| Record { message: message.to_owned(), ..Record::default() }.said();
        assert_eq!(said(r#"{"requestId": null, "message": "Started.", "level": "INFO"}"#), "Started.");
        assert_eq!(said("10%\r50%\rdone\r\nand more"), "done\nand more");
        for other in [r#"{"message": "mine", "user": 1}"#, "{not json", "plain"] {
            assert_eq!(said(other), other);
        }
    }
}
