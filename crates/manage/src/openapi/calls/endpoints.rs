//! Endpoints, their releases, plans, and the repositories that they follow.

use runyard_domain::Access::{Deploy, Read, Run};
use serde_json::Value;

use super::super::operation::Operation;
use super::super::settings;
use super::super::shape::{
    any, bytes, either, flag, list, map, named, object, or_null, request, small, text, text_to, time, whole,
    within, word,
};
use super::{Tagged, by, page};
use crate::{deploy, endpoints, examples, git, plan, releases};

/// Longest name of an endpoint.
fn name() -> Value {
    serde_json::json!({"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$"})
}

fn ok(field: &str, schema: Value) -> Value {
    object([(field, schema)])
}

pub(super) fn endpoints() -> Tagged {
    let releases = object([
        ("releases", list(named("Release"))),
        ("rollout", named("Rollout")),
        ("nextCursor", or_null(text())),
    ]);
    let files = object([("added", list(text())), ("removed", list(text())), ("changed", list(text()))]);
    let diff = object([
        ("from", or_null(small())),
        ("to", small()),
        ("diff", list(named("FieldChange"))),
        ("files", or_null(files)),
    ]);
    let env = request([
        ("env?", map(or_null(text()))),
        ("secretEnv?", map(or_null(text()))),
        ("note?", or_null(text())),
    ]);
    let target = || request([("to?", or_null(small()))]);
    let bundle = object([("bundle", text()), ("files", whole()), ("bytes", whole())]);
    let all = vec![
        Operation::new(
            "GET /api/v1/endpoints",
            "listEndpoints",
            Read,
            by("endpoints list"),
            "Endpoints, by name",
        )
        .paged()
        .answers(page("endpoints", "Endpoint")),
        Operation::new(
            "POST /api/v1/endpoints",
            "createEndpoint",
            Deploy,
            by("endpoints create"),
            "Makes an endpoint",
        )
        .takes::<endpoints::Create>(request([("name", name()), ("settings?", settings::asked())]))
        .answers(named("Endpoint"))
        .conflicts()
        .tagged(),
        Operation::new(
            "GET /api/v1/endpoints/{ep}",
            "getEndpoint",
            Read,
            by("endpoints show"),
            "An endpoint",
        )
        .answers(named("Endpoint"))
        .tagged(),
        Operation::new(
            "PATCH /api/v1/endpoints/{ep}",
            "changeEndpoint",
            Deploy,
            by("endpoints set"),
            "Changes the settings that are named, and of groups the parts",
        )
        .query("dry_run", flag(), "only say what it would be")
        .query("plan", text_to(100), "only if this is still what would be done")
        .takes::<endpoints::change::Change>(request([
            ("name?", or_null(name())),
            ("settings?", settings::asked()),
            ("env?", map(or_null(text()))),
            ("secretEnv?", map(or_null(text()))),
            ("image?", or_null(text())),
            ("note?", or_null(text())),
        ]))
        .answers(either(&[named("Endpoint"), named("EndpointChange")]))
        .answers_lines(&named("Step"))
        .conflicts()
        .tagged()
        .guarded(),
        Operation::new(
            "DELETE /api/v1/endpoints/{ep}",
            "removeEndpoint",
            Deploy,
            by("endpoints rm"),
            "Drains its workers and deletes its jobs, logs and releases",
        )
        .answers(ok("removed", flag()))
        .guarded(),
        Operation::new(
            "GET /api/v1/endpoints/{ep}/failures",
            "listFailures",
            Read,
            by("failures"),
            "Failures of its jobs by fingerprint, the last seen first",
        )
        .query("since", time(), "only those that were seen at or after")
        .paged()
        .answers(page("failures", "FailureGroup")),
        Operation::new(
            "GET /api/v1/endpoints/{ep}/why",
            "explainEndpoint",
            Read,
            by("why"),
            "Why it is slow, failing or asleep",
        )
        .answers(named("Why")),
        Operation::new(
            "POST /api/v1/endpoints/{ep}/purge",
            "purgeEndpoint",
            Run,
            by("purge"),
            "Removes the jobs that wait",
        )
        .answers(ok("removed", whole())),
        Operation::new(
            "POST /api/v1/endpoints/{ep}/restart",
            "restartEndpoint",
            Deploy,
            by("endpoints restart"),
            "Drains every worker; new ones start as needed",
        )
        .answers(ok("draining", whole())),
        Operation::new(
            "POST /api/v1/endpoints/{ep}/env",
            "changeVariables",
            Deploy,
            by("endpoints set"),
            "A release of the code that serves, with other variables",
        )
        .takes::<endpoints::change::Variables>(env)
        .answers_lines(&named("Step"))
        .conflicts(),
        Operation::new(
            "GET /api/v1/endpoints/{ep}/releases",
            "listReleases",
            Read,
            by("releases"),
            "Its releases, newest first",
        )
        .paged()
        .answers(releases),
        Operation::new(
            "POST /api/v1/endpoints/{ep}/releases",
            "deploy",
            Deploy,
            by("deploy"),
            "Makes a release",
        )
        .takes::<deploy::Request>(release())
        .answers_lines(&named("Step"))
        .conflicts(),
        Operation::new(
            "POST /api/v1/endpoints/{ep}/rollback",
            "rollBack",
            Deploy,
            by("rollback"),
            "Moves traffic back; the release that served takes nothing more",
        )
        .takes::<releases::Target>(target())
        .answers_lines(&named("Step"))
        .conflicts(),
        Operation::new(
            "POST /api/v1/endpoints/{ep}/promote",
            "promote",
            Deploy,
            by("promote"),
            "Gives the canary, or another release that is ready, all traffic",
        )
        .takes::<releases::Target>(target())
        .answers_lines(&named("Step"))
        .conflicts(),
        Operation::new(
            "GET /api/v1/endpoints/{ep}/diff",
            "compareReleases",
            Read,
            by("diff"),
            "What distinguishes two releases",
        )
        .query("from", small(), "the newest before the other one that is ready, where nothing is said")
        .query("to", small(), "the newest, where nothing is said")
        .answers(diff),
        Operation::new(
            "GET /api/v1/endpoints/{ep}/examples",
            "listExamples",
            Read,
            by("examples ls"),
            "Inputs that are kept with it, and those that came with its code",
        )
        .paged()
        .answers(page("examples", "Example")),
        Operation::new(
            "GET /api/v1/endpoints/{ep}/examples/{name}",
            "getExample",
            Read,
            by("run"),
            "An input that is kept",
        )
        .answers(named("Example")),
        Operation::new(
            "PUT /api/v1/endpoints/{ep}/examples/{name}",
            "saveExample",
            Run,
            by("examples save"),
            "Keeps an input under a name",
        )
        .takes::<examples::Kept>(request([("input", any())]))
        .answers(named("Example"))
        .conflicts(),
        Operation::new(
            "DELETE /api/v1/endpoints/{ep}/examples/{name}",
            "removeExample",
            Run,
            by("examples rm"),
            "Removes one that was kept",
        )
        .answers(ok("removed", flag()))
        .conflicts(),
        Operation::new(
            "PUT /api/v1/bundles/{sha}",
            "uploadBundle",
            Deploy,
            by("deploy"),
            "A folder to deploy: a gzip-compressed tar, named by the SHA-256 of its bytes",
        )
        .takes_bytes("application/gzip", bytes())
        .answers(bundle),
        Operation::new(
            "GET /api/v1/bundles/{sha}",
            "findBundle",
            Deploy,
            by("deploy"),
            "Whether the server has a bundle",
        )
        .answers(ok("bundle", text())),
    ];
    ("endpoints", all)
}

/// What a deploy is asked for.
fn release() -> Value {
    let container = request([
        ("image?", or_null(text())),
        ("dockerfile?", or_null(text())),
        ("args?", map(text())),
        ("target?", or_null(text())),
        ("platform?", or_null(text())),
        ("secrets?", map(text())),
        ("entrypoint?", or_null(list(text()))),
        ("command?", or_null(list(text()))),
    ]);
    let case = request([
        ("name", text()),
        ("input", any()),
        ("timeoutMs?", or_null(whole())),
        ("failure?", flag()),
        ("output?", any()),
    ]);
    request([
        ("bundle?", or_null(text())),
        ("folder?", or_null(text())),
        ("handler?", or_null(text())),
        ("python?", or_null(request([("version?", or_null(text())), ("requirements?", or_null(text()))]))),
        ("container?", or_null(container)),
        ("env?", map(text())),
        ("secretEnv?", map(or_null(text()))),
        ("settings?", settings::asked()),
        ("note?", or_null(text())),
        ("create?", flag()),
        ("tests?", flag()),
        ("cases?", list(case)),
        ("canary?", or_null(within(1, 99))),
    ])
}

/// What a file asks for.
fn desired() -> Value {
    request([
        ("managedBy", text()),
        ("release", release()),
        ("notApplied?", map(any())),
        ("plan?", or_null(text_to(100))),
        ("always?", flag()),
    ])
}

pub(super) fn plans() -> Tagged {
    let all = vec![
        Operation::new(
            "POST /api/v1/endpoints/{ep}/plan",
            "plan",
            Read,
            by("plan"),
            "What a file asks of an endpoint, compared with what there is; nothing is changed",
        )
        .takes::<plan::Desired>(desired())
        .answers(named("Plan"))
        .conflicts(),
        Operation::new("POST /api/v1/endpoints/{ep}/apply", "apply", Deploy, by("apply"), "Does it")
            .takes::<plan::Desired>(desired())
            .answers_lines(&named("Step"))
            .conflicts(),
    ];
    ("plans", all)
}

pub(super) fn git() -> Tagged {
    let ended = object([("disconnected", flag()), ("previewsRemoved", whole())]);
    let all = vec![
        Operation::new(
            "GET /api/v1/git",
            "listConnections",
            Read,
            by("git list"),
            "The repositories that endpoints follow",
        )
        .paged()
        .answers(page("connections", "Connection")),
        Operation::new(
            "GET /api/v1/endpoints/{ep}/git",
            "getConnection",
            Read,
            by("git show"),
            "Its repository",
        )
        .answers(named("Connection"))
        .tagged(),
        Operation::new(
            "POST /api/v1/endpoints/{ep}/git",
            "connect",
            Deploy,
            by("git connect"),
            "It follows this repository from now on",
        )
        .takes::<git::connections::Connect>(connect())
        .answers(named("Connection"))
        .conflicts()
        .tagged(),
        Operation::new(
            "DELETE /api/v1/endpoints/{ep}/git",
            "disconnect",
            Deploy,
            by("git disconnect"),
            "It follows it no longer; the endpoints of pull requests go",
        )
        .answers(ended)
        .guarded(),
        Operation::new(
            "POST /api/v1/endpoints/{ep}/git/sync",
            "syncConnection",
            Deploy,
            by("git sync"),
            "Looks now, and tries the last commit again where it failed",
        )
        .answers(named("Connection")),
    ];
    ("git", all)
}

fn connect() -> Value {
    request([
        ("url", text()),
        ("branch?", or_null(text())),
        ("on?", word(&["push", "tag", "release"])),
        ("path?", or_null(text())),
        ("dockerfile?", or_null(text())),
        ("handler?", or_null(text())),
        ("env?", map(text())),
        ("secretEnv?", map(or_null(text()))),
        ("environment?", or_null(text())),
        ("user?", or_null(text())),
        ("token?", or_null(text())),
        ("deployKey?", or_null(text())),
        ("webhookSecret?", or_null(text())),
        ("api?", or_null(text())),
        ("pollS?", or_null(within(0, 86_400))),
        ("pullRequests?", flag()),
        ("create?", flag()),
    ])
}
