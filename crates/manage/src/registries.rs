//! Logins for registries of images: list, add, remove. A password comes in once and is never shown again.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use runyard_domain::registry::{self, Login, Registry, Unfit};
use runyard_domain::{Access, Endpoint, Settings};
use runyard_engine::LoginError;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Manage;
use crate::auth::Auth;
use crate::page::Paging;
use crate::problem::Problem;
use crate::stream::Body;
use crate::try_login;
use crate::version::{self, Versions, tagged};

/// The most logins there may be.
const MOST: usize = 1_000;

/// The longest user name and password, in bytes: some registries take whole key files.
const LONGEST_USER: usize = 1_024;
const LONGEST_PASSWORD: usize = 16 * 1_024;

#[derive(Deserialize)]
pub(crate) struct Add {
    name: String,
    /// The registry's host; may be left out where a login is replaced.
    server: Option<String>,
    /// May be left out where a login is replaced.
    username: Option<String>,
    password: String,
    /// Whether a login of this name is replaced.
    #[serde(default)]
    replace: bool,
}

#[derive(Deserialize)]
pub(crate) struct Removal {
    /// Also one that is in use.
    #[serde(default)]
    force: bool,
}

pub(crate) async fn list(
    State(manage): State<Manage>,
    auth: Auth,
    paging: Paging,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Deploy, None)?;
    let all = manage.inner.engine.reader().registries()?;
    let (page, next) = paging.cut(all, |one| one.name.clone())?;
    let views: Result<Vec<Value>, Problem> = page.iter().map(|one| manage.registry_view(one)).collect();
    Ok(Json(json!({"registries": views?, "nextCursor": next})))
}

pub(crate) async fn show(
    State(manage): State<Manage>,
    auth: Auth,
    Path(name): Path<String>,
    versions: Versions,
) -> Result<Response, Problem> {
    auth.0.may(Access::Deploy, None)?;
    let found = manage.registry_named(&name)?;
    Ok(versions.show(&version::of(&found), manage.registry_view(&found)?))
}

pub(crate) async fn add(
    State(manage): State<Manage>,
    auth: Auth,
    versions: Versions,
    body: Body<Add>,
) -> Result<Response, Problem> {
    auth.0.may(Access::Admin, None)?;
    let Add { name, server, username, password, replace } = body.read()?;
    if !registry::is_valid_name(&name) {
        let name: String = name.chars().take(60).collect();
        return Err(Problem::invalid(format!(
            "{name:?} cannot name a registry login: use 1 to 64 of a-z, 0-9, '-', '_' and '.', starting with a letter or digit"
        )));
    }
    let turn = manage.inner.record_turn.lock().await;
    let all = manage.inner.engine.reader().registries()?;
    let before = all.iter().find(|one| one.name == name);
    versions.check(&before.map(version::of).unwrap_or_default())?;
    if before.is_some() && !replace {
        return Err(Problem::conflict(format!("there is a registry login '{name}' already"))
            .hint("with --replace (\"replace\": true) it is replaced"));
    }
    if before.is_none() && all.len() >= MOST {
        return Err(Problem::conflict(format!("there are {MOST} registry logins, and no more may be")));
    }
    let server = server.or_else(|| before.map(|one| one.server.clone()));
    let username = username.or_else(|| before.map(|one| one.username.clone()));
    let login = login(name, server, username, password)?;
    let record = manage.inner.engine.put_registry(&login, auth.0.name()).await?;
    tracing::info!(by = auth.0.name(), registry = record.name, "a registry login was kept");
    // It is kept whatever the registry says: it may be away, or know the password a moment later.
    drop(turn);
    let mut view = manage.registry_view(&record)?;
    view["login"] = try_login::tried(&login).await.view(&login.server);
    Ok(tagged(&version::of(&record), view))
}

/// A login of these parts, where they make one.
pub(crate) fn login(
    name: String,
    server: Option<String>,
    username: Option<String>,
    password: String,
) -> Result<Login, Problem> {
    let missing = |field: &str| Problem::invalid(format!("a registry login needs a '{field}'"));
    let written = server.ok_or_else(|| missing("server"))?;
    let server = registry::server_of(&written).ok_or_else(|| {
        let written: String = written.chars().take(80).collect();
        Problem::invalid(format!("{written:?} is no registry's host"))
            .hint("as ghcr.io, or registry.lan:5000")
    })?;
    let username = username.ok_or_else(|| missing("username"))?;
    let odd = |text: &str| text.chars().any(char::is_control);
    if username.is_empty() || username.len() > LONGEST_USER || username.contains(':') || odd(&username) {
        return Err(Problem::invalid(
            "the username is empty, too long, or holds a ':' or characters that cannot be sent",
        ));
    }
    if password.is_empty() || password.len() > LONGEST_PASSWORD || password.contains('\0') {
        return Err(Problem::invalid("the password is empty, longer than 16 KiB, or holds a zero byte"));
    }
    Ok(Login { name, server, username, password })
}

pub(crate) async fn remove(
    State(manage): State<Manage>,
    auth: Auth,
    Path(name): Path<String>,
    Query(how): Query<Removal>,
    versions: Versions,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Admin, None)?;
    let _turn = manage.inner.record_turn.lock().await;
    let found = manage.registry_named(&name)?;
    versions.check(&version::of(&found))?;
    let users = manage.users_of(&found.name)?;
    if !users.is_empty() && !how.force {
        let detail = format!("the registry login '{name}' is in use by {}", users.join(", "));
        return Err(Problem::conflict(detail).hint(
            "deploy them with another one, or with --force (?force=true) their images come without it from now on",
        ));
    }
    let view = manage.registry_view(&found)?;
    manage.inner.engine.drop_registry(&found.name).await?;
    tracing::info!(by = auth.0.name(), registry = name, "a registry login was removed");
    Ok(Json(view))
}

impl Manage {
    fn registry_named(&self, name: &str) -> Result<Registry, Problem> {
        let all = self.inner.engine.reader().registries()?;
        all.into_iter().find(|one| one.name == name).ok_or_else(|| {
            let name: String = name.chars().take(80).collect();
            Problem::not_found(format!("there is no registry login '{name}'")).hint("runyard registries list")
        })
    }

    /// `Registry`.
    fn registry_view(&self, record: &Registry) -> Result<Value, Problem> {
        Ok(json!({
            "name": record.name,
            "server": record.server,
            "username": record.username,
            "createdAt": record.created_at.0,
            "createdBy": record.created_by,
            "usedBy": self.users_of(&record.name)?,
        }))
    }

    /// The endpoints whose settings name a login, or whose workers' image was pulled with it.
    pub(crate) fn users_of(&self, name: &str) -> Result<Vec<String>, Problem> {
        let engine = &self.inner.engine;
        let mut users = Vec::new();
        for endpoint in engine.endpoints() {
            if endpoint.settings.container.registry == name || self.pulls_with(&endpoint, name)? {
                users.push(endpoint.name.clone());
            }
        }
        Ok(users)
    }

    fn pulls_with(&self, endpoint: &Endpoint, name: &str) -> Result<bool, Problem> {
        let rollout = endpoint.rollout.as_ref().map(|rollout| rollout.to);
        let in_use = |number: u32| endpoint.serving == Some(number) || rollout == Some(number);
        let releases = self.inner.engine.reader().releases(&endpoint.id)?;
        let images = releases.iter().filter(|release| in_use(release.number));
        let images = images.filter_map(|release| release.launch.as_ref()?.image.as_ref());
        Ok(images.into_iter().any(|image| image.registry.as_deref() == Some(name)))
    }

    /// Whether an image can be pulled with the login that is asked for: what is wrong is said before anything begins.
    pub(crate) fn check_login(&self, image: Option<&str>, settings: &Settings) -> Result<(), Problem> {
        let named = settings.container.registry.as_str();
        let checked = match image {
            Some(image) => self.inner.engine.login_for(image, named).map(drop),
            None if named.is_empty() => Ok(()),
            None => self.known_login(named),
        };
        checked.map_err(|error| match error {
            LoginError::Unfit(unfit @ Unfit::Several { .. }) => {
                Problem::invalid(unfit.to_string()).hint("name one: --registry NAME")
            }
            LoginError::Unfit(unfit) => Problem::invalid(unfit.to_string()).hint("runyard registries list"),
            LoginError::Store(error) => error.into(),
            sealed @ LoginError::Sealed { .. } => Problem::conflict(sealed.to_string())
                .hint("the vault's key was replaced: add the login again with --replace"),
        })
    }

    fn known_login(&self, name: &str) -> Result<(), LoginError> {
        let all = self.inner.engine.reader().registries()?;
        if all.iter().any(|one| one.name == name) {
            return Ok(());
        }
        Err(Unfit::Unknown { name: name.to_owned() }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_login_is_refused() {
        let make = |server: &str, user: &str, password: &str| {
            login("n".into(), Some(server.into()), Some(user.into()), password.into()).map(|l| l.server)
        };
        assert_eq!(make("https://GHCR.io/", "me", "p").ok().as_deref(), Some("ghcr.io"));
        for (server, user, password) in
            [("host", "me", "p"), ("ghcr.io", "", "p"), ("ghcr.io", "a:b", "p"), ("ghcr.io", "me", "")]
        {
            assert!(make(server, user, password).is_err(), "{server} {user} {password}");
        }
        assert!(login("n".into(), None, Some("u".into()), "p".into()).is_err());
    }
}
