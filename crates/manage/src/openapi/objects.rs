//! The objects that answers hold, as `docs/api.md` describes them.

mod jobs;
pub(super) mod shared;

use serde_json::{Map, Value, json};

use super::settings;
use super::shape::{
    any, flag, form, list, map, named, number, object, or_null, small, text, time, whole, word,
};

/// Every one by name.
pub(super) fn all() -> Map<String, Value> {
    let own = [
        ("Problem", problem()),
        ("Settings", settings::answer()),
        ("Endpoint", endpoint()),
        ("Release", release()),
        ("Rollout", rollout()),
        ("Reason", reason()),
        ("FieldChange", changed()),
        ("Plan", plan()),
        ("EndpointChange", endpoint_change()),
        ("Step", step()),
        ("Connection", connection()),
        ("Build", build()),
    ];
    let all = own.into_iter().chain(jobs::all()).chain(shared::all());
    all.map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// Stable codes of problems; each has a page in `docs/errors`.
const CODES: [&str; 17] = [
    "body_timeout",
    "conflict",
    "disk_full",
    "draining",
    "forbidden",
    "internal",
    "invalid",
    "method_not_allowed",
    "not_found",
    "overloaded",
    "precondition_failed",
    "queue_full",
    "rate_limited",
    "secret_missing",
    "stale_plan",
    "too_large",
    "unauthorized",
];

fn problem() -> Value {
    object([
        ("type", form("^https://runyard\\.dev/errors/[a-z_]+$")),
        ("title", text()),
        ("status", whole()),
        ("code", word(&CODES)),
        ("detail", text()),
        ("hint", or_null(text())),
        ("errors?", list(text())),
    ])
}

fn endpoint() -> Value {
    let states = ["new", "ready", "asleep", "starting", "busy", "failing", "stopped", "no_gpu"];
    object([
        ("id", text()),
        ("name", text()),
        ("createdAt", time()),
        ("url", text()),
        ("serving", or_null(small())),
        ("settings", named("Settings")),
        ("state", word(&states)),
        ("stateMessage", text()),
        ("rollout", named("Rollout")),
        (
            "managed",
            or_null(object([
                ("by", text()),
                ("at", time()),
                ("release", or_null(small())),
                ("container?", any()),
            ])),
        ),
        (
            "workers",
            object([("starting", small()), ("idle", small()), ("running", small()), ("draining", small())]),
        ),
        (
            "jobs",
            object([
                ("waiting", whole()),
                ("running", whole()),
                ("completed", whole()),
                ("failed", whole()),
                ("cancelled", whole()),
                ("retried", whole()),
            ]),
        ),
    ])
}

fn release() -> Value {
    let image = object([
        ("name", text()),
        ("id", text()),
        ("digest", or_null(text())),
        ("engine", text()),
        ("registry?", text()),
        ("entrypoint", or_null(list(text()))),
        ("command", or_null(list(text()))),
    ]);
    let commit = object([
        ("id", text()),
        ("message", text()),
        ("author", text()),
        ("committedAt", time()),
        ("reference", text()),
        ("repository", or_null(text())),
    ]);
    object([
        ("number", small()),
        ("state", word(&["building", "testing", "ready", "failed"])),
        ("serving", flag()),
        ("createdAt", time()),
        ("createdBy", text()),
        ("handler", text()),
        ("image", or_null(image)),
        ("bundle", text()),
        ("python", text()),
        ("pythonWish", or_null(object([("version?", text()), ("requirements?", text())]))),
        ("env", map(text())),
        ("secureEnv", list(text())),
        ("envRead", list(text())),
        ("gpus", settings::gpus()),
        ("container", or_null(map(any()))),
        ("networkVolume", or_null(text())),
        ("note", or_null(text())),
        ("commit", or_null(commit)),
        ("tookMs", or_null(whole())),
        ("reason", or_null(named("Reason"))),
        ("workerCount", whole()),
        ("canary", flag()),
        ("kept", flag()),
        ("withdrawn?", object([("at", time()), ("why", text())])),
    ])
}

fn rollout() -> Value {
    let worker = object([("id", text()), ("release", small()), ("leaves", flag())]);
    object([
        ("inProgress", flag()),
        ("workersOnLatest", small()),
        ("workersTotal", small()),
        ("percentOnLatest", small()),
        ("stage?", word(&["canary", "rolling", "watched"])),
        ("to?", small()),
        ("from?", list(small())),
        ("startedAt?", time()),
        ("endsAt?", or_null(time())),
        ("canaryPercent?", or_null(small())),
        ("workers?", list(worker)),
    ])
}

/// Why something waits or failed.
fn reason() -> Value {
    object([
        ("code", text()),
        ("message", text()),
        ("lastLines?", list(text())),
        ("usualMs?", whole()),
        ("usualStarts?", whole()),
    ])
}

fn changed() -> Value {
    object([("field", text()), ("old", any()), ("new", any())])
}

fn plan() -> Value {
    let change = object([
        ("path", text()),
        ("old", any()),
        ("new", any()),
        ("makesRelease", flag()),
        ("drift", flag()),
    ]);
    let not_applied = object([("path", text()), ("value", any()), ("why", text())]);
    object([
        ("plan", text()),
        ("name", text()),
        ("endpoint", or_null(text())),
        ("notApplied", list(not_applied)),
        ("costPerHour", object([("old", or_null(cost())), ("new", cost())])),
        ("action", word(&["create", "update", "none"])),
        ("makesRelease", flag()),
        ("replacesWorkers", flag()),
        ("changes", list(change)),
        ("warnings", list(text())),
    ])
}

/// What an endpoint costs for an hour, by the configured prices.
fn cost() -> Value {
    object([
        ("workersMin", small()),
        ("workersMax", small()),
        ("worker", or_null(number())),
        ("min", or_null(number())),
        ("max", or_null(number())),
        ("unknown", or_null(text())),
    ])
}

/// What a change of an endpoint would do.
fn endpoint_change() -> Value {
    let change = object([("field", text()), ("old", any()), ("new", any()), ("makesRelease", flag())]);
    object([
        ("plan", text()),
        ("name", text()),
        ("changes", list(change)),
        ("makesRelease", flag()),
        ("restarts", list(text())),
        ("stops", small()),
        ("says", text()),
        ("warnings", list(text())),
    ])
}

/// A line of a deploy: a step, or how it ended.
fn step() -> Value {
    object([
        ("step?", word(&["file", "environment", "release", "test", "traffic", "rollout", "settings"])),
        ("state?", word(&["running", "done", "failed", "skipped", "output"])),
        ("message?", text()),
        ("ms?", or_null(whole())),
        ("detail?", any()),
        ("done?", json!({"const": true})),
        ("ok?", flag()),
        ("release?", or_null(small())),
        ("url?", or_null(text())),
        ("serving?", or_null(small())),
        ("reason?", or_null(named("Reason"))),
    ])
}

fn connection() -> Value {
    let preview = object([
        ("number", whole()),
        ("branch", text()),
        ("endpoint", or_null(text())),
        ("endpointName", or_null(text())),
    ]);
    object([
        ("id", text()),
        ("endpoint", text()),
        ("endpointName", or_null(text())),
        ("from", word(&["remote", "pushed"])),
        ("url", text()),
        ("branch?", text()),
        ("on?", word(&["push", "tag", "release"])),
        ("path", or_null(text())),
        ("dockerfile", or_null(text())),
        ("handler", or_null(text())),
        ("env", map(text())),
        ("secureEnv", list(text())),
        ("environment", or_null(text())),
        ("api?", or_null(text())),
        ("pollS?", small()),
        ("pullRequests?", flag()),
        ("access?", word(&["open", "token", "key"])),
        ("webhook?", object([("url", text()), ("secret?", text())])),
        ("trouble", or_null(text())),
        ("previews", list(preview)),
        ("builds", list(named("Build"))),
        ("createdAt", time()),
        ("createdBy", text()),
    ])
}

fn build() -> Value {
    object([
        ("number", whole()),
        ("commit", text()),
        ("reference", text()),
        ("title", or_null(text())),
        ("author", or_null(text())),
        ("state", word(&["queued", "building", "deployed", "failed", "superseded"])),
        ("why", or_null(text())),
        ("release", or_null(small())),
        ("serves", flag()),
        ("queuedAt", time()),
        ("startedAt", or_null(time())),
        ("endedAt", or_null(time())),
        ("ms", or_null(whole())),
        ("told", or_null(text())),
    ])
}
