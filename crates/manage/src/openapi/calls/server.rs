//! The server itself. What is the operator's is answered in the crate `server`.

use runyard_domain::Access::{Admin, Read};

use super::super::operation::{Door, Operation};
use super::super::shape::{any, bytes, flag, list, named, object, request, text, word};
use super::{Tagged, by};
use crate::{disk, openapi};

const PROBE: Door = Door::Nowhere("probes ask it; `doctor` asks more");

pub(super) fn server() -> Tagged {
    let value = object([
        ("key", text()),
        ("value", text()),
        ("source", word(&["default", "file", "environment", "flag"])),
    ]);
    let backup = request([("logs?", flag()), ("wrapping?", any()), ("to?", text())]);
    let health = |call, id, words| {
        Operation::new(call, id, None, PROBE, words).answers(named("Health")).answers_as(
            200,
            "text/plain",
            text(),
        )
    };
    let all = vec![
        Operation::new("GET /api/v1/info", "getInfo", Read, by("doctor"), "What the server is")
            .answers(named("Info")),
        Operation::new(
            "GET /api/v1/config",
            "getConfig",
            Admin,
            by("config"),
            "Its configuration, and where from",
        )
        .answers(object([("values", list(value))])),
        Operation::new(
            "GET /api/v1/disk",
            "getDisk",
            Admin,
            by("disk"),
            "What takes space, and what would go",
        )
        .answers(named("Disk")),
        Operation::new("POST /api/v1/disk/prune", "pruneDisk", Admin, by("disk prune"), "Has it go now")
            .takes::<disk::Prune>(request([("dryRun?", flag())]))
            .answers(named("Disk"))
            .conflicts(),
        Operation::new(
            "GET /api/v1/doctor",
            "examine",
            Admin,
            by("doctor"),
            "Some thirty checks of everything",
        )
        .answers(named("Doctor")),
        Operation::new(
            "POST /api/v1/backup",
            "backUp",
            Admin,
            by("backup create"),
            "An archive of the data directory",
        )
        .takes_bytes("application/json", backup)
        .answers_as(200, "application/x-tar", bytes())
        .conflicts(),
        Operation::new(
            "GET /metrics",
            "scrape",
            Read,
            Door::Nowhere("Prometheus reads it; `metrics` shows the same"),
            "Every series as Prometheus reads it; programs of this machine need no key",
        )
        .answers_as(200, "text/plain", text())
        .answers_as(200, "application/openmetrics-text", text()),
        Operation::new(openapi::CALL, "getDocument", None, by("openapi"), "This document").answers(any()),
        health("GET /healthz", "isAlive", "Whether the server lives"),
        health("GET /readyz", "isReady", "Whether it can do its work").answers_as(
            503,
            "application/json",
            named("Health"),
        ),
    ];
    ("server", all)
}
