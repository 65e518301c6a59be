//! The settings of endpoints, as they are shown and as they are asked for.

use serde_json::Value;

use super::shape::{
    about, any, either, flag, form, list, number, object, or_null, request, small, text, within, word,
};

const WEEK_MS: i64 = 604_800_000;

/// As they are shown: every one of them.
pub(super) fn answer() -> Value {
    object(fields().map(|(name, _, shown)| (name, shown)))
}

/// As they come: any of them; null gives a part of a group back to what is usual.
pub(super) fn asked() -> Value {
    let mut asked = request(fields().map(|(name, asked, _)| (name, asked)));
    if let Some(asked) = asked.as_object_mut() {
        asked.remove("required");
    }
    asked
}

/// Name, as it is asked for, as it is shown.
fn fields() -> [(&'static str, Value, Value); 25] {
    let same = |name: &'static str, schema: Value| (name, schema.clone(), schema);
    [
        same("workers_min", within(0, 1_000)),
        same("workers_max", within(0, 1_000)),
        same("idle_timeout_s", within(1, 3_600)),
        same("scaler", scaler()),
        same("execution_timeout_ms", about(within(0, WEEK_MS), "5000 at least; 0: no limit")),
        same("ttl_ms", within(10_000, WEEK_MS)),
        same("start_timeout_s", within(1, 7_200)),
        same("requeues", within(0, 20)),
        same("retention_ms", within(1_000, 2_592_000_000)),
        same("queue_limit", small()),
        ("rates", rates(true), rates(false)),
        same("gpus", gpus()),
        same("flash_boot", word(&["off", "on", "priority"])),
        same("input_limit_bytes", about(within(0, 1 << 30), "1024 at least; 0: the server's own")),
        same("output_limit_bytes", about(within(0, 1 << 30), "1024 at least; 0: the server's own")),
        same("cors", list(text())),
        same("concurrency", within(1, 1_000)),
        same("prefetch", word(&["auto", "off"])),
        same("stop_grace_ms", within(0, 600_000)),
        same("replace_grace_ms", within(0, 3_600_000)),
        ("rollout", rollout(true), rollout(false)),
        ("container", container(true), container(false)),
        same("network_volume", or_null(text())),
        same("log_level", word(&["debug", "info", "warn", "error"])),
        same("log_retention_ms", within(3_600_000, 31_536_000_000)),
    ]
}

/// How many GPUs, and of which types.
pub(super) fn gpus() -> Value {
    let words = "how many; or a text as \"2x24GB\", or a list of them, the most wanted first";
    about(either(&[within(0, 64), text(), list(text())]), words)
}

fn scaler() -> Value {
    let words = "QUEUE_DELAY: 0.5 to 3600 seconds; REQUEST_COUNT: 1 to 10000 requests";
    about(request([("type", word(&["QUEUE_DELAY", "REQUEST_COUNT"])), ("value", number())]), words)
}

/// How often a key may call, by groups of operations.
pub(super) fn rates(asked: bool) -> Value {
    let rate = about(form("^[0-9]{1,9}(/[0-9]{1,9})?$"), "calls in ten seconds / at once; 0: no limit");
    let rate = if asked { or_null(either(&[rate, small()])) } else { rate };
    let names = ["run?", "runsync?", "status?", "cancel?", "purge?", "requests?", "openai?", "batch?"];
    request(names.map(|name| (name, rate.clone())))
}

fn rollout(asked: bool) -> Value {
    let portion = || either(&[within(0, 1_000), form("^(100|[1-9]?[0-9])%$")]);
    part(
        asked,
        [
            ("surge", portion()),
            ("max_unavailable", portion()),
            ("watch_ms", within(0, WEEK_MS)),
            ("failed_starts", small()),
            ("error_margin", within(0, 100)),
            ("error_jobs", small()),
            ("canary_ms", within(0, WEEK_MS)),
            ("canary_jobs", small()),
        ],
    )
}

fn container(asked: bool) -> Value {
    let volume =
        if asked { any() } else { object([("name", text()), ("path", text()), ("read_only", flag())]) };
    part(
        asked,
        [
            ("cpu_millis", small()),
            ("memory_mib", small()),
            ("pids", small()),
            ("shm_mib", small()),
            ("volumes", list(volume)),
            ("registry", text()),
        ],
    )
}

/// A group: whole where it is shown, any part of it where it is asked for.
fn part<const N: usize>(asked: bool, fields: [(&str, Value); N]) -> Value {
    let mut group = if asked { request(fields) } else { object(fields) };
    if let (true, Some(group)) = (asked, group.as_object_mut()) {
        group.remove("required");
    }
    group
}
