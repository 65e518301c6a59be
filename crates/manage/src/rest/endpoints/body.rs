//! What a body says of an endpoint, and what becomes of blueprint and settings by it.

use std::collections::BTreeSet;

use runyard_domain::resource::{CpuChoice, GpuChoice};
use runyard_domain::{Blueprint, FlashBoot, ResourceId, Scaler, Settings, gpu};

use super::FLASH_BOOT;
use crate::Manage;
use crate::problem::Problem;
use crate::rest::catalog::cpus;
use crate::rest::config::Fields;
use crate::rest::reader::{Object, is_version};

/// The fields of an endpoint; what is not there stays as it is.
#[derive(Default)]
pub(in crate::rest) struct Body {
    pub(super) name: Option<String>,
    pub(super) template: Option<String>,
    config: Fields,
    gpu: Option<Gpu>,
    cpus: Option<Vec<CpuChoice>>,
    centers: Option<Vec<String>>,
    flash_boot: Option<FlashBoot>,
    volumes: Option<Vec<String>>,
    timeout_ms: Option<i64>,
    workers: Workers,
    scaler: Option<Scaler>,
}

/// The part `gpu`.
#[derive(Default)]
struct Gpu {
    pools: Option<Vec<String>>,
    excluded: Option<Vec<String>>,
    count: Option<u32>,
    cuda_versions: Option<Vec<String>>,
    /// Empty: none any more.
    min_cuda: Option<String>,
}

/// The part `workers`.
#[derive(Default)]
struct Workers {
    min: Option<u32>,
    max: Option<u32>,
    idle_s: Option<u32>,
}

/// A count, cut where nothing takes so many.
fn count(number: i64) -> u32 {
    number.min(i64::from(u32::MAX)) as u32
}

impl Body {
    /// Reads it. A new endpoint has to say more than a changed one.
    pub(in crate::rest) fn read(body: &Object<'_>, new: bool) -> Self {
        let workers = body.object("workers", |workers| {
            Some(Workers {
                min: workers.whole("min", 0..=i64::MAX).map(count),
                max: workers.whole("max", 0..=i64::MAX).map(count),
                idle_s: workers.whole("idleTimeout", 1..=3600).map(count),
            })
        });
        Self {
            name: body.name("name"),
            template: if new { body.name("templateId") } else { body.text("templateId") },
            config: Fields::read(body),
            gpu: body.object("gpu", |gpu| Some(Gpu::read(gpu, new))),
            cpus: read_cpus(body),
            centers: body.texts("dataCenterIds", "a string", |_| true),
            flash_boot: body.word("flashboot", &FLASH_BOOT),
            volumes: body.texts("networkVolumes", "a string", |_| true),
            timeout_ms: body.whole("timeout", i64::MIN..=i64::MAX),
            workers: workers.unwrap_or_default(),
            scaler: body.object("scaling", read_scaler),
        }
    }

    /// Settings with its changes; the first one out of bounds is named by this wire's name.
    pub(super) fn over_settings(&self, settings: &mut Settings) -> Result<(), Problem> {
        let mut next = settings.clone();
        next.workers_min = self.workers.min.unwrap_or(next.workers_min);
        next.workers_max = self.workers.max.unwrap_or(next.workers_max);
        next.idle_timeout_s = self.workers.idle_s.unwrap_or(next.idle_timeout_s);
        next.scaler = self.scaler.unwrap_or(next.scaler);
        next.execution_timeout_ms = self.timeout_ms.unwrap_or(next.execution_timeout_ms);
        next.flash_boot = self.flash_boot.unwrap_or(next.flash_boot);
        if self.workers.idle_s.is_some() && matches!(next.scaler, Scaler::RequestCount(_)) {
            let detail = "workers.idleTimeout belongs to the scaling QUEUE_DELAY";
            return Err(Problem::invalid(detail).hint("leave it out with REQUEST_COUNT"));
        }
        next.check().map_err(|error| {
            let field = match error.field {
                "workers_min" => "workers.min",
                "workers_max" => "workers.max",
                "scaler_value" => "scaling",
                "execution_timeout_ms" => "timeout",
                "gpus" => "gpu.count",
                other => other,
            };
            let allowed = error.allowed.replace("workers_max", "workers.max");
            Problem::invalid(format!("{field} is {}: it must be {allowed}", error.found))
        })?;
        *settings = next;
        Ok(())
    }

    /// The blueprint with its changes. `revision` rises where these need a release.
    pub(super) fn over_blueprint(self, manage: &Manage, before: &Blueprint) -> Result<Blueprint, Problem> {
        let mut next = before.clone();
        let again = before.failed.is_some() && (self.template.is_some() || self.config.names_image());
        if let Some(id) = self.template.as_ref().filter(|id| !id.is_empty()) {
            next.config = manage.template(id)?.1.config;
        }
        next.config = self.config.over(next.config)?;
        if self.gpu.is_some() && self.cpus.is_some() {
            return Err(Problem::invalid("either 'gpu' or 'cpu' says what workers get, not both"));
        }
        if (self.gpu.is_some() && !before.cpus.is_empty()) || (self.cpus.is_some() && before.gpu.is_some()) {
            return Err(Problem::invalid(
                "an endpoint that has GPUs keeps having some, and so do processors",
            )
            .hint("make another endpoint"));
        }
        if let Some(gpu) = self.gpu {
            next.gpu = Some(gpu.over(next.gpu.take())?);
            next.cpus.clear();
        }
        if let Some(cpus) = self.cpus {
            next.cpus = cpus;
            next.gpu = None;
        }
        next.title = self.name.unwrap_or(next.title);
        next.data_centers = self.centers.unwrap_or(next.data_centers);
        if let Some(ids) = self.volumes {
            next.volumes = ids.into_iter().map(ResourceId::new).collect();
        }
        manage.check_blueprint(&next, before)?;
        if again || needs_release(before, &next) {
            next.revision += 1;
        }
        Ok(next)
    }
}

/// Whether workers of one would be others than workers of the other.
fn needs_release(before: &Blueprint, next: &Blueprint) -> bool {
    let container = |blueprint: &Blueprint| {
        let config = &blueprint.config;
        (config.image.clone(), config.args.clone(), config.env.clone(), config.registry.clone())
    };
    container(before) != container(next)
        || before.gpus() != next.gpus()
        || before.cpus != next.cpus
        || before.volumes != next.volumes
}

impl Gpu {
    fn read(gpu: &Object<'_>, new: bool) -> Self {
        let pools = gpu.texts("pools", "a string", |_| true);
        let read = Self {
            pools: if new { gpu.required("pools", pools) } else { pools },
            excluded: gpu.texts("excludedTypes", "the name of a GPU type", |name| {
                !name.trim_start().is_empty() && !name.trim_start().starts_with('-')
            }),
            count: gpu.whole("count", 1..=i64::MAX).map(count),
            cuda_versions: gpu.texts("allowedCudaVersions", "a version as 12.8", is_version),
            min_cuda: gpu.text_like("minCudaVersion", "a version as 12.8", |text| {
                is_version(text) || (!new && text.is_empty())
            }),
        };
        if read.pools.as_ref().is_some_and(Vec::is_empty) {
            gpu.wrong("'pools' must have at least one item");
        }
        let excluded = read.excluded.as_deref().unwrap_or_default();
        if excluded.iter().collect::<BTreeSet<_>>().len() != excluded.len() {
            gpu.wrong("'excludedTypes' must not name one twice");
        }
        if read.excluded.is_some() && !gpu.has("pools") {
            gpu.wrong("'excludedTypes' needs 'pools'");
        }
        read
    }

    fn over(self, before: Option<GpuChoice>) -> Result<GpuChoice, Problem> {
        let before = match (before, &self.pools) {
            (Some(before), _) => before,
            (None, Some(_)) => GpuChoice {
                pools: Vec::new(),
                excluded: Vec::new(),
                count: 1,
                cuda_versions: Vec::new(),
                min_cuda: None,
            },
            (None, None) => {
                return Err(Problem::invalid(
                    "the endpoint has no GPUs: 'gpu.pools' says which it shall get",
                ));
            }
        };
        if self.cuda_versions.as_ref().is_some_and(|versions| !versions.is_empty())
            && self.min_cuda.as_ref().is_some_and(|version| !version.is_empty())
        {
            return Err(Problem::invalid("either gpu.allowedCudaVersions or gpu.minCudaVersion, not both"));
        }
        let (pools, cuda) = (self.pools.is_some(), self.cuda_versions.is_some());
        Ok(GpuChoice {
            pools: self.pools.unwrap_or(before.pools),
            excluded: self.excluded.unwrap_or(if pools { Vec::new() } else { before.excluded }),
            count: self.count.unwrap_or(before.count),
            cuda_versions: match &self.min_cuda {
                Some(version) if !version.is_empty() => Vec::new(),
                _ => self.cuda_versions.unwrap_or(before.cuda_versions),
            },
            min_cuda: match self.min_cuda {
                Some(version) => Some(version).filter(|version| !version.is_empty()),
                None if cuda => None,
                None => before.min_cuda,
            },
        })
    }
}

fn read_cpus(body: &Object<'_>) -> Option<Vec<CpuChoice>> {
    let cpus = body.objects("cpu", |cpu| {
        let id = cpu.required("id", cpu.name("id"));
        let vcpus = cpu.required("vcpuCount", cpu.whole("vcpuCount", 2..=i64::MAX));
        Some(CpuChoice { id: id?, vcpus: count(vcpus?) })
    })?;
    let all: BTreeSet<(&str, u32)> = cpus.iter().map(|cpu| (cpu.id.as_str(), cpu.vcpus)).collect();
    if cpus.is_empty() {
        body.wrong("'cpu' must have at least one item");
    }
    if all.len() != cpus.len() {
        body.wrong("'cpu' must not name one twice");
    }
    Some(cpus)
}

fn read_scaler(scaling: &Object<'_>) -> Option<Scaler> {
    let by_delay =
        scaling.required("type", scaling.word("type", &[("QUEUE_DELAY", true), ("REQUEST_COUNT", false)]))?;
    if by_delay {
        let delay = scaling.number("queueDelay", 0.5);
        return scaling.required("queueDelay", delay).map(Scaler::QueueDelay);
    }
    let requests = scaling.whole("requestCount", 1..=i64::MAX);
    scaling.required("requestCount", requests).map(|requests| Scaler::RequestCount(count(requests)))
}

impl Manage {
    /// Refuses what this machine does not have. GPUs that stay as they are were taken before.
    fn check_blueprint(&self, blueprint: &Blueprint, before: &Blueprint) -> Result<(), Problem> {
        self.check_centers(&blueprint.data_centers)?;
        if let Some(gpu) = blueprint.gpu.as_ref().filter(|gpu| before.gpu.as_ref() != Some(*gpu)) {
            self.check_gpu(gpu)?;
        }
        for cpu in &blueprint.cpus {
            let most = cpus::most(self);
            if cpus::memory_of(&cpu.id, 1).is_none() {
                let id: String = cpu.id.chars().take(60).collect();
                return Err(Problem::invalid(format!("there is no flavour of processors '{id}'"))
                    .hint("GET /v2/catalog/cpus lists them"));
            }
            if !cpu.vcpus.is_power_of_two() || cpu.vcpus > most {
                return Err(Problem::invalid(format!(
                    "cpu.vcpuCount is {}: it must be a power of two from 2 to {most}, which this machine has",
                    cpu.vcpus
                )));
            }
        }
        if blueprint.volumes.len() > 1 {
            return Err(Problem::invalid(
                "an endpoint has one network volume for each data centre, and there is one",
            ));
        }
        blueprint.volumes.iter().try_for_each(|id| self.volume(id.as_str()).map(drop))
    }

    /// Refuses pools that there are not, and those of which this machine has nothing.
    fn check_gpu(&self, wanted: &GpuChoice) -> Result<(), Problem> {
        let machine = self.inner.fleet.gpus();
        let is_known = |name: &str| {
            gpu::types::pool_named(name).is_some_and(|pool| pool == name)
                || machine.iter().any(|own| own.name == name)
        };
        if let Some(pool) = wanted.pools.iter().find(|pool| !is_known(pool)) {
            let pool: String = pool.chars().take(60).collect();
            return Err(Problem::invalid(format!("there is no pool of GPUs '{pool}'"))
                .hint(format!("pools are {}", gpu::types::pools().join(", "))));
        }
        let gpus = wanted.gpus().map_err(Problem::invalid)?;
        let Some(why) = gpus.unmet(machine) else { return Ok(()) };
        Err(Problem::invalid(why).hint(
            "GET /v2/catalog/gpus lists what is here; ask for 'cpu' instead, or tell the server of GPUs that it does \
             not see (gpus in server.toml)",
        ))
    }
}
