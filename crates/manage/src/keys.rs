//! API keys: list, show, create, change, revoke. A key is shown once, when it is made.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use runyard_domain::{
    Access, EndpointId, KeyId, KeyRecord, Member, MemberId, Operation, Origin, PageUse, Rates, Role,
};
use runyard_vault::{Denied, KeyRequest};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::auth::Auth;
use crate::page::Paging;
use crate::problem::Problem;
use crate::stream::Body;
use crate::version::{self, Versions, tagged};
use crate::{Manage, views};

/// The longest life that can be said, in seconds.
const LONGEST_LIFE_S: i64 = 100 * 365 * 86_400;

/// The longest name, in bytes.
const LONGEST_NAME: usize = 200;

/// The most endpoints that a key is restricted to, and the most origins.
const MOST_ENDPOINTS: usize = 200;
const MOST_ORIGINS: usize = 20;

#[derive(Deserialize)]
pub(crate) struct Which {
    /// Only those of this member.
    member: Option<String>,
    /// Those of people who signed in, too.
    #[serde(default)]
    sessions: bool,
}

pub(crate) async fn list(
    State(manage): State<Manage>,
    auth: Auth,
    Query(which): Query<Which>,
    paging: Paging,
) -> Result<Json<Value>, Problem> {
    let own = reach(&auth)?;
    let member = which.member.map(|named| manage.member_named(&named)).transpose()?.map(|member| member.id);
    let is_of = |record: &KeyRecord, whose: &Option<MemberId>| whose.is_none() || record.member == *whose;
    let fits = |record: &KeyRecord| {
        record.id.as_str() != runyard_vault::OWNER
            && (which.sessions || record.session.is_none())
            && is_of(record, &own)
            && is_of(record, &member)
    };
    // The vault knows of uses that are not written yet.
    let keys = manage.inner.engine.vault().keys_where(fits);
    let (keys, next) = paging.cut(keys, |key| (key.created_at.0, key.id.to_string()))?;
    let views: Vec<Value> = keys.iter().map(|key| named(&manage, key)).collect();
    Ok(Json(json!({"keys": views, "nextCursor": next})))
}

/// Whose keys the caller may see and change: everybody's, or, of a member, the own.
fn reach(auth: &Auth) -> Result<Option<MemberId>, Denied> {
    match auth.0.may(Access::Admin, None) {
        Ok(()) => Ok(None),
        Err(denied) => auth.0.as_member().cloned().map(Some).ok_or(denied),
    }
}

pub(crate) async fn show(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
    versions: Versions,
) -> Result<Response, Problem> {
    let own = reach(&auth)?;
    let key = manage.key(&id, own.as_ref())?;
    Ok(versions.show(&version::of_key(&key), named(&manage, &key)))
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
    let mut view = views::key(record, manage.inner.engine.now());
    view["endpointNames"] = record.endpoints.iter().map(name).collect();
    let member = record.member.as_ref().map(|id| (id, manage.inner.engine.vault().member(id)));
    if let Some((id, member)) = member {
        let role = member.as_ref().map(|member| member.role);
        // What it opens now: no more than the role does.
        if role.is_some_and(|role| role.access().is_none_or(|most| record.access > most)) {
            view["access"] = json!(role.and_then(Role::access).map_or(json!("none"), |most| json!(most)));
        }
        if view["state"] == "valid" && member.as_ref().is_none_or(|member| member.disabled_at.is_some()) {
            view["state"] = json!("disabled");
        }
        view["member"] = json!({"id": id, "email": member.map(|member| member.email), "role": role});
    }
    view
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Create {
    name: String,
    access: Access,
    #[serde(default)]
    endpoints: Vec<String>,
    /// Endpoints, also beyond those, with which it may do something else.
    #[serde(default)]
    grants: BTreeMap<String, Access>,
    expires_in_s: Option<i64>,
    #[serde(default)]
    rates: Rates,
    /// It is made for pages in browsers.
    page: Option<Page>,
    /// Whose it is: the caller's where the caller is a member, else nobody's; null: nobody's.
    #[serde(default)]
    member: Owner,
}

/// Whose a key shall be.
#[derive(Default)]
enum Owner {
    /// The caller's.
    #[default]
    Caller,
    /// This member's, or nobody's.
    Said(Option<String>),
}

impl<'de> Deserialize<'de> for Owner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::Said)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    #[serde(default)]
    operations: Vec<Operation>,
    #[serde(default)]
    origins: Vec<String>,
}

pub(crate) async fn create(
    State(manage): State<Manage>,
    auth: Auth,
    body: Body<Create>,
) -> Result<Response, Problem> {
    let own = reach(&auth)?;
    let body = body.read()?;
    let member = manage.owner_of(&auth, own.as_ref(), &body.member)?;
    if own.is_some() && body.rates != Rates::default() {
        return Err(Problem::refused("how often a key may call is said by administrators"));
    }
    check_name(&body.name)?;
    check_life(body.expires_in_s)?;
    if body.endpoints.len() + body.grants.len() > MOST_ENDPOINTS {
        return Err(Problem::invalid(format!("a key is for {MOST_ENDPOINTS} endpoints at most")));
    }
    let engine = &manage.inner.engine;
    let id_of =
        |ep: &String| engine.endpoint(ep).map(|e| e.id.clone()).ok_or_else(|| Problem::no_endpoint(ep));
    let mut endpoints: Vec<EndpointId> = body.endpoints.iter().map(id_of).collect::<Result<_, _>>()?;
    let mut grants = BTreeMap::new();
    for (ep, access) in &body.grants {
        let id = id_of(ep)?;
        if !endpoints.contains(&id) {
            endpoints.push(id.clone());
        }
        grants.insert(id, *access);
    }
    let is_restricted = !endpoints.is_empty();
    if is_restricted && (body.access == Access::Admin || grants.values().any(|a| *a == Access::Admin)) {
        return Err(Problem::invalid("a key with admin access cannot be restricted to endpoints"));
    }
    let page = body.page.map(page_use).transpose()?;
    if page.is_some() && (!is_restricted || !grants.is_empty() || body.access > Access::Run) {
        return Err(Problem::invalid(
            "a key for pages in browsers, which anybody can read there, is for named endpoints, with read or run access",
        ));
    }
    let highest = grants.values().copied().max().unwrap_or(body.access).max(body.access);
    check_role(member.as_ref(), highest)?;
    let request = KeyRequest {
        name: body.name,
        access: body.access,
        endpoints,
        expires_at: body.expires_in_s.map(|s| engine.now().plus(s.saturating_mul(1000))),
    };
    let make =
        if page.is_some() { runyard_vault::Vault::make_page_key } else { runyard_vault::Vault::make_key };
    let (mut record, key) = make(engine.vault(), request);
    record.rates = body.rates;
    record.grants = grants;
    record.page = page;
    record.member = member.map(|member| member.id);
    engine.put_key(record.clone()).await?;
    let mut view = named(&manage, &record);
    view["key"] = json!(key);
    Ok(tagged(&version::of_key(&record), view))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    name: Option<String>,
    disabled: Option<bool>,
    /// From now on; null: it does not expire.
    #[serde(default)]
    expires_in_s: Life,
    rates: Option<Rates>,
}

/// How long a key is valid from now on.
#[derive(Default)]
enum Life {
    /// As it was.
    #[default]
    AsItWas,
    /// So many seconds; for ever where nothing is said.
    FromNow(Option<i64>),
}

impl<'de> Deserialize<'de> for Life {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::FromNow)
    }
}

pub(crate) async fn change(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
    versions: Versions,
    body: Body<Change>,
) -> Result<Response, Problem> {
    let own = reach(&auth)?;
    let change = body.read()?;
    let engine = &manage.inner.engine;
    let _turn = manage.inner.record_turn.lock().await;
    let mut record = manage.key(&id, own.as_ref())?;
    versions.check(&version::of_key(&record))?;
    if record.session.is_some() {
        return Err(Problem::conflict("a session is not changed").hint("runyard keys revoke ends it"));
    }
    if own.is_some() && change.rates.is_some() {
        return Err(Problem::refused("how often a key may call is said by administrators"));
    }
    if record.revoked_at.is_some() {
        return Err(Problem::conflict(format!("the key '{id}' was revoked for good"))
            .hint("runyard keys create makes another"));
    }
    let now = engine.now();
    if let Some(name) = change.name {
        check_name(&name)?;
        record.name = name;
    }
    if let Life::FromNow(life) = change.expires_in_s {
        check_life(life)?;
        record.expires_at = life.map(|s| now.plus(s.saturating_mul(1000)));
    }
    if let Some(disabled) = change.disabled {
        record.disabled_at = disabled.then(|| record.disabled_at.unwrap_or(now));
    }
    if let Some(rates) = change.rates {
        record.rates = rates;
    }
    engine.put_key(record.clone()).await?;
    Ok(tagged(&version::of_key(&record), named(&manage, &record)))
}

pub(crate) async fn revoke(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
    versions: Versions,
) -> Result<Json<Value>, Problem> {
    let own = reach(&auth)?;
    let engine = &manage.inner.engine;
    let _turn = manage.inner.record_turn.lock().await;
    let mut record = manage.key(&id, own.as_ref())?;
    versions.check(&version::of_key(&record))?;
    record.revoked_at.get_or_insert(engine.now());
    engine.put_key(record.clone()).await?;
    Ok(Json(named(&manage, &record)))
}

impl Manage {
    /// A key that the store has, of whom the caller may see keys: the owner's, which lives as long as the server, is none
    /// of these.
    fn key(&self, id: &str, own: Option<&MemberId>) -> Result<KeyRecord, Problem> {
        let found = self.inner.engine.vault().key(&KeyId::new(id)).filter(|_| id != runyard_vault::OWNER);
        let found = found.filter(|record| own.is_none() || record.member.as_ref() == own);
        let shown: String = id.chars().take(80).collect();
        found
            .ok_or_else(|| Problem::not_found(format!("there is no key '{shown}'")).hint("runyard keys list"))
    }
}

impl Manage {
    /// Whose a new key is.
    fn owner_of(&self, auth: &Auth, own: Option<&MemberId>, said: &Owner) -> Result<Option<Member>, Problem> {
        let caller = || auth.0.member().and_then(|id| self.inner.engine.vault().member(id));
        let member = match said {
            Owner::Caller => caller(),
            Owner::Said(None) => None,
            Owner::Said(Some(named)) => Some(self.member_named(named)?),
        };
        if own.is_some() && member.as_ref().map(|member| &member.id) != own {
            return Err(Problem::refused("only administrators make keys for others"));
        }
        Ok(member)
    }
}

/// A key of a member is for what the member may do.
fn check_role(member: Option<&Member>, access: Access) -> Result<(), Problem> {
    let Some(member) = member else { return Ok(()) };
    if member.role.access().is_some_and(|most| access <= most) {
        return Ok(());
    }
    let role = member.role;
    Err(Problem::invalid(match role.access() {
        Some(most) => {
            format!("a key of a member with the role '{role}' has at most the access '{}'", word(most))
        }
        None => format!(
            "a member with the role '{role}' has nothing to do with endpoints, and so no key for them"
        ),
    }))
}

fn word(access: Access) -> String {
    json!(access).as_str().unwrap_or_default().to_owned()
}

fn check_name(name: &str) -> Result<(), Problem> {
    if name.len() > LONGEST_NAME {
        return Err(Problem::invalid(format!("a key's name has at most {LONGEST_NAME} bytes")));
    }
    Ok(())
}

pub(crate) fn check_life(seconds: Option<i64>) -> Result<(), Problem> {
    if seconds.is_some_and(|s| !(1..=LONGEST_LIFE_S).contains(&s)) {
        let most =
            format!("expiresInS must be 1 to {LONGEST_LIFE_S} (100 years); without it a key does not expire");
        return Err(Problem::invalid(most));
    }
    Ok(())
}

/// What a key for pages is held to; where no operation is named, every one that pages may have.
fn page_use(page: Page) -> Result<PageUse, Problem> {
    if page.origins.len() > MOST_ORIGINS {
        return Err(Problem::invalid(format!("a key has at most {MOST_ORIGINS} origins")));
    }
    let origins = page.origins.iter().map(|text| origin(text)).collect::<Result<_, _>>()?;
    let mut operations = if page.operations.is_empty() { Operation::ALL.to_vec() } else { page.operations };
    operations.sort_unstable();
    operations.dedup();
    Ok(PageUse { operations, origins })
}

/// One origin, as browsers send it: a key that any page may use names none.
fn origin(text: &str) -> Result<String, Problem> {
    match text.parse() {
        Ok(Origin::Page(page)) => Ok(page),
        Ok(Origin::Any) | Err(_) => {
            let shown: String = text.chars().take(80).collect();
            Err(Problem::invalid(format!(
                "'{shown}' is no origin: write it as https://example.com, or http://localhost:3000"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_one_page_s() {
        assert_eq!(origin("https://Example.com:443/").ok().as_deref(), Some("https://example.com"));
        for bad in ["*", "example.com", "null"] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }
}
