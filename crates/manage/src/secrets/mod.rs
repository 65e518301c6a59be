//! Secrets: list, show, set, delete, and the change of the key that all of them hang on. No call answers a value.

mod uses;
mod variables;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use runyard_domain::{Access, SecretRecord, secret};
use runyard_engine::EngineError;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::Manage;
use crate::auth::Auth;
use crate::page::Paging;
use crate::problem::Problem;
use crate::stream::Body;
use crate::version::{self, Versions, tagged};

pub(crate) use uses::Use;
pub(crate) use variables::{SecretEnv, check_secure};

/// Why workers are replaced after a rotation.
const NEW_VALUE: &str = "a secret that it uses has a new value";

/// A secret's value on its way in. What is wrong with it is said without it.
#[derive(Default)]
pub(crate) struct Hidden(pub(crate) String);

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom("the value of a secret must be a string")),
        }
    }
}

pub(crate) async fn list(
    State(manage): State<Manage>,
    auth: Auth,
    paging: Paging,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Read, None)?;
    let mut uses = manage.secret_uses()?;
    let secrets = manage.inner.engine.reader().secrets()?;
    let (secrets, next) = paging.cut(secrets, |secret| secret.name.clone())?;
    let views: Vec<Value> =
        secrets.iter().map(|secret| view(secret, &uses.remove(&secret.name).unwrap_or_default())).collect();
    Ok(Json(json!({"secrets": views, "nextCursor": next})))
}

pub(crate) async fn show(
    State(manage): State<Manage>,
    auth: Auth,
    Path(name): Path<String>,
    versions: Versions,
) -> Result<Response, Problem> {
    auth.0.may(Access::Read, None)?;
    let secret = manage.secret_named(&name)?;
    Ok(versions.show(&version::of_secret(&secret), view(&secret, &manage.uses_of(&name)?)))
}

#[derive(Deserialize)]
pub(crate) struct Set {
    value: Option<Hidden>,
    description: Option<String>,
    #[serde(default)]
    restart: bool,
}

pub(crate) async fn set(
    State(manage): State<Manage>,
    auth: Auth,
    Path(name): Path<String>,
    versions: Versions,
    body: Body<Set>,
) -> Result<Response, Problem> {
    auth.0.may(Access::Deploy, None)?;
    let Set { value, description, restart } = body.read()?;
    check(&name, description.as_deref())?;
    let _turn = manage.inner.secret_turn.lock().await;
    let engine = &manage.inner.engine;
    let before = engine.reader().secret(&name)?;
    versions.check(&before.as_ref().map(version::of_secret).unwrap_or_default())?;
    let Some(mut record) = before.clone().or_else(|| value.as_ref().map(|_| fresh(&manage, &name))) else {
        return Err(Problem::invalid("a new secret needs a 'value'"));
    };
    if before.is_none() && engine.reader().secrets()?.len() >= secret::MOST {
        let detail = format!("there are {} secrets already, and no more are kept", secret::MOST);
        return Err(Problem::conflict(detail).hint("runyard secret delete NAME"));
    }
    if let Some(Hidden(value)) = &value {
        check_secure(&name, value)?;
        record.sealed = engine.seal_secret(&name, value)?;
        record.version += 1;
        record.updated_at = engine.now();
    }
    if let Some(text) = description {
        record.description = Some(text).filter(|text| !text.is_empty());
    }
    engine.put_secret(record.clone()).await?;
    manage.inner.fleet.secret_came();
    let uses = manage.uses_of(&name)?;
    let mut view = view(&record, &uses);
    view["created"] = json!(before.is_none());
    view["restarting"] = match value.filter(|_| restart) {
        Some(_) => uses.iter().map(|one| manage.restart_users(one)).collect(),
        None => json!([]),
    };
    Ok(tagged(&version::of_secret(&record), view))
}

#[derive(Deserialize, Default)]
pub(crate) struct Force {
    #[serde(default)]
    force: bool,
}

pub(crate) async fn delete(
    State(manage): State<Manage>,
    auth: Auth,
    Path(name): Path<String>,
    Query(Force { force }): Query<Force>,
    versions: Versions,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Deploy, None)?;
    let _turn = manage.inner.secret_turn.lock().await;
    versions.check(&version::of_secret(&manage.secret_named(&name)?))?;
    let uses = manage.uses_of(&name)?;
    if !force && !uses.is_empty() {
        let who: Vec<String> = uses.iter().map(Use::words).collect();
        return Err(Problem::conflict(format!("the secret '{name}' is used by {}", who.join(", "))).hint(
            format!("take it out of their variables first; 'runyard secret delete {name} --force' deletes it, and \
             their next workers do not start"),
        ));
    }
    manage.inner.engine.drop_secret(&name).await?;
    let used_by: Vec<Value> = uses.iter().map(Use::view).collect();
    Ok(Json(json!({"name": name, "deleted": true, "usedBy": used_by})))
}

pub(crate) async fn rotate_key(State(manage): State<Manage>, auth: Auth) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Admin, None)?;
    let _turn = manage.inner.secret_turn.lock().await;
    let rotated = manage.inner.engine.rotate_key().await;
    let key = rotated.map_err(|error| match error {
        EngineError::Seal(error) => {
            let why = std::error::Error::source(&error).map_or(String::new(), |why| format!(": {why}"));
            Problem::conflict(format!("{error}{why}")).hint(
                "the server must be able to write the key file and its folder; where it must not, put a new key in \
                 its first line yourself and start the server anew",
            )
        }
        other => other.into(),
    })?;
    Ok(Json(json!({"key": key})))
}

impl Manage {
    fn secret_named(&self, name: &str) -> Result<SecretRecord, Problem> {
        let shown: String = name.chars().take(80).collect();
        self.inner.engine.reader().secret(name)?.ok_or_else(|| {
            Problem::not_found(format!("there is no secret '{shown}'")).hint("runyard secret list")
        })
    }

    fn restart_users(&self, one: &Use) -> Value {
        let workers = self.inner.fleet.restart_rolling(&one.endpoint.id, &one.releases, NEW_VALUE);
        json!({"endpoint": one.endpoint.id, "endpointName": one.endpoint.name, "workers": workers})
    }
}

fn fresh(manage: &Manage, name: &str) -> SecretRecord {
    let now = manage.inner.engine.now();
    SecretRecord {
        name: name.to_owned(),
        description: None,
        version: 0,
        created_at: now,
        updated_at: now,
        used_at: None,
        sealed: String::new(),
    }
}

fn check(name: &str, description: Option<&str>) -> Result<(), Problem> {
    if !secret::is_valid_name(name) {
        let shown: String = name.chars().take(80).collect();
        return Err(Problem::invalid(format!(
            "'{shown}' cannot name a secret: use 1 to {} letters, digits and '_'",
            secret::LONGEST_NAME
        )));
    }
    if description.is_some_and(|text| text.len() > secret::LONGEST_DESCRIPTION) {
        let detail = format!("a description has at most {} bytes", secret::LONGEST_DESCRIPTION);
        return Err(Problem::invalid(detail));
    }
    Ok(())
}

/// `Secret`.
fn view(secret: &SecretRecord, uses: &[Use]) -> Value {
    json!({
        "name": secret.name,
        "description": secret.description,
        "version": secret.version,
        "createdAt": secret.created_at.0,
        "updatedAt": secret.updated_at.0,
        "usedAt": secret.used_at.map(|at| at.0),
        "usedBy": uses.iter().map(Use::view).collect::<Vec<_>>(),
    })
}
