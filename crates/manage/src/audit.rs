//! The audit log: every call that changes something is written, with the fields that differ. What a call commits
//! carries its record in the same transaction ([`Trail`]); what it changes elsewhere (a command beside a worker, a file
//! of keys) is written when it succeeded. A call of a kind that has no name here is written under its method and path:
//! nothing is left out by being forgotten.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{FromRequestParts, MatchedPath, Query, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use runyard_domain::audit::FieldChange;
use runyard_domain::{Access, AuditFilter, AuditRecord, EndpointId, JobId, Timestamp};
use runyard_engine::{Deed, Trail};
use runyard_vault::Caller;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Auth;
use crate::page::{Paging, cursor};
use crate::problem::Problem;
use crate::{Manage, views};

/// Where a request comes from, where that is another machine or another program of this one.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// What a call does, by its method and path.
fn action(method: &Method, path: &str) -> String {
    let rest = path.strip_prefix("/api/v1/").unwrap_or_else(|| path.trim_start_matches('/'));
    let name = match (method.as_str(), rest) {
        ("POST", "endpoints" | "v2/serverless") => "endpoint.create",
        ("PATCH", "endpoints/{ep}" | "v2/serverless/{ep}") => "endpoint.change",
        ("DELETE", "endpoints/{ep}" | "v2/serverless/{ep}") => "endpoint.remove",
        ("POST", "endpoints/{ep}/purge") => "endpoint.purge",
        ("POST", "endpoints/{ep}/restart") => "endpoint.restart",
        ("POST", "endpoints/{ep}/releases") => DEPLOY,
        ("POST", "endpoints/{ep}/apply") => "endpoint.apply",
        ("POST", "endpoints/{ep}/env") => "release.env",
        ("POST", "endpoints/{ep}/rollback") => "release.rollback",
        ("POST", "endpoints/{ep}/promote") => "release.promote",
        ("POST", "endpoints/{ep}/git") => "git.connect",
        ("DELETE", "endpoints/{ep}/git") => "git.disconnect",
        ("POST", "endpoints/{ep}/git/sync") => "git.sync",
        ("PUT", "endpoints/{ep}/examples/{name}") => "example.save",
        ("DELETE", "endpoints/{ep}/examples/{name}") => "example.remove",
        ("POST", "catalog/entries/{entry}/deploy") => "catalog.deploy",
        ("POST", "jobs/{id}/cancel") => "job.cancel",
        ("POST", "jobs/{id}/retry") => "job.retry",
        ("POST", "jobs/{id}/token") => "job.token",
        ("POST", "jobs/{id}/webhooks/redeliver") => "webhook.redeliver",
        ("POST", "webhooks/secret/rotate") => "webhook.rotate",
        ("POST", "members") => "member.add",
        ("PATCH", "members/{member}") => "member.change",
        ("DELETE", "members/{member}") => "member.remove",
        ("POST", "keys") => "key.create",
        ("PATCH", "keys/{id}") => "key.change",
        ("DELETE", "keys/{id}") => "key.revoke",
        ("PUT", "secrets/{name}") => "secret.set",
        ("DELETE", "secrets/{name}") => "secret.delete",
        ("POST", "secrets/rotate-key") => "secret.rotate-key",
        ("POST", "workers/{worker}/exec") => "worker.exec",
        ("POST", "workers/{worker}/stop") => "worker.stop",
        ("POST", "registries" | "v2/registries") => "registry.set",
        ("DELETE", "registries/{name}" | "v2/registries/{id}") => "registry.remove",
        ("POST", "disk/prune") => "disk.prune",
        ("POST", "backup") => "backup.create",
        ("POST", "templates" | "v2/templates") => "template.create",
        ("PATCH", "templates/{id}" | "v2/templates/{id}") => "template.change",
        ("DELETE", "templates/{id}" | "v2/templates/{id}") => "template.remove",
        ("POST", "volumes" | "v2/network-volumes") => "volume.create",
        ("PATCH", "volumes/{id}" | "v2/network-volumes/{id}") => "volume.change",
        ("DELETE", "volumes/{id}" | "v2/network-volumes/{id}") => "volume.remove",
        ("PUT", "ssh-keys" | "v2/account/ssh-keys") => "ssh-keys.set",
        (method, rest) => return format!("{method} {rest}"),
    };
    name.to_owned()
}

/// A deploy, by a call or by a commit.
pub(crate) const DEPLOY: &str = "release.deploy";

/// Whether a call only asks what it would do. Whoever writes it otherwise is refused by the call itself.
fn is_dry(request: &Request) -> bool {
    // No other call knows the word: elsewhere it would only keep a change out of the log.
    request.method() == Method::PATCH
        && request.uri().path().starts_with("/api/v1/endpoints/")
        && request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "dry_run=true"))
}

/// Runs around every call.
pub(crate) async fn record(State(manage): State<Manage>, request: Request, next: Next) -> Response {
    // A bundle alone changes nothing, the deploy that names it does; nor does a plan, however it is asked for.
    let path = request.uri().path();
    let is_plan = path.ends_with("/plan") || is_dry(&request);
    if request.method().is_safe() || path.starts_with("/api/v1/bundles/") || is_plan {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let (Some(caller), Some(path)) = (manage.caller_of(&parts), parts.extensions.get::<MatchedPath>()) else {
        return next.run(Request::from_parts(parts, body)).await;
    };
    let path = path.as_str().to_owned();
    let mut deed = manage.inner.engine.deed(&caller, &action(&parts.method, &path));
    deed.from = parts.extensions.get::<Peer>().map(|peer| peer.0.to_canonical().to_string());
    if let Ok(params) = RawPathParams::from_request_parts(&mut parts, &()).await {
        for (name, value) in &params {
            match name {
                "ep" => deed.endpoint = manage.inner.engine.endpoint(value).map(|found| found.id.clone()),
                "workerId" => {}
                _ => manage.about(&mut deed, &path, value),
            }
        }
    }
    let trail = Trail::new(deed);
    let response = trail.scope(next.run(Request::from_parts(parts, body))).await;
    // A session that is agreed on has begun.
    let done = response.status().is_success() || response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if done
        && !trail.is_told()
        && let Err(error) = manage.inner.engine.tell(&trail).await
    {
        tracing::error!(%error, "a change was not written to the audit log");
    }
    response
}

impl Manage {
    fn caller_of(&self, parts: &Parts) -> Option<Caller> {
        let inside = parts.extensions.get::<Caller>().cloned();
        inside.or_else(|| {
            let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
            self.inner.engine.vault().key_caller(value).ok()
        })
    }

    /// What a call is about, by what its path names.
    fn about(&self, deed: &mut Deed, path: &str, named: &str) {
        deed.subject = Some(named.chars().take(100).collect());
        if !path.contains("/jobs/") {
            return;
        }
        let Ok(Some(job)) = self.inner.engine.job(&JobId::new(named)) else { return };
        let after = match deed.action.as_str() {
            "job.cancel" => "CANCELLED",
            "job.retry" => "IN_QUEUE",
            _ => return,
        };
        let change =
            FieldChange { field: "status".to_owned(), old: views::status(&job).into(), new: after.into() };
        deed.changes.push(change);
    }
}

#[derive(Deserialize)]
pub(crate) struct Which {
    endpoint: Option<String>,
    who: Option<String>,
    action: Option<String>,
    subject: Option<String>,
    since: Option<i64>,
    until: Option<i64>,
}

pub(crate) async fn list(
    State(manage): State<Manage>,
    auth: Auth,
    Query(which): Query<Which>,
    paging: Paging,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Admin, None)?;
    // Also an endpoint that is gone has a past: by its id.
    let id =
        |ep: String| manage.inner.engine.endpoint(&ep).map_or_else(|| EndpointId::new(ep), |e| e.id.clone());
    let limit = paging.limit();
    let filter = AuditFilter {
        endpoint: which.endpoint.map(id),
        who: which.who,
        action: which.action,
        subject: which.subject,
        since: which.since.map(Timestamp),
        until: which.until.map(Timestamp),
        before: paging.after()?,
        limit: limit + 1,
    };
    let mut records = manage.inner.engine.reader().audit(&filter)?;
    let more = records.len() > limit;
    records.truncate(limit);
    let next = records.last().filter(|_| more).map(|last| cursor(&last.seq));
    Ok(Json(json!({"records": records.iter().map(view).collect::<Vec<_>>(), "nextCursor": next})))
}

/// `Audit`.
fn view(record: &AuditRecord) -> Value {
    json!({
        "seq": record.seq,
        "at": record.at.0,
        "who": record.who,
        "whoName": record.who_name,
        "member": record.member,
        "from": record.from,
        "action": record.action,
        "endpoint": record.endpoint,
        "endpointName": record.endpoint_name,
        "subject": record.subject,
        "changes": record.changes,
    })
}
