//! Registry credentials on this wire: a name, a user and a password, without saying for which registry. Behind them
//! are the logins that `/api/v1/registries` keeps, each of which is for one: the first is for the registry that the
//! name names, else for Docker's, and an image from another one that names the credentials gets one of its own.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use runyard_domain::registry::{DOCKER, Login, host_of, is_valid_name, server_of};
use runyard_domain::resource::Kind;
use runyard_domain::{Access, Resource, ResourceId};
use serde_json::{Value, json};

use super::endpoints::create::slug;
use super::reader::Raw;
use crate::auth::Auth;
use crate::problem::Problem;
use crate::{Manage, registries};

impl Manage {
    /// The credentials of this id, with the names of their logins. A login that was made by another door is known by
    /// its name.
    fn credentials(&self, id: &str) -> Result<(Option<Resource>, Vec<String>), Problem> {
        if let Some(resource) = self.inner.engine.reader().resource(&ResourceId::new(id))?
            && let Kind::Registry { logins } = &resource.kind
        {
            let logins = logins.clone();
            return Ok((Some(resource), logins));
        }
        let all = self.inner.engine.reader().registries()?;
        if all.iter().any(|login| login.name == id) {
            return Ok((None, vec![id.to_owned()]));
        }
        let id: String = id.chars().take(60).collect();
        Err(Problem::not_found(format!("there are no registry credentials '{id}'")))
    }

    /// Refuses credentials that there are not.
    pub(super) fn check_registry(&self, id: &str) -> Result<(), Problem> {
        self.credentials(id).map(drop)
    }

    /// The login that an image is pulled with by these credentials. Who names them for an image means its registry.
    pub(super) async fn login_of(&self, id: &str, image: &str) -> Result<String, Problem> {
        let (resource, mut names) = self.credentials(id)?;
        let host = host_of(image);
        let engine = &self.inner.engine;
        let all = engine.reader().registries()?;
        let own: Vec<_> = all.iter().filter(|login| names.contains(&login.name)).collect();
        if let Some(fits) = own.iter().find(|login| login.server == host) {
            return Ok(fits.name.clone());
        }
        let (Some(resource), Some(first)) = (resource, own.first()) else {
            // The deploy says what is wrong with it.
            return Ok(id.to_owned());
        };
        let opened = engine.login_for(&format!("{}/x", first.server), &first.name);
        let opened = opened.map_err(|error| Problem::conflict(error.to_string()))?;
        let opened =
            opened.ok_or_else(|| Problem::not_found(format!("there are no registry credentials '{id}'")))?;
        let login = Login { name: self.free_login(&first.name)?, server: host, ..opened };
        engine.put_registry(&login, "local").await?;
        names.push(login.name.clone());
        engine.put_resource(Resource { kind: Kind::Registry { logins: names }, ..resource }).await?;
        Ok(login.name)
    }

    /// A name for a login that no other has.
    fn free_login(&self, title: &str) -> Result<String, Problem> {
        let all = self.inner.engine.reader().registries()?;
        let name: String = slug(title).chars().take(50).collect();
        if is_valid_name(&name) && !all.iter().any(|login| login.name == name) {
            return Ok(name);
        }
        Ok(format!("{name}-{}", self.inner.engine.env().token(6)))
    }

    /// Every set of credentials: id and name.
    fn all_credentials(&self) -> Result<Vec<(String, String)>, Problem> {
        let mut all = Vec::new();
        let mut known = Vec::new();
        for resource in self.resources()? {
            if let Kind::Registry { logins } = resource.kind {
                known.extend(logins);
                all.push((resource.id.to_string(), resource.name));
            }
        }
        let others = self.inner.engine.reader().registries()?.into_iter();
        let others = others.filter(|login| !known.contains(&login.name));
        all.extend(others.map(|login| (login.name.clone(), login.name)));
        Ok(all)
    }
}

fn view(id: &str, name: &str) -> Value {
    json!({"id": id, "name": name})
}

pub(super) async fn list(State(manage): State<Manage>, auth: Auth) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Read, None)?;
    let views: Vec<Value> = manage.all_credentials()?.iter().map(|(id, name)| view(id, name)).collect();
    Ok(Json(json!({"registries": views})))
}

pub(super) async fn create(
    State(manage): State<Manage>,
    auth: Auth,
    body: Raw,
) -> Result<(StatusCode, Json<Value>), Problem> {
    auth.0.may(Access::Admin, None)?;
    let (name, username, password) = body.read(|body| {
        let name = body.required("name", body.name("name"));
        let username = body.required("username", body.text("username"));
        let password = body.required("password", body.text("password"));
        Some((name?, username?, password?))
    })?;
    let _turn = manage.inner.rest.turn.lock().await;
    if manage.all_credentials()?.iter().any(|(_, other)| *other == name) {
        return Err(Problem::conflict(format!("there are registry credentials '{name}' already"))
            .hint("delete those first, or take another name"));
    }
    let server = server_of(&name).unwrap_or_else(|| DOCKER.to_owned());
    let login = registries::login(manage.free_login(&name)?, Some(server), Some(username), password)?;
    let engine = &manage.inner.engine;
    engine.put_registry(&login, auth.0.name()).await?;
    let (id, created_at) = (engine.env().resource_id(), engine.now());
    let shown = view(id.as_str(), &name);
    let kind = Kind::Registry { logins: vec![login.name] };
    engine.put_resource(Resource { id, name, created_at, kind }).await?;
    Ok((StatusCode::CREATED, Json(shown)))
}

pub(super) async fn show(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Read, None)?;
    let (resource, _) = manage.credentials(&id)?;
    Ok(Json(view(&id, resource.as_ref().map_or(&id, |resource| &resource.name))))
}

pub(super) async fn remove(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    auth.0.may(Access::Admin, None)?;
    let _turn = manage.inner.rest.turn.lock().await;
    let (resource, logins) = manage.credentials(&id)?;
    let named = |config: &runyard_domain::resource::ContainerConfig| config.registry.as_deref() == Some(&id);
    let templates = manage.resources()?;
    let template =
        templates.iter().find(|other| matches!(&other.kind, Kind::Template(t) if named(&t.config)));
    if let Some(template) = template {
        return Err(in_use(&id, &format!("the template '{}'", template.name)));
    }
    let endpoints = manage.inner.engine.endpoints();
    let asked = endpoints.iter().find(|e| e.blueprint.as_ref().is_some_and(|b| named(&b.config)));
    if let Some(endpoint) = asked {
        return Err(in_use(&id, &format!("the endpoint '{}'", endpoint.name)));
    }
    for login in &logins {
        if let Some(user) = manage.users_of(login)?.first() {
            return Err(in_use(&id, &format!("the endpoint '{user}'")));
        }
    }
    for login in &logins {
        manage.inner.engine.drop_registry(login).await?;
    }
    if let Some(resource) = resource {
        manage.inner.engine.drop_resource(&resource.id).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

fn in_use(id: &str, user: &str) -> Problem {
    Problem::conflict(format!("the registry credentials '{id}' are in use by {user}"))
        .hint("take them from it, or delete that, first")
}

/// Delegations are rights in somebody's cloud account: there are none here.
pub(super) async fn delegations(auth: Auth) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Read, None)?;
    Ok(Json(json!({"delegations": []})))
}

pub(super) async fn delegate(
    State(_manage): State<Manage>,
    auth: Auth,
    body: Raw,
) -> Result<StatusCode, Problem> {
    auth.0.may(Access::Deploy, None)?;
    body.read(|body| {
        let _ = body.nullable("name");
        body.required("resource", body.text("resource"))
    })?;
    Err(Problem::invalid("a registry of AWS cannot be delegated here")
        .hint("make registry credentials with a token of that registry"))
}

pub(super) async fn revoke(auth: Auth, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    auth.0.may(Access::Deploy, None)?;
    let id: String = id.chars().take(60).collect();
    Err(Problem::not_found(format!("there is no delegation '{id}'")))
}
