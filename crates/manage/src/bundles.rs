//! Bundles: a packed folder comes up once, named by its content, and is unpacked where workers can read it.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use runyard_build::bundle;
use runyard_domain::Access;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;

fn checked(sha: &str) -> Result<&str, Problem> {
    let hex = sha.len() == 64 && sha.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if hex { Ok(sha) } else { Err(Problem::invalid("a bundle is named by its SHA-256 in lowercase hex")) }
}

impl Manage {
    /// The unpacked folder of a bundle that was uploaded.
    pub(crate) fn bundle_dir(&self, sha: &str) -> Result<PathBuf, Problem> {
        let dir = self.inner.bundles.join(checked(sha)?);
        if let Ok(folder) = std::fs::File::open(&dir)
            && dir.is_dir()
        {
            // Young folders are not swept: the release that shall name this one is not there yet.
            let now = self.inner.engine.env().wall();
            let now = UNIX_EPOCH + Duration::from_millis(now.0.try_into().unwrap_or(0));
            if let Err(error) = folder.set_modified(now) {
                tracing::debug!(%error, bundle = sha, "cannot note that the bundle is in use");
            }
            return Ok(dir);
        }
        Err(Problem::not_found(format!("the bundle {sha} was never uploaded"))
            .hint("PUT it to /api/v1/bundles/{sha256} first"))
    }
}

pub(crate) async fn exists(
    State(manage): State<Manage>,
    auth: Auth,
    Path(sha): Path<String>,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Deploy, None).or_else(|denied| match denied {
        runyard_vault::Denied::OtherEndpoint => Ok(()),
        other => Err(other),
    })?;
    manage.bundle_dir(&sha)?;
    Ok(Json(json!({"bundle": sha})))
}

pub(crate) async fn upload(
    State(manage): State<Manage>,
    auth: Auth,
    Path(sha): Path<String>,
    bytes: Bytes,
) -> Result<Json<Value>, Problem> {
    // A key for one endpoint may upload too: a bundle does nothing until a release names it.
    match auth.0.may(Access::Deploy, None) {
        Ok(()) | Err(runyard_vault::Denied::OtherEndpoint) => {}
        Err(denied) => return Err(denied.into()),
    }
    let dir = manage.inner.bundles.join(checked(&sha)?);
    let name = sha.clone();
    let unpacked = tokio::task::spawn_blocking(move || {
        let found = bundle::digest(&bytes);
        if found != name {
            return Err(Problem::invalid(format!(
                "the body's SHA-256 is {found}, not {name}: it was changed on its way"
            )));
        }
        bundle::unpack(&bytes[..], &dir, &bundle::Limits::default())
            .map_err(|error| Problem::invalid(error.to_string()))
    });
    let unpacked = unpacked.await.map_err(|error| Problem::internal(&error))??;
    Ok(Json(json!({"bundle": sha, "files": unpacked.files, "bytes": unpacked.size})))
}
