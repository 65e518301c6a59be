//! What endpoints share, who may do what, and the server itself.

use serde_json::Value;

use super::super::settings;
use super::super::shape::{
    any, flag, list, map, named, number, object, or_null, small, text, time, whole, word,
};

pub(super) fn all() -> [(&'static str, Value); 21] {
    [
        ("Secret", secret()),
        ("SecretUse", secret_use()),
        ("Key", key()),
        ("Member", member()),
        ("Caller", caller()),
        ("Registry", registry()),
        ("Audit", audit()),
        ("Disk", disk()),
        ("Info", info()),
        ("Doctor", doctor()),
        ("Health", health()),
        ("Template", template()),
        ("NetworkVolume", volume()),
        ("SshKeys", object([("keys", list(text()))])),
        ("Gpu", gpu()),
        ("Cpu", cpu()),
        ("DataCenter", center()),
        ("Billing", billing()),
        ("Example", example()),
        ("CatalogEntry", entry()),
        ("CatalogVariable", variable()),
    ]
}

fn secret() -> Value {
    object([
        ("name", text()),
        ("description", or_null(text())),
        ("version", small()),
        ("createdAt", time()),
        ("updatedAt", time()),
        ("usedAt", or_null(time())),
        ("usedBy", list(named("SecretUse"))),
        ("created?", flag()),
        ("restarting?", list(object([("endpoint", text()), ("endpointName", text()), ("workers", whole())]))),
    ])
}

fn secret_use() -> Value {
    object([
        ("endpoint", text()),
        ("endpointName", text()),
        ("variables", list(text())),
        ("releases", list(small())),
        ("workers", whole()),
    ])
}

/// What a key may do.
pub(in crate::openapi) fn access() -> Value {
    word(&["read", "run", "deploy", "admin"])
}

/// What a key for pages is held to.
pub(in crate::openapi) fn page() -> Value {
    let operations = list(word(&["run", "runsync", "status", "stream", "cancel"]));
    object([("operations?", operations), ("origins?", list(text()))])
}

fn key() -> Value {
    let of = object([("id", text()), ("email", or_null(text())), ("role", or_null(role()))]);
    object([
        ("id", text()),
        ("name", text()),
        ("access", word(&["none", "read", "run", "deploy", "admin"])),
        ("endpoints", list(text())),
        ("endpointNames", list(text())),
        ("grants", map(access())),
        ("rates", settings::rates(false)),
        ("page", or_null(page())),
        ("state", word(&["valid", "disabled", "expired", "revoked"])),
        ("createdAt", time()),
        ("expiresAt", or_null(time())),
        ("disabledAt", or_null(time())),
        ("revokedAt", or_null(time())),
        ("usedAt", or_null(time())),
        ("member", or_null(of)),
        ("session", flag()),
        ("key?", text()),
    ])
}

fn member() -> Value {
    object([
        ("id", text()),
        ("email", text()),
        ("name", text()),
        ("role", role()),
        ("state", word(&["active", "disabled"])),
        ("createdAt", time()),
        ("createdBy", text()),
        ("disabledAt", or_null(time())),
        ("signedInAt", or_null(time())),
        ("keys", whole()),
        ("sessions", whole()),
        ("key?", text()),
    ])
}

/// What a member may do.
pub(in crate::openapi) fn role() -> Value {
    word(&["basic", "billing", "dev", "admin"])
}

/// Who calls.
fn caller() -> Value {
    object([
        ("who", text()),
        ("name", or_null(text())),
        ("access", access()),
        ("endpoints", list(text())),
        ("everyEndpoint", flag()),
        ("billing", flag()),
        ("session", flag()),
        ("expiresAt", or_null(time())),
        ("member", or_null(named("Member"))),
        ("csrf", or_null(text())),
    ])
}

fn registry() -> Value {
    object([
        ("name", text()),
        ("server", text()),
        ("username", text()),
        ("createdAt", time()),
        ("createdBy", text()),
        ("usedBy", list(text())),
        ("login?", object([("state", word(&["accepted", "refused", "unknown"])), ("message", text())])),
    ])
}

fn audit() -> Value {
    object([
        ("seq", whole()),
        ("at", time()),
        ("who", text()),
        ("whoName", or_null(text())),
        ("member", or_null(text())),
        ("from", or_null(text())),
        ("action", text()),
        ("endpoint", or_null(text())),
        ("endpointName", or_null(text())),
        ("subject", or_null(text())),
        ("changes", list(named("FieldChange"))),
    ])
}

fn disk() -> Value {
    let item = object([("name", text()), ("bytes", whole()), ("goes", flag()), ("why", text())]);
    let account = object([
        ("kind", text()),
        ("unknown", or_null(text())),
        ("bytes", whole()),
        ("things", whole()),
        ("goesBytes", whole()),
        ("goesThings", whole()),
        ("items", list(item)),
    ]);
    object([
        ("bytes", whole()),
        ("goesBytes", whole()),
        ("freeBytes?", or_null(whole())),
        ("dryRun?", flag()),
        ("accounts", list(account)),
    ])
}

fn info() -> Value {
    let disk = object([
        ("full", flag()),
        ("freeBytes", or_null(whole())),
        ("reserveBytes", or_null(whole())),
        ("reserveLeftBytes", or_null(whole())),
    ]);
    object([
        ("version", text()),
        ("pid", whole()),
        ("data", text()),
        ("listen", text()),
        ("url", text()),
        ("open", flag()),
        ("offline", flag()),
        ("draining", flag()),
        ("boundary", text()),
        ("gpus", small()),
        ("disk", disk),
        ("startedAt", time()),
    ])
}

fn doctor() -> Value {
    let check = object([
        ("check", text()),
        ("verdict", word(&["ok", "warn", "fail"])),
        ("found", text()),
        ("meaning", or_null(text())),
        ("advice", or_null(text())),
    ]);
    object([("version", text()), ("now", time()), ("checks", list(check))])
}

fn health() -> Value {
    object([("status", word(&["ok", "unavailable"])), ("parts", map(text())), ("detail?", text())])
}

fn template() -> Value {
    let disk = object([("size", small()), ("path", text())]);
    object([
        ("id", text()),
        ("name", text()),
        ("image", text()),
        ("args", text()),
        ("disk", small()),
        ("env", map(text())),
        ("ports", list(text())),
        ("registry", or_null(text())),
        ("mounts", object([("persistent?", disk)])),
        ("serverless", flag()),
        ("public", flag()),
        ("category", word(&["CPU", "NVIDIA", "AMD"])),
        ("startSsh", flag()),
        ("startJupyter", flag()),
        ("allowedCudaVersions", list(text())),
    ])
}

fn volume() -> Value {
    object([
        ("id", text()),
        ("name", text()),
        ("size", small()),
        ("dataCenter", text()),
        ("type", word(&["STANDARD", "HIGH_PERFORMANCE"])),
        ("used?", object([("bytes", whole()), ("files", whole()), ("more", flag()), ("measuredAt", time())])),
    ])
}

fn here() -> Value {
    list(object([("id", text()), ("name", text()), ("availability", level())]))
}

fn level() -> Value {
    word(&["NONE", "LOW", "MEDIUM", "HIGH"])
}

fn gpu() -> Value {
    object([
        ("id", text()),
        ("name", text()),
        ("pool", or_null(text())),
        ("manufacturer", text()),
        ("memory", whole()),
        ("secure", flag()),
        ("community", flag()),
        ("price", object([("secure", number()), ("community", number()), ("serverless", number())])),
        ("maxCount", object([("secure", small()), ("community", small())])),
        ("availability?", level()),
        ("dataCenters?", here()),
        ("cudaVersions?", list(object([("version", text()), ("available", flag())]))),
    ])
}

fn cpu() -> Value {
    object([
        ("id", text()),
        ("name", text()),
        ("group", text()),
        ("vcpu", object([("min", small()), ("max", small())])),
        ("ramGbPerVcpu", number()),
        ("price", object([("securePerVcpu", number()), ("serverlessPerVcpu", number())])),
        ("availability?", level()),
        ("dataCenters?", here()),
    ])
}

fn center() -> Value {
    object([
        ("id", text()),
        ("name", text()),
        ("region", text()),
        ("globalNetwork", flag()),
        ("networkVolumeTypes", list(text())),
        ("compliance", list(text())),
        ("gpuAvailability?", here()),
        ("cpuAvailability?", here()),
    ])
}

fn billing() -> Value {
    let metadata = object([
        ("recordCount", whole()),
        ("totals", map(number())),
        ("query", map(or_null(text()))),
        ("uniquePodCount?", whole()),
        ("uniqueServerlessCount?", whole()),
        ("uniqueNetworkVolumeCount?", whole()),
    ]);
    object([("records", list(any())), ("metadata", metadata)])
}

fn example() -> Value {
    object([
        ("name", text()),
        ("source", word(&["saved", "release"])),
        ("by", or_null(text())),
        ("updatedAt", or_null(time())),
        ("input", any()),
    ])
}

fn entry() -> Value {
    let preset = object([("name", text()), ("values", map(text()))]);
    object([
        ("name", text()),
        ("source", text()),
        ("problem", or_null(text())),
        ("title", text()),
        ("description", text()),
        ("category", text()),
        ("container", flag()),
        ("gpus", any()),
        ("gpuIds", or_null(text())),
        ("diskGb", or_null(small())),
        ("cudaVersions", list(text())),
        ("fits", flag()),
        ("whyNot", or_null(text())),
        ("env", list(named("CatalogVariable"))),
        ("presets", list(preset)),
        ("remarks", list(text())),
        ("readme?", or_null(text())),
    ])
}

fn variable() -> Value {
    let option = object([("label", text()), ("value", text())]);
    let input = object([
        ("label", text()),
        ("type", word(&["string", "number", "boolean", "huggingface"])),
        ("help", text()),
        ("default", or_null(text())),
        ("required", flag()),
        ("advanced", flag()),
        ("min", or_null(number())),
        ("max", or_null(number())),
        ("trueValue", or_null(text())),
        ("falseValue", or_null(text())),
        ("options", list(option)),
    ]);
    object([("name", text()), ("value", or_null(text())), ("input", or_null(input))])
}
