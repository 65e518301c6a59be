//! Endpoints: list, create, show, remove, purge, restart. How one is changed has a file of its own.

pub(crate) mod change;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use runyard_domain::endpoint::{Settings, is_valid_name};
use runyard_domain::{Access, Endpoint, EndpointId};
use runyard_vault::Caller;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::auth::Auth;
use crate::page::Paging;
use crate::problem::Problem;
use crate::stream::Body;
use crate::version::{self, Versions, tagged};
use crate::{Manage, fields};

pub(crate) async fn list(
    State(manage): State<Manage>,
    auth: Auth,
    paging: Paging,
) -> Result<Json<Value>, Problem> {
    let seen = manage.inner.engine.endpoints().into_iter().filter(|e| auth.0.sees(&e.id)).collect();
    let (page, next) = paging.cut(seen, |e: &Arc<Endpoint>| e.name.clone())?;
    let views: Result<Vec<Value>, Problem> = page.iter().map(|e| manage.endpoint_view(e)).collect();
    Ok(Json(json!({"endpoints": views?, "nextCursor": next})))
}

#[derive(Deserialize)]
pub(crate) struct Create {
    name: String,
    #[serde(default)]
    settings: Map<String, Value>,
}

pub(crate) async fn create(
    State(manage): State<Manage>,
    auth: Auth,
    body: Body<Create>,
) -> Result<Response, Problem> {
    auth.0.may(Access::Deploy, None)?;
    let body = body.read()?;
    let endpoint = manage.create_endpoint(&auth.0, &body.name, &body.settings).await?;
    Ok(tagged(&version::of_endpoint(&endpoint), manage.endpoint_view(&endpoint)?))
}

impl Manage {
    /// Removes an endpoint with all that is kept of it.
    pub(crate) async fn remove_endpoint(&self, id: &EndpointId) -> Result<(), Problem> {
        self.inner.engine.drop_endpoint(id).await?;
        self.inner.fleet.nudge(id);
        if let Err(error) = runyard_logs::remove_endpoint(&self.inner.logs, id) {
            tracing::warn!(%error, "the logs of a removed endpoint are still there");
        }
        Ok(())
    }

    /// Removes an endpoint for somebody who may, with the repository that it follows; only this version of it, where
    /// one is named.
    pub(crate) async fn delete_endpoint(
        &self,
        caller: &Caller,
        ep: &str,
        versions: &Versions,
    ) -> Result<(), Problem> {
        let endpoint = self.endpoint(caller, Access::Deploy, ep)?;
        let check = |endpoint: &Endpoint| versions.check(&version::of_endpoint(endpoint));
        let held = self.inner.git.hold().await;
        let connection = self.connection_of(&endpoint.id)?;
        // Its record goes while it is that version, and takes that of its connection with it.
        self.inner.engine.drop_endpoint_if(&endpoint.id, check).await??;
        drop(held);
        self.remove_endpoint(&endpoint.id).await?;
        match connection {
            Some(connection) => self.clear_repository(connection).await.map(drop),
            None => Ok(()),
        }
    }

    /// Makes an endpoint.
    pub(crate) async fn create_endpoint(
        &self,
        caller: &Caller,
        name: &str,
        settings: &Map<String, Value>,
    ) -> Result<Endpoint, Problem> {
        caller.may(Access::Deploy, None)?;
        if !is_valid_name(name) {
            return Err(bad_name(name));
        }
        let engine = &self.inner.engine;
        if engine.endpoint(name).is_some() {
            return Err(Problem::conflict(format!("there is an endpoint '{name}' already")));
        }
        let settings = changed(&Settings::default(), settings)?;
        self.check_login(None, &settings)?;
        self.check_gpus(&settings.gpus)?;
        let endpoint = Endpoint::new(engine.env().endpoint_id(), name.to_owned(), engine.now(), settings);
        engine.put_endpoint(endpoint.clone()).await?;
        Ok(endpoint)
    }
}

pub(crate) fn bad_name(name: &str) -> Problem {
    let name: String = name.chars().take(80).collect();
    Problem::invalid(format!(
        "'{name}' cannot name an endpoint: use 1 to 64 of a-z, 0-9, '-', '_' and '.', starting with a letter or digit, \
         and no word of the management API"
    ))
}

/// Settings with some of them changed; unknown names and broken bounds are named.
pub(crate) fn changed(settings: &Settings, changes: &Map<String, Value>) -> Result<Settings, Problem> {
    let Ok(Value::Object(mut all)) = serde_json::to_value(settings) else {
        return Err(Problem::invalid("settings must be an object"));
    };
    for (name, value) in changes {
        let Some(slot) = all.get_mut(name) else {
            let known: Vec<&str> = all.keys().map(String::as_str).collect();
            return Err(fields::unknown("setting", name, &known));
        };
        match (slot, value) {
            // Parts that are not named stay; null gives one back to what holds for all endpoints.
            (Value::Object(group), Value::Object(some)) if name == "rates" || name == "rollout" => {
                let known: Vec<String> = group.keys().cloned().collect();
                let wrong = some.keys().find(|part| name == "rollout" && !known.contains(part));
                if let Some(wrong) = wrong {
                    let known = known.join(", ");
                    return Err(Problem::invalid(format!("'rollout' has no '{wrong}'; there are {known}")));
                }
                group.extend(some.clone());
                group.retain(|_, value| !value.is_null());
            }
            // So does what a container gets otherwise.
            (Value::Object(container), Value::Object(some)) if name == "container" => {
                container.extend(some.clone());
            }
            (slot, value) => *slot = value.clone(),
        }
    }
    let next: Settings = serde_json::from_value(Value::Object(all))
        .map_err(|error| Problem::invalid(format!("a setting has the wrong type: {error}")))?;
    next.check().map_err(|error| Problem::invalid(error.to_string()))?;
    Ok(next)
}

pub(crate) async fn show(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
    versions: Versions,
) -> Result<Response, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Read, &ep)?;
    Ok(versions.show(&version::of_endpoint(&endpoint), manage.endpoint_view(&endpoint)?))
}

pub(crate) async fn remove(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
    versions: Versions,
) -> Result<Json<Value>, Problem> {
    manage.delete_endpoint(&auth.0, &ep, &versions).await?;
    Ok(Json(json!({"removed": true})))
}

pub(crate) async fn purge(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
) -> Result<Json<Value>, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Run, &ep)?;
    let removed = manage.inner.engine.purge(&auth.0, &endpoint.id).await?;
    Ok(Json(json!({"removed": removed})))
}

pub(crate) async fn restart(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
) -> Result<Json<Value>, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Deploy, &ep)?;
    let draining = manage.inner.fleet.restart(&endpoint.id).await;
    Ok(Json(json!({"draining": draining})))
}
