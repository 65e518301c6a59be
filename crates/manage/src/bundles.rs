//! Bundles: a packed folder comes up once, named by its content, and is unpacked where workers can read it.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use http_body_util::BodyExt as _;
use runyard_build::bundle::{self, Arriving};
use runyard_domain::Access;
use runyard_vault::{Caller, Denied};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use crate::auth::Auth;
use crate::problem::Problem;
use crate::{MAX_BUNDLE, Manage};

fn checked(sha: &str) -> Result<&str, Problem> {
    let hex = sha.len() == 64 && sha.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if hex { Ok(sha) } else { Err(Problem::invalid("a bundle is named by its SHA-256 in lowercase hex")) }
}

/// A key that is restricted to endpoints may upload, too, if it may deploy them: a bundle does nothing until a
/// release names it.
fn may_upload(caller: &Caller) -> Result<(), Denied> {
    caller.may(Access::Deploy, caller.endpoints().first())
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
    may_upload(&auth.0)?;
    manage.bundle_dir(&sha)?;
    Ok(Json(json!({"bundle": sha})))
}

pub(crate) async fn upload(
    State(manage): State<Manage>,
    auth: Auth,
    Path(sha): Path<String>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    may_upload(&auth.0)?;
    let dir = manage.inner.bundles.join(checked(&sha)?);
    let archive = receive(body, manage.inner.bundles.clone()).await?;
    let name = sha.clone();
    let unpacked = blocking(move || {
        let (found, file) = archive.finish().map_err(|error| Problem::internal(&error))?;
        if found != name {
            return Err(Problem::invalid(format!(
                "the body's SHA-256 is {found}, not {name}: it was changed on its way"
            )));
        }
        bundle::unpack(file, &dir, &bundle::Limits::default())
            .map_err(|error| Problem::invalid(error.to_string()))
    });
    let unpacked = unpacked.await?;
    Ok(Json(json!({"bundle": sha, "files": unpacked.files, "bytes": unpacked.size})))
}

/// Takes a body into a file without a name in `folder`: many large uploads at once are no memory.
async fn receive(mut body: Body, folder: PathBuf) -> Result<Arriving, Problem> {
    let full = |error: std::io::Error| Problem::internal(&error);
    let mut archive = blocking(move || Arriving::new(&folder).map_err(full)).await?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Problem::invalid(format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if archive.len() + data.len() as u64 > MAX_BUNDLE as u64 {
            return Err(Problem::too_large(format!("a bundle has at most {} MiB", MAX_BUNDLE >> 20)));
        }
        archive = blocking(move || archive.write(&data).map(|()| archive).map_err(full)).await?;
    }
    Ok(archive)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Problem::internal(&error))?
}
