//! Jobs, the webhooks that tell of their ends, workers, and what they print.

use runyard_domain::Access::{Admin, Deploy, Read, Run};

use super::super::operation::{Door, Operation};
use super::super::shape::{
    about, any, bytes, either, flag, list, named, object, or_null, request, small, text, text_to, time,
    whole, within, word,
};
use super::{Tagged, by, page, whole_list};
use crate::{webhooks, workers};

pub(super) fn jobs() -> Tagged {
    let states = word(&["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]);
    let all = vec![
        Operation::new("GET /api/v1/jobs", "listJobs", Read, by("jobs"), "Jobs, newest first")
            .query("endpoint", text(), "only of this endpoint, by name or id")
            .query("status", states, "only in this state")
            .query("since", time(), "only those submitted at or after")
            .query("until", time(), "only those submitted before")
            .query("ended_since", time(), "only those that ended at or after")
            .query("ended_until", time(), "only those that ended before")
            .query("tests", flag(), "`false`: without tests of releases, which no series counts")
            .paged()
            .answers(page("jobs", "Job"))
            .may_fail(&[404]),
        Operation::new(
            "GET /api/v1/jobs/{id}",
            "getJob",
            Read,
            by("status"),
            "A job with its input and output",
        )
        .answers(named("JobWithPayloads")),
        Operation::new(
            "GET /api/v1/jobs/{id}/stream",
            "lookAtStream",
            Read,
            Door::Nowhere("runyard run --stream takes the parts as they come"),
            "What a handler that streams has said and nobody has taken yet; to look takes nothing away",
        )
        .answers(object([
            ("parts", list(object([("index", whole()), ("output", any())]))),
            ("more", flag()),
        ])),
        Operation::new(
            "GET /api/v1/jobs/{id}/why",
            "explainJob",
            Read,
            by("why"),
            "Why it waits, or how it ended",
        )
        .answers(named("Why")),
        Operation::new(
            "GET /api/v1/jobs/{id}/timeline",
            "showTimeline",
            Read,
            by("why"),
            "Its life as a waterfall: from its submission to its webhooks, with the starts of workers that it waited for",
        )
        .answers(named("Timeline")),
        Operation::new("POST /api/v1/jobs/{id}/cancel", "cancelJob", Run, by("cancel"), "Ends a job")
            .answers(named("Job"))
            .conflicts(),
        Operation::new("POST /api/v1/jobs/{id}/retry", "retryJob", Run, by("retry"), "Runs a job once more")
            .answers(named("Job"))
            .conflicts()
            .may_fail(&[429]),
        Operation::new(
            "POST /api/v1/jobs/{id}/token",
            "makeJobToken",
            Run,
            by("token"),
            "A token that opens this job alone: its status, stream and cancel",
        )
        .answers(object([("job", text()), ("token", text()), ("endsAt", or_null(time()))])),
        Operation::new(
            "GET /api/v1/jobs/{id}/webhooks",
            "listDeliveries",
            Read,
            by("webhooks list"),
            "The deliveries of its ends, oldest first",
        )
        .paged()
        .answers(page("webhooks", "Webhook")),
        Operation::new(
            "POST /api/v1/jobs/{id}/webhooks/redeliver",
            "redeliver",
            Run,
            by("webhooks redeliver"),
            "This delivery, else the job's last, begins anew",
        )
        .takes::<webhooks::Redeliver>(request([("id?", or_null(text()))]))
        .answers(named("Webhook"))
        .conflicts(),
        Operation::new(
            "GET /api/v1/webhooks/secret",
            "getWebhookSecret",
            Admin,
            by("webhooks secret"),
            "What receivers check signatures with",
        )
        .answers(named("WebhookSecret")),
        Operation::new(
            "POST /api/v1/webhooks/secret/rotate",
            "rotateWebhookSecret",
            Admin,
            by("webhooks secret"),
            "Another one; the one before it signs beside it for a day",
        )
        .answers(named("WebhookSecret"))
        .conflicts(),
    ];
    ("jobs", all)
}

pub(super) fn workers() -> Tagged {
    let records = object([("records", list(named("Record"))), ("more", flag())]);
    let all = vec![
        Operation::new(
            "GET /api/v1/workers",
            "listWorkers",
            Read,
            by("workers"),
            "Workers that are there, then those that ended, newest first",
        )
        .query("endpoint", text(), "only of this endpoint, by name or id")
        .query("state", word(&["starting", "idle", "running", "draining", "gone"]), "only in this state")
        .paged()
        .answers(page("workers", "Worker"))
        .may_fail(&[404]),
        Operation::new(
            "GET /api/v1/workers/stats",
            "measureWorkers",
            Read,
            by("workers stats"),
            "What they use, measured over a second",
        )
        .query("endpoint", text(), "only of this endpoint, by name or id")
        .query("worker", text(), "only of this worker")
        .answers(whole_list("stats", "Stats"))
        .may_fail(&[404]),
        Operation::new(
            "POST /api/v1/workers/{worker}/exec",
            "exec",
            Deploy,
            by("exec"),
            "Runs a command beside a worker: rows of frames in both directions",
        )
        .takes_bytes("application/vnd.runyard.session", bytes())
        .answers_as(200, "application/vnd.runyard.session", bytes())
        .conflicts(),
        Operation::new(
            "POST /api/v1/workers/{worker}/stop",
            "stopWorker",
            Deploy,
            by("workers stop"),
            "Ends a worker once its jobs are done, or now; others start as needed",
        )
        .takes::<workers::Stop>(request([("now?", flag())]))
        .answers(object([("id", text()), ("jobs", whole())]))
        .conflicts(),
        Operation::new(
            "GET /api/v1/logs",
            "readLogs",
            Read,
            by("logs"),
            "What workers printed, oldest first",
        )
        .query("endpoint", text(), "only of this endpoint, by name or id")
        .query("job", text(), "only of this job")
        .query("worker", text(), "only of this worker")
        .query("level", word(&["debug", "info", "warn", "error"]), "at least so grave")
        .query("source", word(&["stdout", "stderr", "system", "build"]), "only from there")
        .query("release", small(), "only of this release's workers")
        .query("q", text_to(1_000), "only lines with this text")
        .query("regex", text_to(1_000), "only lines that this regular expression finds")
        .query("where", text_to(1_000), "only lines whose JSON has this, as level=warn; may be repeated")
        .query("since", moment(), "only those at or after")
        .query("until", moment(), "only those at or before")
        .query("seq", small(), "only the line of this number of a worker or build")
        .query("limit", within(1, 5_000), "the newest so many")
        .query("context", within(0, 100), "so many lines around each")
        .query("build", small(), "the log of this release's build")
        .query("stream", flag(), "as they are found, newest first, one a line, with progress between")
        .query("follow", flag(), "goes on with new ones as they come, one a line")
        .answers(records)
        .answers_as(200, "application/x-ndjson", any())
        .may_fail(&[404]),
        Operation::new(
            "GET /api/v1/logs/counts",
            "countLogs",
            Read,
            by("logs"),
            "How many lines match over time, by level",
        )
        .query("endpoint", text(), "only of this endpoint, by name or id")
        .query("job", text(), "only of this job")
        .query("worker", text(), "only of this worker")
        .query("level", word(&["debug", "info", "warn", "error"]), "at least so grave")
        .query("source", word(&["stdout", "stderr", "system", "build"]), "only from there")
        .query("release", small(), "only of this release's workers")
        .query("q", text_to(1_000), "only lines with this text")
        .query("regex", text_to(1_000), "only lines that this regular expression finds")
        .query("where", text_to(1_000), "only lines whose JSON has this, as level=warn; may be repeated")
        .query("since", moment(), "from then on; an hour before the end where nothing is said")
        .query("until", moment(), "until then; now where nothing is said")
        .query("build", small(), "the log of this release's build")
        .query("steps", within(1, 240), "in so many steps; 60 where nothing is said")
        .answers(object([
            ("since", time()),
            ("until", time()),
            ("stepMs", whole()),
            ("at", list(time())),
            ("counts", counts()),
            ("lines", whole()),
            ("countedSince", time()),
            ("partial", flag()),
        ]))
        .may_fail(&[404]),
        Operation::new(
            "GET /api/v1/metrics",
            "readMetrics",
            Read,
            by("metrics"),
            "Series over a range of time, beside the range before it",
        )
        .query("endpoint", text(), "of this endpoint, by name or id; of the server where none is named")
        .query("worker", text(), "of this worker instead")
        .query("gpu", small(), "of this GPU instead")
        .query("series", text(), "only these, with commas between them")
        .query("since", time(), "from then on; an hour back where nothing is said")
        .query("until", time(), "until then; now where nothing is said")
        .query("step", within(1, 2_592_000), "the length of a step in seconds")
        .answers(named("Metrics"))
        .may_fail(&[404]),
        Operation::new(
            "GET /api/v1/metrics/each",
            "readMetricsOfEach",
            Read,
            by("metrics"),
            "The same series of many: of endpoints, of workers, or of GPUs",
        )
        .query("of", word(&["endpoint", "worker", "gpu"]), "of what; of endpoints where nothing is said")
        .query("endpoint", text(), "only of this endpoint, of its workers, or of the GPUs that those hold")
        .query("worker", text(), "only of these workers, with commas between them")
        .query("series", text(), "only these, with commas between them")
        .query("since", time(), "from then on; an hour back where nothing is said")
        .query("until", time(), "until then; now where nothing is said")
        .query("step", within(1, 2_592_000), "the length of a step in seconds")
        .paged()
        .answers(object([
            ("of", word(&["endpoint", "worker", "gpu"])),
            ("since", time()),
            ("until", time()),
            ("stepSeconds", whole()),
            ("at", list(time())),
            ("each", list(any())),
            ("nextCursor", or_null(text())),
        ]))
        .may_fail(&[404]),
        Operation::new(
            "GET /api/v1/events",
            "watch",
            Read,
            by("events"),
            "What changes, as it does, one event a line: look at the thing itself for what it is now",
        )
        .query("endpoint", text(), "only of this endpoint, by name or id")
        .answers_lines(&event())
        .may_fail(&[404]),
    ];
    ("workers", all)
}

/// Lines by level, a number for each step.
fn counts() -> serde_json::Value {
    let each = || list(whole());
    object([("debug", each()), ("info", each()), ("warn", each()), ("error", each())])
}

/// A point in time.
fn moment() -> serde_json::Value {
    about(either(&[time(), text()]), "milliseconds since 1970, or a time as 2026-01-31T00:00:00Z")
}

fn event() -> serde_json::Value {
    object([
        ("at", time()),
        ("kind", word(&["begun", "jobs", "endpoint", "worker"])),
        ("endpoint?", text()),
        ("endpointName?", or_null(text())),
        ("worker?", text()),
    ])
}
