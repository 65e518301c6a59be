//! Endpoints on this wire, `/v2/serverless`: list, show, delete. How one is made and changed, its workers, releases and
//! logs have files of their own.

pub(super) mod body;
pub(super) mod change;
pub(super) mod create;
pub(super) mod logs;
pub(super) mod releases;
pub(super) mod workers;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use runyard_domain::gpu::Kind;
use runyard_domain::release::Given;
use runyard_domain::resource::{ContainerConfig, GpuChoice};
use runyard_domain::{Access, Blueprint, Endpoint, FlashBoot, Gpu, Gpus, Release, ResourceId, Scaler};
use serde_json::{Value, json};

use super::catalog::cpus;
use super::{config, time};
use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;
use crate::version::Versions;

const FLASH_BOOT: [(&str, FlashBoot); 3] =
    [("OFF", FlashBoot::Off), ("FLASHBOOT", FlashBoot::On), ("PRIORITY_FLASHBOOT", FlashBoot::Priority)];

/// What a release shows of what it would have been asked to be.
pub(crate) struct Shown {
    config: ContainerConfig,
    gpu: Option<GpuChoice>,
    given: Option<Given>,
}

impl Shown {
    /// Of this release.
    pub(crate) fn by(manage: &Manage, release: &Release) -> Self {
        Self { config: shown_by(release), gpu: manage.choice(&release.gpus), given: release.given.clone() }
    }

    /// Writes it down.
    pub(crate) fn into(self, blueprint: &mut Blueprint) {
        blueprint.config = self.config;
        let same = blueprint.gpus().ok()
            == Some(self.gpu.as_ref().and_then(|gpu| gpu.gpus().ok()).unwrap_or_default());
        if !same {
            blueprint.gpu = self.gpu;
        }
        if let Some(given) = self.given {
            blueprint.volumes = given.network_volume.map(ResourceId::new).into_iter().collect();
        }
        if blueprint.gpu.is_some() {
            blueprint.cpus.clear();
        }
    }
}

/// The container that a release runs in, as it would have been asked for.
fn shown_by(release: &Release) -> ContainerConfig {
    let launch = release.launch.as_ref();
    let command = launch.and_then(|launch| launch.image.as_ref()?.command.clone());
    let args = command.and_then(|words| shlex::try_join(words.iter().map(String::as_str)).ok());
    ContainerConfig {
        image: launch.and_then(|launch| launch.image_name()).unwrap_or_default().to_owned(),
        args: args.unwrap_or_default(),
        env: release.env.clone(),
        ..ContainerConfig::default()
    }
}

impl Manage {
    /// What an endpoint was asked to be; of one that was deployed otherwise, what comes nearest.
    pub(super) fn blueprint(&self, endpoint: &Endpoint) -> Result<Blueprint, Problem> {
        if let Some(blueprint) = &endpoint.blueprint {
            return Ok((**blueprint).clone());
        }
        let releases = self.inner.engine.reader().releases(&endpoint.id)?;
        let serving = releases.into_iter().find(|release| Some(release.number) == endpoint.serving);
        let config = serving.as_ref().map(shown_by).unwrap_or_default();
        let gpu = self.choice(serving.as_ref().map_or(&endpoint.settings.gpus, |release| &release.gpus));
        Ok(Blueprint { title: endpoint.name.clone(), config, gpu, ..Blueprint::default() })
    }

    /// GPUs as this wire asks for them: by pool. What is no pool is said by those of this machine's types that it means.
    fn choice(&self, gpus: &Gpus) -> Option<GpuChoice> {
        if gpus.is_none() {
            return None;
        }
        let machine = self.inner.fleet.gpus();
        let pool_of = |gpu: &Gpu| gpu.pool().map_or_else(|| gpu.name.clone(), str::to_owned);
        let mut pools: Vec<String> = Vec::new();
        for kind in gpus.kinds() {
            let one = Gpus::of(1, vec![kind.clone()], gpus.excluded().to_vec());
            let here =
                one.groups(machine).concat().into_iter().map(|index| pool_of(&machine[index as usize]));
            let meant = match kind {
                Kind::Pool(pool) => vec![(*pool).to_owned()],
                _ => here.collect(),
            };
            for pool in meant {
                if !pools.contains(&pool) {
                    pools.push(pool);
                }
            }
        }
        if pools.is_empty() {
            pools = gpus.kinds().iter().map(ToString::to_string).collect();
        }
        Some(GpuChoice {
            pools,
            excluded: gpus.excluded().to_vec(),
            count: gpus.count(),
            cuda_versions: Vec::new(),
            min_cuda: None,
        })
    }

    /// `Endpoint` of this wire.
    pub(super) fn serverless_view(&self, endpoint: &Endpoint) -> Result<Value, Problem> {
        let blueprint = self.blueprint(endpoint)?;
        let settings = &endpoint.settings;
        let base = format!("{}/v2/{}", self.inner.info.url, endpoint.id);
        let url = |operation: &str| format!("{base}/{operation}");
        let mut workers = json!({"min": settings.workers_min, "max": settings.workers_max});
        let scaling = match settings.scaler {
            Scaler::QueueDelay(seconds) => {
                // The other scaler takes no idle timeout, and what is shown shall be sendable.
                workers["idleTimeout"] = json!(settings.idle_timeout_s);
                json!({"type": "QUEUE_DELAY", "queueDelay": seconds})
            }
            Scaler::RequestCount(count) => json!({"type": "REQUEST_COUNT", "requestCount": count}),
        };
        let flash = FLASH_BOOT.iter().find(|(_, kind)| *kind == settings.flash_boot);
        let gpu = blueprint.gpu.as_ref().map(|gpu| {
            json!({
                "pools": gpu.pools,
                "excludedTypes": gpu.excluded,
                "count": gpu.count,
                "allowedCudaVersions": gpu.cuda_versions,
                "minCudaVersion": gpu.min_cuda,
            })
        });
        let mut view = Value::Object(config::view(&blueprint.config));
        let fields = json!({
            "id": endpoint.id,
            "name": blueprint.title,
            "type": "QUEUE",
            "requestUrls": {
                "run": url("run"), "runSync": url("runsync"), "status": url("status"),
                "stream": url("stream"), "cancel": url("cancel"), "retry": url("retry"),
                "purgeQueue": url("purge-queue"), "health": url("health"),
            },
            "gpu": gpu,
            "workers": workers,
            "scaling": scaling,
            "dataCenterIds": blueprint.data_centers,
            "networkVolumes": blueprint.volumes,
            "timeout": settings.execution_timeout_ms,
            "flashboot": flash.map(|(word, _)| *word),
            "createdAt": time(endpoint.created_at),
        });
        if let (Value::Object(view), Value::Object(fields)) = (&mut view, fields) {
            view.extend(fields);
        }
        if !blueprint.cpus.is_empty() {
            let cpus = blueprint.cpus.iter();
            view["cpu"] = cpus
                .map(|cpu| {
                    let memory = cpus::memory_of(&cpu.id, cpu.vcpus).unwrap_or(1);
                    json!({"id": cpu.id, "vcpuCount": cpu.vcpus, "memory": memory})
                })
                .collect();
        }
        Ok(view)
    }
}

pub(super) async fn list(State(manage): State<Manage>, auth: Auth) -> Result<Json<Value>, Problem> {
    let seen = manage.inner.engine.endpoints().into_iter().filter(|e| auth.0.sees(&e.id));
    let views: Result<Vec<Value>, Problem> = seen.map(|e| manage.serverless_view(&e)).collect();
    Ok(Json(json!({"endpoints": views?})))
}

pub(super) async fn show(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
) -> Result<Json<Value>, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Read, &ep)?;
    Ok(Json(manage.serverless_view(&endpoint)?))
}

pub(super) async fn remove(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
    versions: Versions,
) -> Result<StatusCode, Problem> {
    let _turn = manage.inner.rest.turn.lock().await;
    manage.delete_endpoint(&auth.0, &ep, &versions).await?;
    Ok(StatusCode::NO_CONTENT)
}
