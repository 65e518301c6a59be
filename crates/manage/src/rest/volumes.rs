//! Network volumes: a folder of the data directory each, which outlives workers and is shared by the endpoints that
//! name it. The size is a number that is kept and shown; nothing enforces it.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::PathBuf;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use runyard_domain::resource::{Kind, NetworkVolume};
use runyard_domain::{Access, Resource, ResourceId};
use serde_json::{Value, json};

use super::place;
use super::reader::Raw;
use crate::Manage;
use crate::auth::Auth;
use crate::page::Paging;
use crate::problem::Problem;
use crate::version::{self, Versions, tagged};

/// What workers may do in a volume: everything, whichever user they run as.
const MODE: u32 = 0o777;

fn view(resource: &Resource) -> Value {
    let Kind::NetworkVolume(volume) = &resource.kind else { return Value::Null };
    json!({
        "id": resource.id,
        "name": resource.name,
        "size": volume.size_gb,
        "dataCenter": volume.data_center,
        "type": if volume.fast { "HIGH_PERFORMANCE" } else { "STANDARD" },
    })
}

impl Manage {
    /// One volume.
    pub(super) fn volume(&self, id: &str) -> Result<(Resource, NetworkVolume), Problem> {
        let found = self.inner.engine.reader().resource(&ResourceId::new(id))?;
        let volume = found.and_then(|resource| match &resource.kind {
            Kind::NetworkVolume(volume) => Some((volume.clone(), resource)),
            _ => None,
        });
        volume.map(|(volume, resource)| (resource, volume)).ok_or_else(|| {
            let id: String = id.chars().take(60).collect();
            Problem::not_found(format!("there is no network volume '{id}'"))
        })
    }

    pub(super) fn volume_folder(&self, id: &ResourceId) -> PathBuf {
        self.inner.rest.options.volumes.join(id.as_str())
    }

    /// A volume with what it holds, as far as that was measured.
    fn with_use(&self, resource: &Resource) -> Value {
        let mut view = view(resource);
        if let Some(used) = self.inner.rest.used.last(&resource.id) {
            view["used"] = used.view();
        }
        view
    }

    /// Who uses a volume: an endpoint's name.
    fn user_of(&self, id: &ResourceId) -> Option<String> {
        let uses = |endpoint: &runyard_domain::Endpoint| {
            let asked = endpoint.blueprint.as_ref().is_some_and(|blueprint| blueprint.volumes.contains(id));
            asked || endpoint.settings.network_volume.as_deref() == Some(id.as_str())
        };
        self.inner.engine.endpoints().into_iter().find(|e| uses(e)).map(|e| e.name.clone())
    }
}

fn make(folder: &std::path::Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(MODE).create(folder)?;
    // The umask takes rights away.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(MODE))
}

pub(crate) async fn list(State(manage): State<Manage>, auth: Auth) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Read, None)?;
    let all = manage.resources()?;
    let all = all.iter().filter(|resource| matches!(resource.kind, Kind::NetworkVolume(_)));
    let views: Vec<Value> = all.map(view).collect();
    // The newest Python client does not read a list without its end.
    Ok(Json(json!({"networkVolumes": views, "pagination": {"hasNextPage": false, "nextCursor": null}})))
}

/// A page of them, oldest first, for `/api/v1`.
pub(crate) async fn page(
    State(manage): State<Manage>,
    auth: Auth,
    paging: Paging,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Read, None)?;
    let mut all = manage.resources()?;
    all.retain(|resource| matches!(resource.kind, Kind::NetworkVolume(_)));
    let (page, next) = paging.cut(all, place)?;
    let ids: Vec<ResourceId> = page.iter().map(|resource| resource.id.clone()).collect();
    manage.measure(&ids).await;
    let views: Vec<Value> = page.iter().map(|resource| manage.with_use(resource)).collect();
    Ok(Json(json!({"networkVolumes": views, "nextCursor": next})))
}

pub(crate) async fn create(
    State(manage): State<Manage>,
    auth: Auth,
    body: Raw,
) -> Result<(StatusCode, Json<Value>), Problem> {
    auth.0.may(Access::Deploy, None)?;
    let (name, volume) = body.read(|body| {
        let name = body.required("name", body.name("name"));
        let size = body.required("size", body.whole("size", 10..=4096));
        let center = body.required("dataCenter", body.name("dataCenter"));
        let fast = body.word("type", &[("STANDARD", false), ("HIGH_PERFORMANCE", true)]);
        let volume =
            NetworkVolume { size_gb: size? as u32, data_center: center?, fast: fast.unwrap_or(false) };
        Some((name?, volume))
    })?;
    manage.check_centers(std::slice::from_ref(&volume.data_center))?;
    let _turn = manage.inner.rest.turn.lock().await;
    let engine = &manage.inner.engine;
    let (id, created_at) = (engine.env().resource_id(), engine.now());
    let resource = Resource { id, name, created_at, kind: Kind::NetworkVolume(volume) };
    make(&manage.volume_folder(&resource.id)).map_err(|error| Problem::internal(&error))?;
    let shown = view(&resource);
    engine.put_resource(resource).await?;
    Ok((StatusCode::CREATED, Json(shown)))
}

pub(crate) async fn show(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
    versions: Versions,
) -> Result<Response, Problem> {
    auth.0.may(Access::Read, None)?;
    let (resource, _) = manage.volume(&id)?;
    Ok(versions.show(&version::of(&resource), view(&resource)))
}

/// The same with what it holds, for `/api/v1`.
pub(crate) async fn show_used(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
    versions: Versions,
) -> Result<Response, Problem> {
    auth.0.may(Access::Read, None)?;
    let (resource, _) = manage.volume(&id)?;
    manage.measure(std::slice::from_ref(&resource.id)).await;
    Ok(versions.show(&version::of(&resource), manage.with_use(&resource)))
}

pub(crate) async fn change(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
    versions: Versions,
    body: Raw,
) -> Result<Response, Problem> {
    auth.0.may(Access::Deploy, None)?;
    manage.volume(&id)?;
    let (name, size) = body.read(|body| {
        let (name, size) = (body.name("name"), body.whole("size", 10..=4096));
        if !body.has("name") && !body.has("size") {
            body.wrong("nothing is to be changed: 'name' or 'size' must be there");
        }
        Some((name, size))
    })?;
    let _turn = manage.inner.rest.turn.lock().await;
    let (mut resource, mut volume) = manage.volume(&id)?;
    versions.check(&version::of(&resource))?;
    if let Some(size) = size.map(|size| size as u32) {
        if size < volume.size_gb {
            let detail = format!("the volume has {} GB: it can grow and not shrink", volume.size_gb);
            return Err(Problem::invalid(detail));
        }
        volume.size_gb = size;
    }
    resource.name = name.unwrap_or(resource.name);
    resource.kind = Kind::NetworkVolume(volume);
    let shown = tagged(&version::of(&resource), view(&resource));
    manage.inner.engine.put_resource(resource).await?;
    Ok(shown)
}

pub(crate) async fn remove(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
    versions: Versions,
) -> Result<StatusCode, Problem> {
    auth.0.may(Access::Deploy, None)?;
    let _turn = manage.inner.rest.turn.lock().await;
    let (resource, _) = manage.volume(&id)?;
    versions.check(&version::of(&resource))?;
    if let Some(user) = manage.user_of(&resource.id) {
        let detail = format!("the endpoint '{user}' uses the network volume '{}'", resource.name);
        return Err(Problem::conflict(detail).hint("take it from the endpoint, or delete that, first"));
    }
    manage.inner.engine.drop_resource(&resource.id).await?;
    manage.inner.rest.used.forget(&resource.id);
    let folder = manage.volume_folder(&resource.id);
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(folder)).await;
    if let Ok(Err(error)) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, volume.id = %resource.id, "the folder of a deleted network volume is still there");
    }
    Ok(StatusCode::NO_CONTENT)
}
