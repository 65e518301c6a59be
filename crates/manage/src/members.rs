//! Members: list, show, add, change, remove. What a member may do bounds every key that is the member's at the moment of
//! each call; so nothing has to be rewritten where a role shrinks.

use axum::Json;
use axum::extract::{Path, State};
use runyard_domain::member::{LONGEST_NAME, MOST, email};
use runyard_domain::{Access, Member, Role};
use runyard_engine::Trail;
use runyard_vault::KeyRequest;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Manage;
use crate::auth::Auth;
use crate::page::Paging;
use crate::problem::Problem;
use crate::sign_in::Browser;
use crate::stream::Body;

pub(crate) async fn list(
    State(manage): State<Manage>,
    auth: Auth,
    paging: Paging,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Admin, None)?;
    let members = manage.inner.engine.vault().members();
    let (page, next) = paging.cut(members, |member| member.email.clone())?;
    let views: Vec<Value> = page.iter().map(|member| manage.member_view(member)).collect();
    Ok(Json(json!({"members": views, "nextCursor": next})))
}

pub(crate) async fn show(
    State(manage): State<Manage>,
    auth: Auth,
    Path(named): Path<String>,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Admin, None)?;
    Ok(Json(manage.member_view(&manage.member_named(&named)?)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Add {
    email: String,
    #[serde(default)]
    name: String,
    role: Role,
    /// Makes a key for the member, too.
    #[serde(default)]
    key: bool,
    /// Of that key.
    expires_in_s: Option<i64>,
}

pub(crate) async fn add(
    State(manage): State<Manage>,
    auth: Auth,
    body: Body<Add>,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Admin, None)?;
    let body = body.read()?;
    let email = read_email(&body.email)?;
    check_name(&body.name)?;
    crate::keys::check_life(body.expires_in_s)?;
    let engine = &manage.inner.engine;
    let _turn = manage.inner.member_turn.lock().await;
    manage.room_for_member()?;
    if engine.vault().find_member(&email).is_some() {
        return Err(Problem::conflict(format!("{email} is a member already"))
            .hint("runyard members set changes a role"));
    }
    let member = Member {
        id: engine.env().member_id(),
        name: body.name,
        email,
        role: body.role,
        created_at: engine.now(),
        created_by: auth.0.name().to_owned(),
        disabled_at: None,
        signed_in_at: None,
        subject: None,
    };
    engine.put_member(member.clone()).await?;
    let mut key = None;
    if body.key {
        let request = KeyRequest {
            name: format!("key of {}", member.email),
            access: member.role.access().unwrap_or(Access::Read),
            endpoints: Vec::new(),
            expires_at: body.expires_in_s.map(|s| engine.now().plus(s.saturating_mul(1000))),
        };
        let (mut record, made) = engine.vault().make_key(request);
        record.member = Some(member.id.clone());
        Trail::beside("key.create").scope(engine.put_key(record)).await?;
        key = Some(made);
    }
    let mut view = manage.member_view(&member);
    if let Some(key) = key {
        view["key"] = json!(key);
    }
    Ok(Json(view))
}

#[derive(Deserialize)]
pub(crate) struct Change {
    name: Option<String>,
    email: Option<String>,
    role: Option<Role>,
    disabled: Option<bool>,
}

pub(crate) async fn change(
    State(manage): State<Manage>,
    auth: Auth,
    Path(named): Path<String>,
    body: Body<Change>,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Admin, None)?;
    let change = body.read()?;
    let engine = &manage.inner.engine;
    let _turn = manage.inner.member_turn.lock().await;
    let before = manage.member_named(&named)?;
    let mut member = before.clone();
    if let Some(name) = change.name {
        check_name(&name)?;
        member.name = name;
    }
    if let Some(text) = change.email {
        let email = read_email(&text)?;
        if engine.vault().find_member(&email).is_some_and(|other| other.id != member.id) {
            return Err(Problem::conflict(format!("{email} is another member already")));
        }
        if email != member.email {
            // Whoever has the new address signs in from now on.
            (member.email, member.subject) = (email, None);
        }
    }
    member.role = change.role.unwrap_or(member.role);
    if let Some(disabled) = change.disabled {
        member.disabled_at = disabled.then(|| member.disabled_at.unwrap_or(engine.now()));
    }
    manage.keeps_an_admin(&before, Some(&member))?;
    engine.put_member(member.clone()).await?;
    Ok(Json(manage.member_view(&member)))
}

pub(crate) async fn remove(
    State(manage): State<Manage>,
    auth: Auth,
    Path(named): Path<String>,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Admin, None)?;
    let _turn = manage.inner.member_turn.lock().await;
    let member = manage.member_named(&named)?;
    manage.keeps_an_admin(&member, None)?;
    let view = manage.member_view(&member);
    manage.inner.engine.drop_member(&member.id).await?;
    Ok(Json(view))
}

/// Who calls.
pub(crate) async fn me(State(manage): State<Manage>, auth: Auth, browser: Option<Browser>) -> Json<Value> {
    let vault = manage.inner.engine.vault();
    let key = vault.key(&runyard_domain::KeyId::new(auth.0.name()));
    let member = auth.0.member().and_then(|id| vault.member(id));
    let sees_any = auth.0.endpoints().is_empty();
    Json(json!({
        "who": auth.0.name(),
        "name": key.as_ref().map(|key| &key.name),
        "access": auth.0.access(),
        "endpoints": auth.0.endpoints().iter().filter(|id| auth.0.sees(id)).collect::<Vec<_>>(),
        "everyEndpoint": sees_any,
        "billing": auth.0.may_see_billing().is_ok(),
        "session": auth.0.is_session(),
        "expiresAt": key.and_then(|key| key.expires_at).map(|at| at.0),
        "member": member.map(|member| manage.member_view(&member)),
        "csrf": browser.map(|browser| browser.csrf),
    }))
}

impl Manage {
    /// `Member`.
    pub(crate) fn member_view(&self, member: &Member) -> Value {
        let keys = self.inner.engine.vault().keys_of(&member.id);
        let now = self.inner.engine.now();
        let opens = |key: &&runyard_domain::KeyRecord| {
            key.revoked_at.is_none() && key.expires_at.is_none_or(|at| at > now)
        };
        let (sessions, keys): (Vec<_>, Vec<_>) =
            keys.iter().filter(opens).partition(|key| key.session.is_some());
        json!({
            "id": member.id,
            "email": member.email,
            "name": member.name,
            "role": member.role,
            "state": if member.disabled_at.is_some() { "disabled" } else { "active" },
            "createdAt": member.created_at.0,
            "createdBy": member.created_by,
            "disabledAt": member.disabled_at.map(|at| at.0),
            "signedInAt": member.signed_in_at.map(|at| at.0),
            "keys": keys.len(),
            "sessions": sessions.len(),
        })
    }

    /// The member with this id or e-mail address.
    pub(crate) fn member_named(&self, named: &str) -> Result<Member, Problem> {
        self.inner.engine.vault().find_member(named).ok_or_else(|| {
            let shown: String = named.chars().take(80).collect();
            Problem::not_found(format!("there is no member '{shown}'")).hint("runyard members list")
        })
    }

    /// There is room for one more.
    pub(crate) fn room_for_member(&self) -> Result<(), Problem> {
        if self.inner.engine.vault().members().len() >= MOST {
            return Err(Problem::conflict(format!("there are {MOST} members, and more there cannot be"))
                .hint("runyard members remove"));
        }
        Ok(())
    }

    /// The last administrator stays one.
    pub(crate) fn keeps_an_admin(&self, before: &Member, after: Option<&Member>) -> Result<(), Problem> {
        let stays = !before.is_active_admin() || after.is_some_and(Member::is_active_admin);
        let members = self.inner.engine.vault().members();
        if stays || members.iter().any(|other| other.id != before.id && other.is_active_admin()) {
            return Ok(());
        }
        let detail = format!("{} is the last administrator among the members", before.email);
        Err(Problem::conflict(detail)
            .hint("make another member an administrator before: runyard members set EMAIL --role admin"))
    }
}

fn read_email(text: &str) -> Result<String, Problem> {
    let shown = || text.chars().take(80).collect::<String>();
    email(text).ok_or_else(|| Problem::invalid(format!("'{}' is no e-mail address", shown())))
}

fn check_name(name: &str) -> Result<(), Problem> {
    if name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(Problem::invalid(format!(
            "a member's name has at most {LONGEST_NAME} bytes, and no control characters"
        )));
    }
    Ok(())
}
