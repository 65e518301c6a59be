//! API keys: list, create, revoke. A key is shown once, when it is made.

use axum::Json;
use axum::extract::{Path, State};
use runyard_domain::{Access, EndpointId, KeyId, KeyRecord, Rates};
use runyard_vault::KeyRequest;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Auth;
use crate::problem::Problem;
use crate::stream::Body;
use crate::{Manage, views};

/// The longest life that can be said, in seconds.
const LONGEST_LIFE_S: i64 = 100 * 365 * 86_400;

pub(crate) async fn list(State(manage): State<Manage>, auth: Auth) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Admin, None)?;
    let keys = manage.inner.engine.reader().keys()?;
    Ok(Json(json!({"keys": keys.iter().map(|key| named(&manage, key)).collect::<Vec<_>>()})))
}

/// A key, and the names of its endpoints; one that was removed has its id for a name.
fn named(manage: &Manage, record: &KeyRecord) -> Value {
    let name = |id: &EndpointId| {
        manage
            .inner
            .engine
            .endpoint_by_id(id)
            .map_or_else(|| id.to_string(), |endpoint| endpoint.name.clone())
    };
    let mut view = views::key(record);
    view["endpointNames"] = record.endpoints.iter().map(name).collect();
    view
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Create {
    name: String,
    access: Access,
    #[serde(default)]
    endpoints: Vec<String>,
    expires_in_s: Option<i64>,
    #[serde(default)]
    rates: Rates,
}

pub(crate) async fn create(
    State(manage): State<Manage>,
    auth: Auth,
    body: Body<Create>,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Admin, None)?;
    let body = body.read()?;
    if body.access == Access::Admin && !body.endpoints.is_empty() {
        return Err(Problem::invalid("a key with admin access cannot be restricted to endpoints"));
    }
    if body.expires_in_s.is_some_and(|s| !(1..=LONGEST_LIFE_S).contains(&s)) {
        let most =
            format!("expiresInS must be 1 to {LONGEST_LIFE_S} (100 years); without it a key does not expire");
        return Err(Problem::invalid(most));
    }
    let engine = &manage.inner.engine;
    let endpoints: Result<Vec<_>, Problem> = body
        .endpoints
        .iter()
        .map(|ep| engine.endpoint(ep).map(|e| e.id.clone()).ok_or_else(|| Problem::no_endpoint(ep)))
        .collect();
    let request = KeyRequest {
        name: body.name,
        access: body.access,
        endpoints: endpoints?,
        expires_at: body.expires_in_s.map(|s| engine.now().plus(s.saturating_mul(1000))),
    };
    let (mut record, key) = engine.vault().make_key(request);
    record.rates = body.rates;
    engine.put_key(record.clone()).await?;
    let mut view = named(&manage, &record);
    view["key"] = json!(key);
    Ok(Json(view))
}

pub(crate) async fn revoke(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Admin, None)?;
    let engine = &manage.inner.engine;
    let found = engine.vault().key(&KeyId::new(id.as_str()));
    let mut record = found.ok_or_else(|| Problem::not_found(format!("there is no key '{id}'")))?;
    record.revoked_at.get_or_insert(engine.now());
    engine.put_key(record.clone()).await?;
    Ok(Json(named(&manage, &record)))
}
