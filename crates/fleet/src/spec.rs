//! What a worker of a release is started with: the environment of RunPod's worker protocol (facts: the
//! names and forms that the SDKs read), its GPUs, its share of the processors.

use std::collections::BTreeMap;
use std::path::PathBuf;

use runyard_domain::image::{Container, VOLUME_PATH};
use runyard_domain::registry::Login;
use runyard_domain::release::Given;
use runyard_domain::{Endpoint, Gpu, Release, WorkerRecord};
use runyard_runtime::{ImageSpec, Limits, SharedFolder, WorkerSpec};

/// What the machine gives.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) gpus: Vec<Gpu>,
    pub(crate) cpus: u32,
    pub(crate) memory_gb: u64,
    /// Where the network volumes lie, one folder each.
    pub(crate) volumes: PathBuf,
}

/// Variables a release cannot set: they are how a worker finds us.
const OURS: [&str; 9] = [
    "RUNPOD_WEBHOOK_GET_JOB",
    "RUNPOD_WEBHOOK_POST_OUTPUT",
    "RUNPOD_WEBHOOK_POST_STREAM",
    "RUNPOD_WEBHOOK_PING",
    "RUNPOD_AI_API_KEY",
    "RUNPOD_POD_ID",
    "RUNPOD_ENDPOINT_ID",
    "RUNYARD_INCARNATION",
    "CUDA_VISIBLE_DEVICES",
];

/// Where a worker finds its network volume: a path of the machine, or of its container.
const VOLUME: &str = "RUNYARD_VOLUME";

/// Whether a release cannot set this variable.
pub(crate) fn is_ours(variable: &str) -> bool {
    OURS.contains(&variable)
}

/// The spec of one worker, without the values of secrets; `None` where the release was never prepared.
pub(crate) fn worker_spec(
    endpoint: &Endpoint,
    release: &Release,
    record: &WorkerRecord,
    token: String,
    worker_url: &str,
    machine: &Machine,
    login: Option<Login>,
) -> Option<WorkerSpec> {
    let launch = release.launch.as_ref()?;
    let threads = (machine.cpus / endpoint.settings.workers_max.max(1)).max(1);
    let mut env = wire_env(endpoint, record, &token, worker_url, machine);
    env.insert("RUNPOD_INIT_TIMEOUT".into(), endpoint.settings.start_timeout_s.to_string());
    env.insert("RUNPOD_CPU_COUNT".into(), threads.to_string());
    for (name, value) in &release.env {
        if !is_ours(name) {
            env.insert(name.clone(), value.clone());
        }
    }
    let Given { container, network_volume } = release.given(&endpoint.settings);
    let volume = network_volume.as_ref();
    if let Some(id) = volume {
        let folder = machine.volumes.join(id).display().to_string();
        env.insert("RUNPOD_VOLUME_ID".into(), id.clone());
        env.insert(VOLUME.into(), if launch.image.is_some() { VOLUME_PATH.into() } else { folder });
    }
    let image = launch.image.as_ref().map(|image| ImageSpec {
        image: image.clone(),
        container: container.clone(),
        gpus: record.gpus.clone(),
        login,
    });
    if let Some(image) = &image {
        fit_inside(&mut env, image);
    }
    Some(WorkerSpec {
        id: record.id.clone(),
        endpoint: record.endpoint.clone(),
        release: record.release,
        token,
        command: launch.command.clone(),
        code_dir: launch.code_dir.clone(),
        in_place: launch.in_place,
        read_dirs: launch.read_dirs.clone(),
        volumes: volume.map(|id| shared(machine, id)).into_iter().collect(),
        env,
        secrets: Vec::new(),
        limits: Limits { threads, ..Limits::default() },
        image,
    })
}

/// A network volume of this machine.
fn shared(machine: &Machine, id: &str) -> SharedFolder {
    let folder = machine.volumes.join(id).display().to_string();
    SharedFolder { folder, path: VOLUME_PATH.to_owned() }
}

/// What is another inside a container: its GPUs count from 0, and its memory and processors are its own.
fn fit_inside(env: &mut BTreeMap<String, String>, spec: &ImageSpec) {
    if !spec.gpus.is_empty() {
        env.remove("CUDA_VISIBLE_DEVICES");
    }
    let Container { cpu_millis, memory_mib, volumes, .. } = &spec.container;
    if *memory_mib > 0 {
        env.insert("RUNPOD_MEM_GB".into(), memory_mib.div_ceil(1024).to_string());
    }
    if *cpu_millis > 0 {
        env.insert("RUNPOD_CPU_COUNT".into(), cpu_millis.div_ceil(1000).to_string());
    }
    if let Some(volume) = volumes.first() {
        env.insert("RUNPOD_VOLUME_ID".into(), volume.name.clone());
    }
}

fn wire_env(
    endpoint: &Endpoint,
    record: &WorkerRecord,
    token: &str,
    worker_url: &str,
    machine: &Machine,
) -> BTreeMap<String, String> {
    let base = format!("{worker_url}/w/{token}/v2/{}", endpoint.id);
    let gpu_type = record.gpus.first().and_then(|index| machine.gpus.get(*index as usize));
    let gpu = gpu_type.map_or_else(|| "CPU".to_owned(), |gpu| gpu.name.replace(' ', "+"));
    let devices: Vec<String> = record.gpus.iter().map(u32::to_string).collect();
    let pairs = [
        ("RUNPOD_WEBHOOK_GET_JOB", format!("{base}/job-take/$ID?gpu={gpu}")),
        ("RUNPOD_WEBHOOK_POST_OUTPUT", format!("{base}/job-done/$RUNPOD_POD_ID/$ID?gpu={gpu}")),
        ("RUNPOD_WEBHOOK_POST_STREAM", format!("{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu={gpu}")),
        ("RUNPOD_WEBHOOK_PING", format!("{base}/ping/$RUNPOD_POD_ID?gpu={gpu}")),
        ("RUNPOD_PING_INTERVAL", "10000".to_owned()),
        ("RUNPOD_AI_API_KEY", token.to_owned()),
        ("RUNPOD_POD_ID", record.id.as_str().to_owned()),
        ("RUNPOD_POD_HOSTNAME", record.id.as_str().to_owned()),
        ("RUNPOD_ENDPOINT_ID", endpoint.id.as_str().to_owned()),
        ("RUNPOD_LOG_LEVEL", "INFO".to_owned()),
        ("RUNPOD_DEBUG_LEVEL", "INFO".to_owned()),
        ("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "true".to_owned()),
        ("RUNPOD_GPU_COUNT", record.gpus.len().to_string()),
        ("RUNPOD_GPU_NAME", gpu.clone()),
        ("RUNPOD_MEM_GB", machine.memory_gb.to_string()),
        ("CUDA_VISIBLE_DEVICES", devices.join(",")),
    ];
    let mut env: BTreeMap<String, String> = pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    if record.gpus.is_empty() {
        env.insert("RUNPOD_SKIP_GPU_CHECK".into(), "true".into());
    } else {
        // Counted as the machine's GPUs are here, and not fastest first.
        env.insert("CUDA_DEVICE_ORDER".into(), "PCI_BUS_ID".into());
    }
    if let Some(pool) = gpu_type.and_then(Gpu::pool) {
        env.insert("RUNPOD_GPU_SIZE".into(), pool.into());
    }
    env
}

/// Variables that the handler's source reads and that no worker of this release will have.
pub(crate) fn unset_env(release: Option<&Release>) -> Vec<String> {
    const GIVEN: [&str; 6] = ["PATH", "HOME", "TMPDIR", "LANG", "PYTHONUNBUFFERED", "OMP_NUM_THREADS"];
    let Some(release) = release else { return Vec::new() };
    let missing = release.env_read.iter().filter(|name| {
        !release.env.contains_key(*name)
            && !release.secure_env.contains_key(*name)
            && !GIVEN.contains(&name.as_str())
            && !name.starts_with("RUNPOD_")
    });
    missing.cloned().collect()
}
