//! The file as it is written. Every key is optional; one that there is not is refused where it stands. The comments are
//! what editors show of each key.

use std::collections::BTreeMap;

use runyard_domain::LogLevel;
use runyard_domain::rollout::Portion;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use runyard_domain::{FlashBoot, Origin};

use crate::units::{Bytes, GpuWish, Size, Span};

/// An endpoint: its code, how it runs, how it scales.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "the keys of runyard.toml")]
pub(crate) struct File {
    /// The endpoint's name; else the folder's.
    pub(crate) name: Option<String>,
    /// What it takes.
    #[serde(rename = "type")]
    pub(crate) kind: Option<Kind>,
    /// What is run: at most one of `handler`, `dockerfile` and `image`.
    pub(crate) build: Build,
    /// What each worker gets.
    pub(crate) run: Run,
    /// How many workers there are.
    pub(crate) scale: Scale,
    /// What jobs and workers may take.
    pub(crate) limits: Limits,
    /// What pages in browsers may do.
    pub(crate) web: Web,
    /// How releases follow each other.
    pub(crate) rollout: Rollout,
    /// Its logs.
    pub(crate) logs: Logs,
    /// What it may cost. Read and shown in plans; nothing obeys it yet.
    pub(crate) budget: Budget,
    /// Requests that a release has to answer before it gets traffic.
    pub(crate) test: Vec<Case>,
    /// What is another in an environment: `[env.staging]`, chosen by `--environment staging`.
    pub(crate) env: BTreeMap<String, Part>,
}

/// What an environment changes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "an environment, as [env.staging]; variables of workers stand in [run.env]"
)]
#[allow(dead_code, reason = "it is read for its mistakes; what counts is the file that it is laid over")]
pub(crate) struct Part {
    name: Option<String>,
    build: Build,
    run: Run,
    scale: Scale,
    limits: Limits,
    web: Web,
    rollout: Rollout,
    logs: Logs,
    budget: Budget,
    test: Vec<Case>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Jobs.
    Queue,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of keys")]
pub(crate) struct Build {
    /// The file that calls runpod.serverless.start, below the folder; else it is found.
    pub(crate) handler: Option<String>,
    /// The interpreter of a handler: "3.12", or ">=3.10,<3.13"; else what .python-version or pyproject.toml asks for.
    pub(crate) python: Option<String>,
    /// The file with a handler's requirements, below the folder; else requirements.txt, uv.lock or pyproject.toml.
    pub(crate) requirements: Option<String>,
    /// The Dockerfile, below the folder; else `Dockerfile` where there is one and no handler is named.
    pub(crate) dockerfile: Option<String>,
    /// A ready image.
    pub(crate) image: Option<String>,
    /// Values for the Dockerfile's ARGs.
    pub(crate) args: BTreeMap<String, String>,
    /// The Dockerfile's stage.
    pub(crate) target: Option<String>,
    /// The image's platform, as linux/amd64.
    pub(crate) platform: Option<String>,
    /// The registry login that images are pulled with; else that of the image's registry.
    pub(crate) registry: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of keys")]
pub(crate) struct Run {
    /// GPUs of each worker: a number, "none", "any", "24GB", "rtx4090", "2x24GB", a pool as "ADA_24"; or a list, most
    /// wanted first.
    pub(crate) gpu: Option<GpuWish>,
    /// Which idle workers give their GPUs to other endpoints first: those that are "off", then "on", then "priority".
    #[schemars(schema_with = "flashboot")]
    pub(crate) flashboot: Option<FlashBoot>,
    /// Environment variables that everybody may see.
    pub(crate) env: BTreeMap<String, String>,
    /// Secrets of the server by their names; workers get each as the variable of that name.
    pub(crate) secrets: Vec<String>,
    /// Volumes of containers: name = "/path", or "/path:ro".
    pub(crate) volumes: BTreeMap<String, String>,
    /// The id of the network volume that workers see.
    pub(crate) network_volume: Option<String>,
    /// Processors of a container, as 1.5.
    pub(crate) cpu: Option<f64>,
    /// Memory of a container.
    pub(crate) memory: Option<Size>,
    /// Shared memory of a container.
    pub(crate) shm: Option<Size>,
    /// Processes and threads of a container.
    pub(crate) pids: Option<u32>,
    /// What is run instead of the image's entrypoint.
    pub(crate) entrypoint: Option<Vec<String>>,
    /// What is run instead of the image's command.
    pub(crate) command: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of keys")]
pub(crate) struct Scale {
    /// Workers that are always kept.
    pub(crate) min: Option<u32>,
    /// The most workers there may be; 0 stops the endpoint.
    pub(crate) max: Option<u32>,
    /// A worker without a job for so long is stopped.
    pub(crate) idle: Option<Span>,
    /// When a worker is added: one of `queue_delay` and `requests`.
    pub(crate) target: Target,
    /// Jobs that one worker is expected to run at once.
    pub(crate) concurrency: Option<u32>,
    /// Whether short jobs are handed out in lists.
    pub(crate) prefetch: Option<Prefetch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Prefetch {
    /// Where jobs are short and many wait.
    Auto,
    /// Never.
    Off,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of keys")]
pub(crate) struct Target {
    /// When a job has waited for so long.
    pub(crate) queue_delay: Option<Span>,
    /// So that each worker has so many jobs.
    pub(crate) requests: Option<u32>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of keys")]
pub(crate) struct Limits {
    /// The longest a handler may run; 0 means no limit.
    pub(crate) execution: Option<Span>,
    /// The longest a job may wait and run together.
    pub(crate) ttl: Option<Span>,
    /// How often a job is queued again after its worker was lost.
    pub(crate) retries: Option<u32>,
    /// How long a worker may take until it asks for its first job.
    pub(crate) start: Option<Span>,
    /// How long finished jobs are kept.
    pub(crate) result_retention: Option<Span>,
    /// The most jobs that may wait; 0 means no limit.
    pub(crate) queue: Option<u32>,
    /// The largest input of a job; 0 leaves it to the server.
    pub(crate) input: Option<Bytes>,
    /// The largest output of a job; 0 leaves it to the server.
    pub(crate) output: Option<Bytes>,
    /// How often one key may call, by group: run = "1000/200", or "off".
    pub(crate) rates: BTreeMap<String, String>,
    /// After a job was stopped, how long its worker may go on.
    pub(crate) stop_grace: Option<Span>,
    /// Where a worker is replaced to stop one job, how long its other jobs may run.
    pub(crate) replace_grace: Option<Span>,
    /// What one job may cost. Read and shown in plans; nothing obeys it yet.
    pub(crate) max_cost_per_job: Option<f64>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of keys")]
pub(crate) struct Logs {
    /// Which lines are shown where no level is asked for; all are kept.
    #[schemars(schema_with = "levels")]
    pub(crate) level: Option<LogLevel>,
    /// How long the log of a worker is kept after its end.
    pub(crate) retention: Option<Span>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of keys")]
pub(crate) struct Budget {
    /// The most for an hour.
    pub(crate) hourly: Option<f64>,
    /// The most for a day.
    pub(crate) daily: Option<f64>,
    /// The most for a week.
    pub(crate) weekly: Option<f64>,
    /// The most for a month.
    pub(crate) monthly: Option<f64>,
    /// The most for as long as the endpoint is there.
    pub(crate) lifetime: Option<f64>,
    /// What happens then.
    pub(crate) at_cap: Option<AtCap>,
    /// At which percentages somebody is told.
    pub(crate) alerts: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AtCap {
    /// Somebody is told.
    Alert,
    /// Jobs wait.
    Queue,
    /// No new jobs; those that run end by themselves.
    Drain,
    /// Everything is stopped.
    Stop,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of keys")]
pub(crate) struct Rollout {
    /// Workers beyond those that serve: a number, or "25%".
    #[schemars(schema_with = "portion")]
    pub(crate) surge: Option<Portion>,
    /// Workers that may be missing: a number, or "25%".
    #[schemars(schema_with = "portion")]
    pub(crate) max_unavailable: Option<Portion>,
    /// For so long its errors are compared with those before.
    pub(crate) watch: Option<Span>,
    /// So many failed starts in a row take traffic back; 0: none does.
    pub(crate) failed_starts: Option<u32>,
    /// By how many of a hundred jobs more may fail.
    pub(crate) error_margin: Option<u32>,
    /// So many jobs have to end before errors count; 0: they never do.
    pub(crate) error_jobs: Option<u32>,
    /// A canary is promoted or taken back after so long.
    pub(crate) canary: Option<Span>,
    /// The same after so many of its jobs.
    pub(crate) canary_jobs: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table of keys")]
pub(crate) struct Case {
    /// Its name, for messages.
    pub(crate) name: Option<String>,
    /// The job's input.
    #[schemars(schema_with = "anything")]
    pub(crate) input: Value,
    /// How long it may take.
    pub(crate) timeout: Option<Span>,
    /// What has to come of it.
    #[serde(default)]
    pub(crate) expect: Expect,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of keys")]
pub(crate) struct Expect {
    /// How it has to end; else COMPLETED.
    pub(crate) status: Option<Status>,
    /// What its output has to be; of a table, what has to be in it.
    #[schemars(schema_with = "anything")]
    pub(crate) output: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Status {
    /// The handler answered.
    Completed,
    /// The handler failed, as it should.
    Failed,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of keys")]
pub(crate) struct Web {
    /// Origins whose pages may read what the job API answers: "https://app.example", or "*" for any.
    #[schemars(with = "Option<Vec<String>>")]
    pub(crate) cors: Option<Vec<Origin>>,
}

fn flashboot(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"enum": ["off", "on", "priority"]})
}

fn portion(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+%?$"}]})
}

fn levels(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "enum": ["debug", "info", "warn", "error"]})
}

fn anything(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!(true)
}

/// Lays `over` over `base`: tables key by key, anything else as a whole. Where `over` names another source or target, that
/// of `base` is gone.
pub(crate) fn lay_over(base: &mut Table, over: Table) {
    const EITHER: [&str; 5] = ["handler", "dockerfile", "image", "queue_delay", "requests"];
    if let Some(chosen) = EITHER.iter().find(|key| over.contains_key(**key)) {
        let rivals = if EITHER[..3].contains(chosen) { &EITHER[..3] } else { &EITHER[3..] };
        base.retain(|key, _| !rivals.contains(&key));
        if matches!(*chosen, "dockerfile" | "image") {
            base.retain(|key, _| key != "python" && key != "requirements");
        }
    }
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay_over(below, above),
            (_, value) => drop(base.insert(key, value)),
        }
    }
}
