//! One look: what the calls of the API say of GPUs, endpoints and workers. What a key may not see is left out.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::{Client, path};
use crate::output::time;
use crate::views::{Endpoint, Gpu, Stats, Worker};

/// As many endpoints are measured; of more, those first that have work.
const MEASURED: usize = 40;

/// Calls at once.
const AT_ONCE: usize = 8;

/// Over how long jobs are counted, in milliseconds.
const RANGE_MS: i64 = 300_000;

/// Over how long GPUs are measured, in milliseconds.
const MOMENT_MS: i64 = 30_000;

/// What was seen.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// When, in milliseconds since 1970.
    pub at: i64,
    pub gpus: Vec<GpuRow>,
    pub endpoints: Vec<EndpointRow>,
    pub workers: Vec<WorkerRow>,
}

/// A GPU.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuRow {
    pub index: u32,
    #[serde(rename = "type")]
    pub kind: String,
    /// From 0 to 1, where it is measured.
    pub use_ratio: Option<f64>,
    pub memory_used_bytes: Option<f64>,
    pub memory_total_bytes: Option<f64>,
    pub worker: Option<String>,
    pub endpoint_name: Option<String>,
    pub free: bool,
}

/// An endpoint.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointRow {
    pub name: String,
    pub state: String,
    pub running: u32,
    pub idle: u32,
    pub starting: u32,
    pub workers_max: u32,
    pub queue: u64,
    pub oldest_wait_s: Option<f64>,
    pub jobs_per_minute: Option<f64>,
    /// The share of jobs that failed, from 0 to 1, where any ended.
    pub errors: Option<f64>,
    pub p50_s: Option<f64>,
    pub p90_s: Option<f64>,
}

/// A worker that is there.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerRow {
    pub id: String,
    pub endpoint_name: Option<String>,
    pub state: String,
    pub jobs: Vec<String>,
    pub cpu_percent: Option<f64>,
    pub memory_bytes: Option<u64>,
    pub memory_limit_bytes: Option<u64>,
    pub gpus: Vec<Value>,
}

#[derive(Deserialize)]
struct Gpus {
    gpus: Vec<Gpu>,
}

#[derive(Deserialize)]
struct Endpoints {
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Workers {
    workers: Vec<Worker>,
}

#[derive(Deserialize)]
struct Measured {
    stats: Vec<Stats>,
}

#[derive(Deserialize)]
struct Answer {
    series: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    name: String,
    whole: Value,
    #[serde(default)]
    average: Vec<Option<f64>>,
}

/// Series by name.
type Series = BTreeMap<String, Line>;

/// Looks once, at everything or at one endpoint.
pub async fn look(client: &Client, endpoint: Option<&str>) -> anyhow::Result<Seen> {
    let of = |list: &str| path::query(&path::api(&[list]), &[("endpoint", endpoint.map(str::to_owned))]);
    let (gpus, endpoints, workers, stats) = tokio::join!(
        client.get(path::api(&["gpus"])),
        endpoints(client, endpoint),
        client.all(of("workers"), "workers"),
        client.get(path::query(
            &path::api(&["workers", "stats"]),
            &[("endpoint", endpoint.map(str::to_owned))]
        )),
    );
    let workers: Workers = workers?.parse()?;
    let endpoints = endpoints?;
    // A worker that is measured may go meanwhile: what is not known is left out.
    let stats = stats
        .ok()
        .and_then(|reply| reply.parse::<Measured>().ok())
        .map_or_else(Vec::new, |found| found.stats);
    let gpus: Gpus = gpus?.parse()?;
    let gpus = gpus.gpus.into_iter().filter(|gpu| endpoint.is_none() || is_of(gpu, &endpoints));
    Ok(Seen {
        at: time::now_ms(),
        gpus: stream::iter(gpus.map(|gpu| gpu_row(client, gpu))).buffered(AT_ONCE).collect().await,
        endpoints: stream::iter(
            endpoints.iter().enumerate().map(|(at, e)| endpoint_row(client, e, at < MEASURED)),
        )
        .buffered(AT_ONCE)
        .collect()
        .await,
        workers: workers
            .workers
            .into_iter()
            .filter(|w| w.state != "gone")
            .map(|w| worker_row(w, &stats))
            .collect(),
    })
}

fn is_of(gpu: &Gpu, endpoints: &[Endpoint]) -> bool {
    endpoints.iter().any(|endpoint| Some(&endpoint.name) == gpu.endpoint_name.as_ref())
}

/// The endpoints, those with work first, then by name.
async fn endpoints(client: &Client, endpoint: Option<&str>) -> anyhow::Result<Vec<Endpoint>> {
    if let Some(endpoint) = endpoint {
        return Ok(vec![client.get(path::api(&["endpoints", endpoint])).await?.parse()?]);
    }
    let listed: Endpoints = client.all(path::api(&["endpoints"]), "endpoints").await?.parse()?;
    let mut all = listed.endpoints;
    all.sort_by_key(|e| {
        (e.jobs.waiting + e.jobs.running == 0, e.workers.idle + e.workers.starting == 0, e.name.clone())
    });
    Ok(all)
}

async fn series(client: &Client, of: (&str, String), names: &str, back_ms: i64) -> Series {
    let query = [
        (of.0, Some(of.1)),
        ("series", Some(names.to_owned())),
        ("since", Some((time::now_ms() - back_ms).to_string())),
    ];
    // Not every key opens them.
    let reply = client.get(path::query(&path::api(&["metrics"]), &query)).await;
    let answer = reply.ok().and_then(|reply| reply.parse::<Answer>().ok());
    answer.map_or_else(Series::new, |found| {
        found.series.into_iter().map(|line| (line.name.clone(), line)).collect()
    })
}

fn whole(series: &Series, name: &str, part: &str) -> Option<f64> {
    series.get(name)?.whole[part].as_f64()
}

/// The newest value of a level.
fn newest(series: &Series, name: &str) -> Option<f64> {
    series.get(name)?.average.iter().rev().find_map(|value| *value)
}

async fn gpu_row(client: &Client, gpu: Gpu) -> GpuRow {
    let names = "device_use,device_memory_used,device_memory_total";
    let found = series(client, ("gpu", gpu.index.to_string()), names, MOMENT_MS).await;
    GpuRow {
        index: gpu.index,
        use_ratio: newest(&found, "device_use"),
        memory_used_bytes: newest(&found, "device_memory_used"),
        memory_total_bytes: newest(&found, "device_memory_total"),
        kind: gpu.kind,
        worker: gpu.worker,
        endpoint_name: gpu.endpoint_name,
        free: gpu.free,
    }
}

async fn endpoint_row(client: &Client, endpoint: &Endpoint, measures: bool) -> EndpointRow {
    let names = "jobs_completed,jobs_failed,jobs_timed_out,execution,queue_oldest_wait";
    let found = if measures {
        series(client, ("endpoint", endpoint.id.clone()), names, RANGE_MS).await
    } else {
        Series::new()
    };
    let count = |name| whole(&found, name, "count");
    let failed = count("jobs_failed").zip(count("jobs_timed_out")).map(|(failed, late)| failed + late);
    let ended = failed.zip(count("jobs_completed")).map(|(failed, completed)| failed + completed);
    EndpointRow {
        name: endpoint.name.clone(),
        state: endpoint.state.clone(),
        running: endpoint.workers.running,
        idle: endpoint.workers.idle,
        starting: endpoint.workers.starting,
        workers_max: endpoint.settings.workers_max,
        queue: endpoint.jobs.waiting,
        oldest_wait_s: newest(&found, "queue_oldest_wait").filter(|_| endpoint.jobs.waiting > 0),
        jobs_per_minute: ended.map(|ended| ended / (RANGE_MS as f64 / 60_000.0)),
        errors: failed.zip(ended).filter(|(_, ended)| *ended > 0.0).map(|(failed, ended)| failed / ended),
        p50_s: whole(&found, "execution", "p50"),
        p90_s: whole(&found, "execution", "p90"),
    }
}

fn worker_row(worker: Worker, stats: &[Stats]) -> WorkerRow {
    let own = stats.iter().find(|stats| stats.worker == worker.id);
    WorkerRow {
        cpu_percent: own.and_then(|own| own.cpu_percent),
        memory_bytes: own.and_then(|own| own.memory_bytes),
        memory_limit_bytes: own.and_then(|own| own.memory_limit_bytes),
        id: worker.id,
        endpoint_name: worker.endpoint_name,
        state: worker.state,
        jobs: worker.jobs,
        gpus: worker.gpus,
    }
}
