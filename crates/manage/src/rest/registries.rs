//! Credentials of image registries. There is no place for them yet: the lists are empty, and making one is refused
//! with words.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use runyard_domain::Access;
use serde_json::{Value, json};

use super::reader::Raw;
use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;

impl Manage {
    /// Refuses a registry that there is not.
    pub(super) async fn check_registry(&self, id: &str) -> Result<(), Problem> {
        Err(no_registry(id))
    }
}

fn no_registry(id: &str) -> Problem {
    let id: String = id.chars().take(60).collect();
    Problem::not_found(format!("there are no registry credentials '{id}'"))
}

pub(super) async fn list(auth: Auth) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Read, None)?;
    Ok(Json(json!({"registries": []})))
}

pub(super) async fn create(auth: Auth, _body: Raw) -> Result<StatusCode, Problem> {
    auth.0.may(Access::Deploy, None)?;
    Err(Problem::invalid("registry credentials cannot be kept here yet")
        .hint("the engine of the server's machine pulls with its own: docker login there"))
}

pub(super) async fn show(auth: Auth, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Read, None)?;
    Err(no_registry(&id))
}

pub(super) async fn remove(auth: Auth, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    auth.0.may(Access::Deploy, None)?;
    Err(no_registry(&id))
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
