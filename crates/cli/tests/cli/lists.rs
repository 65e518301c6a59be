//! What people see of what there is: tables, facts, logs, explanations; and the same as JSON.

use axum::Router;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::{delete, get, patch, post, put};
use serde_json::{Value, json};

use crate::fake::{Fake, json as answer, text};
use crate::sandbox::Sandbox;
use crate::wrong;

const JOB: &str = "3f2c9a1e-0000-4000-8000-123456789abc-u1";
const WAITING: &str = "5b2c9a1e-0000-4000-8000-123456789abc-u1";

/// So many seconds ago, and half a minute, so that no age is about to change.
fn ago(seconds: i64) -> i64 {
    jiff::Timestamp::now().as_millisecond() - seconds * 1_000 - 500
}

fn endpoint(name: &str, state: &str) -> Value {
    json!({
        "id": "abc123def456gh", "name": name, "createdAt": ago(3 * 3_600 + 30), "url": format!("http://here/v2/{name}"),
        "serving": 15, "state": state, "stateMessage": "all is well",
        "settings": {"workers_min": 0, "workers_max": 3, "idle_timeout_s": 5,
            "scaler": {"type": "QUEUE_DELAY", "value": 4.0}, "execution_timeout_ms": 600_000, "ttl_ms": 86_400_000,
            "start_timeout_s": 420, "requeues": 1, "retention_ms": 86_400_000, "queue_limit": 500_000, "rates": {"run": "1000/200", "purge": "off"}, "gpus": 1, "concurrency": 1, "prefetch": "auto"},
        "workers": {"starting": 0, "idle": 1, "running": 1, "draining": 0},
        "jobs": {"waiting": 2, "running": 1, "completed": 40, "failed": 1, "cancelled": 0, "retried": 3},
    })
}

fn jobs() -> Value {
    json!({"jobs": [
        {"id": WAITING, "endpoint": "abc123def456gh", "endpointName": "t2i", "status": "IN_QUEUE",
            "submittedAt": ago(12), "queue": {"position": 1},
            "reason": {"code": "all_busy", "message": "all 3 of at most 3 workers are busy; position 1 in the queue"}},
        {"id": JOB, "endpoint": "abc123def456gh", "endpointName": "t2i", "status": "FAILED",
            "submittedAt": ago(150), "delayMs": 400, "executionMs": 1_100, "worker": "w7k2w7k2w7k2w7", "release": 15,
            "sdk": "1.12.0", "error": "CUDA out\u{1b}[31m of memory\nsecond line", "submittedBy": "ci",
            "reason": {"code": "handler_exception", "message": "RuntimeError: CUDA out of memory (handler.py:41)"}},
    ]})
}

/// Says what a change comes to, or makes it: variables by a release, anything else at once.
async fn change(uri: Uri, body: String) -> Response {
    let makes_release = body.contains("env");
    if uri.query() == Some("dry_run=true") {
        let field = if makes_release { "env.A" } else { "workers_max" };
        return answer(&json!({
            "plan": "0a1b", "name": "t2i", "makesRelease": makes_release, "warnings": [], "stops": 0,
            "changes": [{"field": field, "old": 3, "new": 5, "makesRelease": makes_release}],
            "restarts": if makes_release { vec!["w7k2w7k2w7k2w7"] } else { vec![] },
            "says": if makes_release { "1 worker restarts" } else { "it holds at once; no worker restarts" },
        }));
    }
    assert_eq!(uri.query(), Some("plan=0a1b"));
    if makes_release {
        let done = "{\"done\":true,\"ok\":true,\"release\":16,\"serving\":16}\n".to_owned();
        return text(200, "application/x-ndjson", done);
    }
    answer(&endpoint("t2i", "busy"))
}

fn router() -> Router {
    let job = || async { answer(&jobs()["jobs"][1]) };
    Router::new()
        .route("/api/v1/endpoints", get(|| async {
            answer(&json!({"endpoints": [endpoint("t2i", "busy"), endpoint("hello", "asleep")]}))
        }))
        .route("/api/v1/endpoints/{ep}", get(|| async { answer(&endpoint("t2i", "busy")) }))
        .route("/api/v1/endpoints/{ep}", patch(change))
        .route("/api/v1/gpus", get(|| async { answer(&json!({"gpus": [
            {"index": 0, "type": "NVIDIA GeForce RTX 4090", "memoryGb": 24, "pool": "ADA_24", "free": false,
                "worker": "w7k2w7k2w7k2w7", "endpoint": "abc123def456gh", "endpointName": "t2i"},
            {"index": 1, "type": "GPU", "memoryGb": 0, "pool": null, "free": true, "worker": null},
            {"index": 2, "type": "GPU", "memoryGb": 0, "pool": null, "free": false, "worker": null},
        ]})) }))
        .route("/api/v1/endpoints/{ep}", delete(|| async { answer(&json!({"removed": true})) }))
        .route("/api/v1/endpoints/{ep}/purge", post(|| async { answer(&json!({"removed": 2})) }))
        .route("/api/v1/endpoints/{ep}/releases", get(|| async { answer(&json!({"releases": [
            {"number": 15, "state": "failed", "createdAt": ago(150), "createdBy": "ci", "handler": "handler.py",
                "python": "3.12.1", "reason": {"code": "start_failed", "message": "the worker exited with code 1"}},
            {"number": 14, "state": "ready", "serving": true, "createdAt": ago(200_000), "createdBy": "local",
                "handler": "handler.py", "python": "3.12.1", "note": "faster", "workerCount": 2},
            {"number": 13, "state": "ready", "createdAt": ago(200_000), "handler": "handler.py", "canary": true,
                "workerCount": 1},
            {"number": 12, "state": "ready", "createdAt": ago(200_000), "handler": "handler.py",
                "withdrawn": {"at": 1, "why": "8 of its 10 jobs failed"}},
        ], "rollout": {"inProgress": true, "workersOnLatest": 1, "workersTotal": 3, "percentOnLatest": 33,
            "stage": "canary", "to": 13, "from": [14], "canaryPercent": 10}})) }))
        .route("/api/v1/endpoints/{ep}/diff", get(|| async { answer(&json!({"from": 14, "to": 15, "diff": [
            {"field": "python", "old": "3.11.2", "new": "3.12.1"}, {"field": "env.MODE", "old": null, "new": "fast"},
        ], "files": {"added": ["model.py"], "removed": [], "changed": ["handler.py"]}})) }))
        .route("/api/v1/disk", get(|| async { answer(&json!({"bytes": 5_000_000_000_u64, "goesBytes": 40_000_000,
            "freeBytes": 70_000_000_000_u64, "accounts": [
                {"kind": "environments", "bytes": 4_960_000_000_u64, "things": 1, "goesBytes": 0, "goesThings": 0,
                    "items": [{"name": "a1b2", "bytes": 4_960_000_000_u64, "goes": false, "why": "t2i #15 serves"}]},
                {"kind": "bundles", "bytes": 40_000_000, "things": 1, "goesBytes": 40_000_000, "goesThings": 1,
                    "items": [{"name": "c3d4", "bytes": 40_000_000, "goes": true, "why": "no release needs it"}]},
            ]})) }))
        .route("/api/v1/disk/prune", post(|| async { answer(&json!({"bytes": 0, "goesBytes": 0, "dryRun": true,
            "accounts": []})) }))
        .route("/api/v1/endpoints/{ep}/failures", get(|| async { answer(&json!({"failures": [
            {"fingerprint": "8752e3fa97ff5d2b", "code": "cuda_out_of_memory", "title": "CUDA out of memory",
                "sentence": "CUDA out of memory: tried 2.50 GiB (handler.py:41)", "count": 7, "firstAt": ago(400),
                "lastAt": ago(150), "firstRelease": 15, "releases": [{"release": 15, "count": 7}], "job": JOB},
            {"fingerprint": "0052e3fa97ff5d2b", "code": "ttl_expired", "title": "the job's time to live ended",
                "sentence": "", "count": 1, "firstAt": ago(90_000), "lastAt": ago(90_000), "firstRelease": null,
                "releases": [], "job": WAITING},
        ], "nextCursor": null})) }))
        .route("/api/v1/jobs/{id}/why", get(|| async { answer(&json!({
            "about": "job 3f2c9a1e of t2i", "status": "FAILED", "sentence": "CUDA out of memory: tried 2.50 GiB",
            "code": "cuda_out_of_memory", "hints": ["runyard rollback t2i --to 14"],
            "causes": [{"code": "cuda_out_of_memory", "sentence": "CUDA out of memory: tried 2.50 GiB", "lastLines": []}],
            "like": {"sentence": "6 other jobs since release 15 (deployed 5 min ago by ci); none before", "others": 6},
        })) }))
        .route("/api/v1/jobs/{id}/timeline", get(|| async { answer(&json!({"from": 0, "to": 4_000, "now": 9_000, "spans": [
            {"name": "submitted", "start": 0, "end": 0, "state": "ok"},
            {"name": "queued", "start": 0, "end": 3_000, "state": "ok", "attempt": 1},
            {"name": "run", "start": 3_000, "end": 4_000, "state": "bad", "attempt": 1, "note": "cuda_out_of_memory"},
        ]})) }))
        .route("/api/v1/endpoints/{ep}/why", get(|| async { answer(&json!({
            "about": "endpoint t2i", "status": "failing", "sentence": "workers fail to start", "code": "start_failing",
            "causes": [
                {"code": "start_failing", "sentence": "workers fail to start", "lastLines": ["Traceback", "\u{1b}]0;x\u{7}boom"]},
                {"code": "all_busy", "sentence": "2 in the queue"}],
            "hints": ["runyard logs t2i"],
        })) }))
        .route("/api/v1/workers", get(|| async { answer(&json!({"workers": [
            {"id": "w7k2w7k2w7k2w7", "endpointName": "t2i", "release": 15, "state": "running", "cause": "queue",
                "gpus": [0], "jobs": [JOB], "createdAt": ago(150), "readyAt": ago(147)},
            {"id": "w9d1w9d1w9d1w9", "endpointName": "t2i", "release": 15, "state": "gone", "cause": "queue",
                "gpus": [], "jobs": [], "createdAt": ago(300), "endedAt": ago(290),
                "exit": {"code": null, "signal": 11, "outOfMemory": false, "lastLines": ["last words"]}},
            {"id": "w8d1w8d1w8d1w8", "endpointName": "t2i", "release": 15, "state": "gone", "cause": "queue",
                "gpus": [], "jobs": [], "createdAt": ago(300), "endedAt": ago(290), "exit": null},
        ]})) }))
        .route("/api/v1/jobs", get(|| async { answer(&jobs()) }))
        .route("/api/v1/jobs/{id}", get(job))
        .route("/api/v1/jobs/{id}/retry", post(job))
        .route("/api/v1/keys", get(|| async { answer(&json!({"keys": [
            {"id": "k3j9x0a1b2", "name": "web", "access": "run", "endpoints": ["k2x9"], "endpointNames": ["t2i"], "createdAt": ago(150),
                "expiresAt": ago(-86_400 * 30 - 30), "revokedAt": null},
            {"id": "k4j9x0a1b2", "name": "old", "access": "admin", "endpoints": [], "createdAt": ago(200_000),
                "expiresAt": null, "revokedAt": ago(7_300), "usedAt": ago(8_000)},
            {"id": "k5j9x0a1b2", "name": "shop", "access": "read", "endpoints": ["k2x9", "k3x9"],
                "endpointNames": ["t2i", "llm"], "grants": {"k3x9": "run"}, "createdAt": ago(200_000),
                "disabledAt": ago(60), "page": {"operations": ["run"], "origins": ["https://a.example"]}},
        ]})) }).post(|| async { answer(&json!({"id": "k5", "name": "web", "access": "run", "endpoints": [],
            "createdAt": 0, "expiresAt": null, "revokedAt": null, "key": "ry_secret"})) }))
        .route("/api/v1/secrets", get(|| async { answer(&json!({"secrets": [
            {"name": "HF_TOKEN", "description": "read-only", "version": 2, "createdAt": ago(200_000), "updatedAt": ago(7_300),
                "usedAt": ago(150), "usedBy": [{"endpoint": "k2x9", "endpointName": "t2i", "workers": 1}]},
            {"name": "OLD", "description": null, "version": 1, "createdAt": ago(200_000), "updatedAt": ago(200_000),
                "usedAt": null, "usedBy": []},
        ]})) }))
        .route("/api/v1/secrets/{name}", put(|| async { answer(&json!({"name": "HF_TOKEN", "version": 3, "usedBy": [
            {"endpoint": "k2x9", "endpointName": "t2i", "workers": 2}]})) }))
        .route("/api/v1/logs", get(|| async { answer(&json!({"records": [
            {"at": 36_134_118, "seq": 1, "endpoint": "abc123def456gh", "worker": "w7k2w7k2w7k2w7", "source": "stderr",
                "level": "warn", "job": JOB, "message": "low VRAM: \u{1b}[33m1.1 GiB\u{1b}[0m free"},
            {"at": 36_134_902, "seq": 2, "endpoint": "abc123def456gh", "worker": "w7k2w7k2w7k2w7", "source": "stdout",
                "level": null, "job": null, "message": "10%\r20%\ndone\u{7}"},
            {"at": 36_135_000, "seq": 3, "endpoint": "abc123def456gh", "worker": null, "source": "system",
                "level": "error", "job": null, "message": "worker w7k2 was killed"},
        ]})) }))
}

fn shown(arguments: &[&str]) -> String {
    let fake = Fake::start(router());
    let done = Sandbox::with(&fake.url).run(arguments).exits(0);
    done.out + &done.err
}

#[test]
fn endpoints_as_a_table() {
    insta::assert_snapshot!(shown(&["endpoints"]));
    assert_eq!(shown(&["ep", "ls"]), shown(&["endpoints", "list"]));
}

#[test]
fn one_endpoint_with_the_flags_that_set_it() {
    insta::assert_snapshot!(shown(&["ep", "show", "t2i"]));
}

#[test]
fn the_disk_by_kind_and_thing_by_thing() {
    insta::assert_snapshot!(shown(&["disk"]) + "---\n" + &shown(&["disk", "--all"]));
    assert_eq!(shown(&["disk", "prune", "--dry-run"]), "0 things, 0 B would go\n");
}

#[test]
fn what_distinguishes_two_releases() {
    insta::assert_snapshot!(shown(&["diff", "t2i", "#14", "15"]));
}

#[test]
fn jobs_as_a_table() {
    insta::assert_snapshot!(shown(&["jobs", "t2i"]));
}

#[test]
fn one_job() {
    insta::assert_snapshot!(shown(&["status", JOB]));
}

#[test]
fn workers_as_a_table() {
    insta::assert_snapshot!(shown(&["workers"]));
}

#[test]
fn releases_as_a_table() {
    insta::assert_snapshot!(shown(&["releases", "t2i"]));
}

#[test]
fn keys_as_a_table() {
    insta::assert_snapshot!(shown(&["keys"]));
}

#[test]
fn logs_without_escapes() {
    insta::assert_snapshot!(shown(&["logs"]));
}

#[test]
fn logs_of_one_endpoint_with_dates() {
    insta::assert_snapshot!(shown(&["logs", "t2i", "--timestamps"]));
}

#[test]
fn an_explanation() {
    insta::assert_snapshot!(shown(&["why", "t2i"]));
}

#[test]
fn a_failed_job_with_those_like_it_and_its_waterfall() {
    let said = shown(&["why", JOB]);
    // The time of its submission is in the local zone.
    let lines: Vec<&str> = said.lines().filter(|line| !line.contains("submitted at")).collect();
    insta::assert_snapshot!(lines.join("\n"));
    let document: Value = serde_json::from_str(&shown(&["why", JOB, "--json"])).expect("one document");
    assert_eq!(
        (&document["code"], &document["timeline"]["to"]),
        (&json!("cuda_out_of_memory"), &json!(4_000))
    );
}

#[test]
fn failures_by_kind_as_a_table() {
    insta::assert_snapshot!(shown(&["failures", "t2i"]));
}

#[test]
fn the_first_page_of_help() {
    let done = Sandbox::new().run(&["--help"]).exits(0);
    insta::assert_snapshot!(done.out);
}

#[test]
fn json_is_the_servers_own_document() {
    let document =
        r#"{"jobs":[{"id":"1","z":1,"a":12345678901234567890123,"f":1.0,"e":"\u001b[31m"}],"next":null}"#;
    let fake = Fake::start(Router::new().route(
        "/api/v1/jobs",
        get(move || async move {
            // C1 characters are legal in JSON text, and some terminals obey them.
            text(200, "application/json", document.replace("next", "ne\u{9b}xt"))
        }),
    ));
    let out = Sandbox::with(&fake.url).run(&["jobs", "--json"]).exits(0).out;
    assert!(!out.chars().any(|c| c.is_control() && c != '\n'), "{out:?}");
    let flat: String = out.lines().map(str::trim).collect::<String>().replace(": ", ":");
    assert_eq!(flat, document.replace("next", "ne\\u009bxt"));
}

#[test]
fn colours_come_when_asked_for() {
    let fake = Fake::start(router());
    let mut sandbox = Sandbox::with(&fake.url);
    assert!(!sandbox.run(&["ep"]).out.contains('\u{1b}'), "a pipe has no colours");
    assert!(sandbox.run(&["ep", "--color", "always"]).out.contains("\u{1b}[32m● busy\u{1b}[0m"));
    sandbox.set("CLICOLOR_FORCE", "1");
    assert!(sandbox.run(&["ep"]).out.contains('\u{1b}'));
    assert!(!sandbox.run(&["ep", "--color", "never"]).out.contains('\u{1b}'));
    sandbox.set("NO_COLOR", "1");
    assert!(!sandbox.run(&["ep"]).out.contains('\u{1b}'));
}

#[test]
fn queries_carry_what_the_flags_say() {
    let fake = Fake::start(router());
    let sandbox = Sandbox::with(&fake.url);
    sandbox.run(&["jobs", "t2i", "--status", "failed", "--limit", "5"]).exits(0);
    fake.request("GET /api/v1/jobs?endpoint=t2i&status=FAILED&limit=5");
    let now = jiff::Timestamp::now().as_millisecond();
    sandbox
        .run(&["logs", "t2i", "--level", "warn", "--search", "a b", "--build", "#3", "--since", "1h"])
        .exits(0);
    let line = fake.request("GET /api/v1/logs?endpoint=t2i&level=warn&q=a%20b&since=").line;
    let since = line.split("since=").nth(1).and_then(|s| s.split('&').next()).expect("it is there");
    let since: i64 = since.parse().expect("a number");
    assert!((now - 3_600_000..now - 3_500_000).contains(&since), "{line}");
    assert!(line.ends_with("limit=200&build=3"), "{line}");
}

#[test]
fn beginnings_of_job_ids_are_enough() {
    let fake = Fake::start(router());
    let sandbox = Sandbox::with(&fake.url);
    sandbox.run(&["retry", "3f2c"]).exits(0);
    fake.request(&format!("POST /api/v1/jobs/{JOB}/retry"));
    sandbox.run(&["logs", "--job", "3f2c"]).exits(0);
    fake.request(&format!("GET /api/v1/logs?job={JOB}"));
    let unknown = sandbox.run(&["status", "ffff"]).exits(5);
    assert!(unknown.err.starts_with("error: there is no job 'ffff'"), "{}", unknown.err);
}

#[test]
fn settings_are_sent_as_the_api_names_them() {
    let fake = Fake::start(router());
    let sandbox = Sandbox::with(&fake.url);
    let flags =
        ["--max", "5", "--idle", "1m", "--scaler-value", "2.5", "--execution-timeout", "10m", "--name", "x"];
    sandbox.run(&[&["ep", "set", "t2i"][..], &flags].concat()).exits(0);
    let sent = fake.request("PATCH /api/v1/endpoints/t2i?plan=0a1b").json();
    let wanted = json!({"name": "x", "settings": {"workers_max": 5, "idle_timeout_s": 60,
        "scaler": {"type": "QUEUE_DELAY", "value": 2.5}, "execution_timeout_ms": 600_000}});
    assert_eq!(sent, wanted);
    sandbox.run(&["ep", "set", "t2i"]).exits(2);
}

#[test]
fn a_change_is_said_before_it_is_made() {
    let fake = Fake::start(router());
    let sandbox = Sandbox::with(&fake.url);
    let flags = ["ep", "set", "t2i", "--max", "5", "--gpus", "2xh100,-l4", "--flashboot", "priority"];
    let more = ["--max-input", "64KB", "--cors", "https://a.example", "--network-volume", "none"];
    let dry = sandbox.run(&[&flags[..], &more, &["--dry-run"]].concat()).exits(0);
    assert_eq!(dry.out, "  workers_max  3 → 5\nit holds at once; no worker restarts\n");
    let asked: Vec<String> = fake.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(asked, ["PATCH /api/v1/endpoints/t2i?dry_run=true"], "and nothing else");
    let wanted = json!({"settings": {"workers_max": 5, "gpus": ["2xh100", "-l4"], "flash_boot": "priority",
        "input_limit_bytes": 65_536, "cors": ["https://a.example"], "network_volume": null}});
    assert_eq!(fake.request("PATCH").json(), wanted);
    let done = sandbox.run(&["ep", "set", "t2i", "--env", "A=1"]).exits(0);
    assert!(done.err.contains("env.A  3 → 5   (a release)\n  restart: w7k2w7k2w7k2w7\n"), "{}", done.err);
    let json = sandbox.run(&["--json", "ep", "set", "t2i", "--max", "5", "--dry-run"]).exits(0);
    assert!(json.out.contains("\"restarts\""), "{}", json.out);
    for wrong in ["2xh100,3xl4", "", "-"] {
        sandbox.run(&["ep", "set", "t2i", "--gpus", wrong]).exits(2);
    }
}

#[test]
fn gpus_as_a_table() {
    insta::assert_snapshot!(shown(&["gpus"]));
}

#[test]
fn variables_are_set_by_a_release_and_secrets_are_no_arguments() {
    let fake = Fake::start(router());
    let mut sandbox = Sandbox::with(&fake.url);
    sandbox.set("TOKEN", "s3cret-value");
    let file = sandbox.file("token.txt", "of-a-file\n").display().to_string();
    let given = ["--env", "A=1", "--unset-env", "B", "--secret-env", "TOKEN", "--secret-env", "PIPED=-"];
    let from_file = format!("FILED=@{file}");
    let flags = [&["ep", "set", "t2i"][..], &given, &["--secret-env", &from_file]].concat();
    let done = sandbox.run_with(&flags, "piped\n").exits(0);
    assert_eq!(done.out, "serving release #16 of t2i\n");
    let sent = fake.request("PATCH /api/v1/endpoints/t2i?plan=0a1b").json();
    let secret = json!({"TOKEN": "s3cret-value", "PIPED": "piped", "FILED": "of-a-file"});
    assert_eq!(sent, json!({"env": {"A": "1", "B": null}, "secretEnv": secret}));
    for (wrong, words) in [
        ("TOKEN=s3cret-value", "holds the value itself"),
        ("NOT_SET", "has no value, and nobody can be asked here"),
        ("GONE=@no-such-file", "cannot be read"),
        ("1A", "cannot name a variable"),
    ] {
        let refused = sandbox.run(&["ep", "set", "t2i", "--secret-env", wrong]).exits(2);
        assert!(refused.err.contains(words), "{}", refused.err);
        assert!(!refused.err.contains("s3cret"), "{}", refused.err);
    }
}

#[test]
fn secrets_as_a_table() {
    insta::assert_snapshot!(shown(&["secret"]));
}

#[test]
fn a_secret_comes_from_stdin_and_who_has_the_old_value_is_said() {
    let fake = Fake::start(router());
    let sandbox = Sandbox::with(&fake.url);
    let done = sandbox.run_with(&["secret", "set", "HF_TOKEN"], "s3cret-value\n").exits(0);
    assert_eq!(done.out, "HF_TOKEN has version 3\n");
    assert!(done.err.contains("2 workers of t2i still have the value before"), "{}", done.err);
    let sent = fake.request("PUT /api/v1/secrets/HF_TOKEN").json();
    assert_eq!(sent, json!({"value": "s3cret-value", "restart": false}));
    assert!(!format!("{}{}", done.out, done.err).contains("s3cret"));
}

#[test]
fn keys_are_for_endpoints_actions_and_pages() {
    let fake = Fake::start(router());
    let sandbox = Sandbox::with(&fake.url);
    let flags = ["keys", "create", "--endpoint", "t2i", "--endpoint", "llm=deploy", "--read-only"];
    sandbox.run(&flags).exits(0);
    let wanted =
        json!({"name": "t2i, llm", "access": "read", "endpoints": ["t2i"], "grants": {"llm": "deploy"}});
    assert_eq!(fake.request("POST /api/v1/keys").json(), wanted);
    let fake = Fake::start(router());
    let sandbox = Sandbox::with(&fake.url);
    let flags = [
        "keys",
        "create",
        "--page",
        "--endpoint",
        "t2i",
        "--operation",
        "run",
        "--origin",
        "https://a.example",
    ];
    sandbox.run(&flags).exits(0);
    let page = json!({"operations": ["run"], "origins": ["https://a.example"]});
    let wanted = json!({"name": "t2i", "access": "run", "endpoints": ["t2i"], "page": page});
    assert_eq!(fake.request("POST /api/v1/keys").json(), wanted);
    for wrong in [&["--endpoint", "t2i=fly"][..], &["--origin", "https://a.example"], &[]] {
        sandbox.run(&[&["keys", "create"][..], wrong].concat()).exits(2);
    }
}

#[test]
fn a_new_key_is_alone_on_stdout() {
    let fake = Fake::start(router());
    let flags =
        ["keys", "create", "--name", "web", "--access", "run", "--endpoint", "t2i", "--expires", "30d"];
    let done = Sandbox::with(&fake.url).run(&flags).exits(0);
    assert_eq!(done.out, "ry_secret\n");
    let wanted = json!({"name": "web", "access": "run", "endpoints": ["t2i"], "expiresInS": 2_592_000});
    assert_eq!(fake.request("POST /api/v1/keys").json(), wanted);
}

#[test]
fn what_destroys_needs_a_yes() {
    let fake = Fake::start(router());
    let sandbox = Sandbox::with(&fake.url);
    for arguments in [["ep", "rm", "t2i"].as_slice(), &["purge", "t2i"]] {
        let done = sandbox.run(arguments).exits(2);
        assert!(done.err.contains("the same command with --yes"), "{}", done.err);
    }
    let changed = fake.asked().into_iter().filter(|asked| !asked.line.starts_with("GET ")).count();
    assert_eq!(changed, 0, "nothing may be changed before the yes");
    assert_eq!(sandbox.run(&["ep", "rm", "t2i", "--yes"]).exits(0).out, "removed t2i\n");
    assert_eq!(sandbox.run(&["purge", "t2i", "-y"]).exits(0).out, "removed 2 waiting jobs of t2i\n");
}

#[test]
fn completions_are_scripts() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = Sandbox::new().run(&["completion", shell]).exits(0).out;
        assert!(script.contains("RUNYARD_COMPLETE"), "{shell}");
    }
}

fn offered(sandbox: &mut Sandbox, words: &[&str]) -> Vec<String> {
    sandbox.set("RUNYARD_COMPLETE", "bash");
    sandbox.set("_CLAP_COMPLETE_INDEX", &(words.len() - 1).to_string());
    sandbox.set("_CLAP_IFS", "\n");
    let words = [&["--"], words].concat();
    sandbox.run(&words).exits(0).out.lines().map(str::to_owned).collect()
}

#[test]
fn names_are_completed() {
    let fake = Fake::start(router());
    let mut sandbox = Sandbox::with(&fake.url);
    assert_eq!(offered(&mut sandbox, &["runyard", "rollb"]), ["rollback"]);
    assert_eq!(offered(&mut sandbox, &["runyard", "endpoints", "show", "t"]), ["t2i"]);
    assert_eq!(offered(&mut sandbox, &["runyard", "status", &JOB[..6]]), [JOB]);
    assert!(offered(&mut Sandbox::with(&wrong::nobody()), &["runyard", "status", "t"]).is_empty());
}
