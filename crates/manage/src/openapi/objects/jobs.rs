//! Jobs, workers, and what is told of them.

use serde_json::Value;

use super::super::shape::{any, flag, list, named, number, object, or_null, small, text, time, whole, word};

pub(super) fn all() -> [(&'static str, Value); 11] {
    [
        ("Job", job([])),
        ("JobWithPayloads", job([("input", any()), ("output", any()), ("webhooks", list(named("Webhook")))])),
        ("Why", why()),
        ("Timeline", timeline()),
        ("FailureGroup", failure_group()),
        ("Webhook", webhook()),
        ("WebhookSecret", webhook_secret()),
        ("Worker", worker()),
        ("Stats", stats()),
        ("Record", record()),
        ("Metrics", metrics()),
    ]
}

/// A job, with these fields more.
fn job<const N: usize>(more: [(&str, Value); N]) -> Value {
    let states = ["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"];
    let mut job = object([
        ("id", text()),
        ("endpoint", text()),
        ("endpointName", or_null(text())),
        ("status", word(&states)),
        ("submittedAt", time()),
        ("submittedBy", text()),
        ("startedAt", or_null(time())),
        ("endedAt", or_null(time())),
        ("delayMs", or_null(whole())),
        ("executionMs", or_null(whole())),
        ("attempt", small()),
        ("retries", small()),
        ("worker", or_null(text())),
        ("release", or_null(small())),
        ("sdk", or_null(text())),
        ("queue?", object([("position", whole())])),
        ("reason?", named("Reason")),
        ("error?", any()),
        ("test", flag()),
        ("webhook", or_null(text())),
    ]);
    for (name, schema) in more {
        job["properties"][name] = schema;
        if let Some(required) = job["required"].as_array_mut() {
            required.push(name.into());
        }
    }
    job
}

fn why() -> Value {
    let cause = object([("code", text()), ("sentence", text()), ("lastLines", list(text()))]);
    let like = object([
        ("fingerprint", text()),
        ("others", whole()),
        ("firstAt", time()),
        ("firstRelease", or_null(small())),
        ("deployedAt", or_null(time())),
        ("deployedBy", or_null(text())),
        ("sentence", text()),
    ]);
    object([
        ("about", text()),
        ("status", text()),
        ("sentence", or_null(text())),
        ("code", or_null(text())),
        ("causes", list(cause)),
        ("hints", list(text())),
        ("waitingMs?", whole()),
        ("like?", like),
    ])
}

fn timeline() -> Value {
    let names = [
        "submitted",
        "draft",
        "queued",
        "worker.schedule",
        "worker.image",
        "worker.launch",
        "worker.load",
        "run",
        "result.upload",
        "webhook",
        "webhook.wait",
    ];
    let span = object([
        ("name", word(&names)),
        ("start", time()),
        ("end", or_null(time())),
        ("state", word(&["ok", "bad", "open"])),
        ("attempt", or_null(small())),
        ("worker", or_null(text())),
        ("note", or_null(text())),
        ("usualMs", or_null(whole())),
    ]);
    object([
        ("job", text()),
        ("status", text()),
        ("from", time()),
        ("to", or_null(time())),
        ("now", time()),
        ("spans", list(span)),
    ])
}

fn failure_group() -> Value {
    let release = object([("release", small()), ("count", whole())]);
    object([
        ("fingerprint", text()),
        ("code", text()),
        ("title", text()),
        ("sentence", text()),
        ("count", whole()),
        ("firstAt", time()),
        ("lastAt", time()),
        ("firstRelease", or_null(small())),
        ("releases", list(release)),
        ("job", text()),
    ])
}

fn webhook() -> Value {
    let tried =
        object([("at", time()), ("status", or_null(small())), ("error", or_null(text())), ("ms", whole())]);
    object([
        ("id", text()),
        ("url", text()),
        ("state", word(&["pending", "delivered", "given_up"])),
        ("tried", small()),
        ("nextAt", or_null(time())),
        ("endedAt", or_null(time())),
        ("tries", list(tried)),
    ])
}

fn webhook_secret() -> Value {
    let replaced = object([("secret", text()), ("endsAt", time())]);
    object([("secret", or_null(text())), ("replaced?", or_null(replaced))])
}

fn worker() -> Value {
    let phase = object([
        ("phase", word(&["image", "launch", "load"])),
        ("from", time()),
        ("to", or_null(time())),
        ("usualMs", or_null(whole())),
    ]);
    let start = object([
        ("level", word(&["cold", "prepared"])),
        ("phases", list(phase)),
        ("usualMs", or_null(whole())),
        ("usualStarts", or_null(whole())),
    ]);
    let exit = object([
        ("code", or_null(whole())),
        ("signal", or_null(whole())),
        ("outOfMemory", flag()),
        ("fault", or_null(text())),
        ("lastLines", list(text())),
        ("message", text()),
    ]);
    object([
        ("id", text()),
        ("endpoint", text()),
        ("endpointName", or_null(text())),
        ("release", small()),
        ("state", word(&["starting", "idle", "running", "draining", "gone"])),
        ("cause", text()),
        ("gpus", list(any())),
        ("gpuType", or_null(text())),
        ("pid", or_null(whole())),
        ("sdk", or_null(text())),
        ("jobs", list(text())),
        ("createdAt", time()),
        ("startedAt", or_null(time())),
        ("readyAt", or_null(time())),
        ("start", start),
        ("idleSince", or_null(time())),
        ("endedAt", or_null(time())),
        ("exit", or_null(exit)),
        ("stopCause", or_null(text())),
    ])
}

fn stats() -> Value {
    let count = || or_null(whole());
    object([
        ("worker", text()),
        ("endpoint", text()),
        ("endpointName", or_null(text())),
        ("kind", word(&["process", "container", "other"])),
        ("at", time()),
        ("cpuPercent", or_null(number())),
        ("memoryBytes", count()),
        ("memoryLimitBytes", count()),
        ("pids", count()),
        ("receivedBytes", count()),
        ("sentBytes", count()),
        ("readBytes", count()),
        ("writtenBytes", count()),
    ])
}

fn metrics() -> Value {
    let points = || list(or_null(number()));
    let series = object([
        ("name", text()),
        ("kind", word(&["counter", "gauge", "histogram"])),
        ("unit", text()),
        ("help", text()),
        ("whole", series_whole()),
        ("before", or_null(series_whole())),
        ("count?", list(whole())),
        ("average?", points()),
        ("p50?", points()),
        ("p70?", points()),
        ("p90?", points()),
        ("p98?", points()),
        ("max?", points()),
    ]);
    object([
        ("of", word(&["endpoint", "worker", "gpu", "server"])),
        ("endpoint?", text()),
        ("endpointName?", or_null(text())),
        ("worker?", text()),
        ("gpu?", small()),
        ("since", time()),
        ("until", time()),
        ("stepSeconds", whole()),
        ("at", list(time())),
        ("before", or_null(object([("since", time()), ("until", time())]))),
        ("series", list(series)),
    ])
}

/// A series over the whole of a range, by its kind.
fn series_whole() -> Value {
    let value = || or_null(number());
    object([
        ("count?", whole()),
        ("sum?", number()),
        ("average?", value()),
        ("p50?", value()),
        ("p70?", value()),
        ("p90?", value()),
        ("p98?", value()),
        ("max?", value()),
    ])
}

fn record() -> Value {
    object([
        ("at", time()),
        ("seq", whole()),
        ("endpoint", text()),
        ("worker?", or_null(text())),
        ("release", or_null(small())),
        ("source", word(&["stdout", "stderr", "system", "build"])),
        ("level?", or_null(word(&["debug", "info", "warn", "error"]))),
        ("job?", or_null(text())),
        ("message", text()),
        ("attempt?", small()),
        ("inferred?", flag()),
        ("partial?", flag()),
        ("gap?", whole()),
        ("raw?", text()),
    ])
}
