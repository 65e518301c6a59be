//! The audit log: every call that changes something and succeeded is written, with the fields that differ in what the
//! views show before and after; so no value of a secret can come into it. A call of a kind that has no name here is
//! written under its method and path: nothing is left out by being forgotten.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::extract::{FromRequestParts, MatchedPath, Query, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use runyard_domain::audit::changes;
use runyard_domain::{Access, AuditFilter, AuditRecord, EndpointId, JobId, KeyId, Timestamp};
use runyard_vault::Caller;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Auth;
use crate::problem::Problem;
use crate::{Manage, secrets, views};

/// The most records of one page, and how many there are where nothing is said.
const MOST: usize = 1_000;
const USUAL: usize = 100;

/// Where a request comes from, where that is another machine or another program of this one.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// The name of something that a call made, told by its handler.
#[derive(Debug, Clone, Default)]
pub(crate) struct Made(Arc<OnceLock<String>>);

impl Made {
    pub(crate) fn tell(&self, name: &str) {
        let _ = self.0.set(name.to_owned());
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Made {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// What a call does, by its method and path.
fn action(method: &Method, path: &str) -> String {
    let rest = path.strip_prefix("/api/v1/").unwrap_or(path);
    let name = match (method.as_str(), rest) {
        ("POST", "endpoints") => "endpoint.create",
        ("PATCH", "endpoints/{ep}") => "endpoint.change",
        ("DELETE", "endpoints/{ep}") => "endpoint.remove",
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
        ("POST", "jobs/{id}/cancel") => "job.cancel",
        ("POST", "jobs/{id}/retry") => "job.retry",
        ("POST", "jobs/{id}/webhooks/redeliver") => "webhook.redeliver",
        ("POST", "webhooks/secret/rotate") => "webhook.rotate",
        ("POST", "keys") => "key.create",
        ("PATCH", "keys/{id}") => "key.change",
        ("DELETE", "keys/{id}") => "key.revoke",
        ("PUT", "secrets/{name}") => "secret.set",
        ("DELETE", "secrets/{name}") => "secret.delete",
        ("POST", "secrets/rotate-key") => "secret.rotate-key",
        ("POST", "workers/{worker}/exec") => "worker.exec",
        ("POST", "registries") => "registry.set",
        ("DELETE", "registries/{name}") => "registry.remove",
        ("POST", "disk/prune") => "disk.prune",
        (method, rest) => return format!("{method} {rest}"),
    };
    name.to_owned()
}

/// A deploy, by a call or by a commit.
const DEPLOY: &str = "release.deploy";

/// What a call is about, as its path says.
#[derive(Default)]
struct About {
    endpoint: Option<String>,
    job: Option<String>,
    key: Option<String>,
    secret: Option<String>,
    other: Option<String>,
}

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
    let (action, path) = (action(&parts.method, path.as_str()), path.as_str().to_owned());
    let mut about = About::default();
    if let Ok(params) = RawPathParams::from_request_parts(&mut parts, &()).await {
        for (name, value) in &params {
            let value = Some(value.chars().take(100).collect());
            match name {
                "ep" => about.endpoint = value,
                "name" if path.contains("/secrets/") => about.secret = value,
                "id" if path.contains("/jobs/") => about.job = value,
                "id" if path.contains("/keys/") => about.key = value,
                _ => about.other = value,
            }
        }
    }
    let made = Made::default();
    parts.extensions.insert(made.clone());
    let from = parts.extensions.get::<Peer>().map(|peer| peer.0.to_canonical().to_string());
    let mut begun = manage.begin(&caller, from, action, &about);
    let before = manage.picture(&about, &begun);
    let response = next.run(Request::from_parts(parts, body)).await;
    // A session that is agreed on has begun.
    if !response.status().is_success() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    if let Some(name) = made.0.get() {
        match begun.action.split('.').next() {
            Some("key") => about.key = Some(name.clone()),
            _ => about.endpoint = Some(name.clone()),
        }
        let again = manage.begin(&caller, begun.from.take(), begun.action, &about);
        begun = AuditRecord { at: begun.at, ..again };
    }
    if let (None, Some(ep)) = (&begun.endpoint, &about.endpoint) {
        begun.endpoint = manage.inner.engine.endpoint(ep).map(|endpoint| endpoint.id.clone());
    }
    begun.changes = changes(&before, &manage.picture(&about, &begun));
    manage.write(begun).await;
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

    fn begin(&self, caller: &Caller, from: Option<String>, action: String, about: &About) -> AuditRecord {
        let engine = &self.inner.engine;
        let named = about.endpoint.as_ref().and_then(|ep| engine.endpoint(ep));
        let job = || engine.endpoint_by_id(&engine.job(&JobId::new(about.job.clone()?)).ok()??.endpoint);
        let endpoint = named.or_else(job);
        let key = engine.vault().key(&KeyId::new(caller.name()));
        let subject = [&about.job, &about.key, &about.secret, &about.other].into_iter().flatten().next();
        AuditRecord {
            seq: 0,
            at: engine.now(),
            who: caller.name().to_owned(),
            who_name: key.map(|key| key.name),
            from,
            action,
            endpoint: endpoint.as_ref().map(|endpoint| endpoint.id.clone()),
            endpoint_name: endpoint.map(|endpoint| endpoint.name.clone()).or_else(|| about.endpoint.clone()),
            subject: subject.cloned(),
            changes: Vec::new(),
        }
    }

    /// What the views show of the thing that a call is about: what differs afterwards is what it changed.
    fn picture(&self, about: &About, begun: &AuditRecord) -> Value {
        let engine = &self.inner.engine;
        if let Some(name) = &about.secret {
            let secret = engine.reader().secret(name).ok().flatten();
            return secret.map_or(Value::Null, |secret| secrets::facts(&secret));
        }
        if let Some(id) = &about.key {
            let key = engine.vault().key(&KeyId::new(id.as_str()));
            return key.map_or(Value::Null, |key| views::key_facts(&key));
        }
        if let Some(id) = &about.job {
            let job = engine.job(&JobId::new(id.as_str())).ok().flatten();
            return job.map_or(Value::Null, |job| json!({"status": views::status(&job)}));
        }
        let endpoint = begun.endpoint.as_ref().and_then(|id| engine.endpoint_by_id(id));
        let endpoint = endpoint.or_else(|| engine.endpoint(about.endpoint.as_ref()?));
        endpoint.map_or(Value::Null, |endpoint| {
            let connection = self.connection_of(&endpoint.id).ok().flatten();
            json!({
                "name": endpoint.name,
                "settings": endpoint.settings,
                "serving": endpoint.serving,
                "newestRelease": endpoint.next_release - 1,
                "git": connection.map(|connection| json!({"origin": connection.origin, "part": connection.part})),
            })
        })
    }

    /// A commit was deployed.
    pub(crate) async fn record_commit(
        &self,
        caller: &Caller,
        endpoint: &EndpointId,
        commit: &str,
        release: u32,
    ) {
        let about = About { endpoint: Some(endpoint.to_string()), ..About::default() };
        let mut record = self.begin(caller, None, DEPLOY.to_owned(), &about);
        record.subject = Some(commit.to_owned());
        record.changes =
            changes(&json!({"newestRelease": release.saturating_sub(1)}), &json!({"newestRelease": release}));
        self.write(record).await;
    }

    /// The change is made: that it could not be written is told to whoever reads the server's log.
    async fn write(&self, record: AuditRecord) {
        if let Err(error) = self.inner.engine.put_audit(record).await {
            tracing::error!(%error, "a change was not written to the audit log");
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Which {
    endpoint: Option<String>,
    since: Option<i64>,
    before: Option<u64>,
    limit: Option<usize>,
}

pub(crate) async fn list(
    State(manage): State<Manage>,
    auth: Auth,
    Query(which): Query<Which>,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Admin, None)?;
    // Also an endpoint that is gone has a past: by its id.
    let id =
        |ep: String| manage.inner.engine.endpoint(&ep).map_or_else(|| EndpointId::new(ep), |e| e.id.clone());
    let limit = which.limit.unwrap_or(USUAL).clamp(1, MOST);
    let filter = AuditFilter {
        endpoint: which.endpoint.map(id),
        since: which.since.map(Timestamp),
        before: which.before,
        limit,
    };
    let records = manage.inner.engine.reader().audit(&filter)?;
    let next = records.last().filter(|_| records.len() == limit).map(|last| last.seq);
    Ok(Json(json!({"records": records.iter().map(view).collect::<Vec<_>>(), "next": next})))
}

/// `Audit`.
fn view(record: &AuditRecord) -> Value {
    json!({
        "seq": record.seq,
        "at": record.at.0,
        "who": record.who,
        "whoName": record.who_name,
        "from": record.from,
        "action": record.action,
        "endpoint": record.endpoint,
        "endpointName": record.endpoint_name,
        "subject": record.subject,
        "changes": record.changes,
    })
}
