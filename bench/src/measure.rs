//! What it costs to keep metrics: every ten seconds the writer of the store brings what was measured of each worker, of
//! their endpoint, of the GPUs and of the server, makes minutes of it, and lets go of what is too old. Time is played:
//! the intervals follow each other as fast as they are written.

use std::time::Instant;

use runyard_domain::{EndpointId, Timestamp, WorkerId};
use runyard_metrics::{Grain, Interval, Key, Subject};
use runyard_store::sqlite::SqliteStore;
use runyard_store::{Blobs, Command, Store as _};
use serde_json::{Value, json};

use crate::Plan;

/// As many workers are measured at most.
const WORKERS: usize = 500;
/// Intervals that are measured: half an hour of them.
const MEASURED: usize = 180;

/// What is measured of a worker, of an endpoint, of a GPU and of the server.
const OF_WORKER: [Key; 3] = [Key::WorkerCpu, Key::WorkerMemory, Key::WorkerMemoryLimit];
const OF_ENDPOINT: [Key; 11] = [
    Key::QueueWaiting,
    Key::QueueOldest,
    Key::JobsRunning,
    Key::WorkersStarting,
    Key::WorkersIdle,
    Key::WorkersRunning,
    Key::WorkersDraining,
    Key::EndpointCpu,
    Key::EndpointMemory,
    Key::EndpointGpuUse,
    Key::LogBytes,
];
const OF_GPU: [Key; 5] =
    [Key::GpuUse, Key::GpuMemoryUsed, Key::GpuMemoryTotal, Key::GpuPower, Key::GpuTemperature];
const OF_SERVER: [Key; 6] = [
    Key::ServerCpu,
    Key::ServerMemory,
    Key::ServerFiles,
    Key::ServerConnections,
    Key::DatabaseBytes,
    Key::DiskFree,
];

/// The row.
pub fn run(plan: &Plan) -> anyhow::Result<Value> {
    // Intervals of ten seconds go after six hours: from then on as many go as come.
    let before = if plan.rounds > 1 { (Grain::Fine.kept_ms() / Grain::Fine.ms()) as usize } else { MEASURED };
    plan.say(&format!("measure: {WORKERS} workers, {} intervals", before + MEASURED));
    let dir = tempfile::tempdir()?;
    let db = dir.path().join("db");
    std::fs::create_dir_all(&db)?;
    let mut store = SqliteStore::open(&db, Blobs::open(dir.path().join("blobs"))?)?;
    let mut micros = Vec::new();
    for n in 0..before + MEASURED {
        let now = Timestamp(1_700_000_000_000 + n as i64 * Grain::Fine.ms());
        let points = points(n as f64);
        let began = Instant::now();
        store.commit(now, &[Command::Measure(points)])?;
        if n >= before {
            micros.push(began.elapsed().as_micros() as u64);
        }
    }
    plan.samples.keep("measure", &micros)?;
    let bytes: u64 =
        std::fs::read_dir(&db)?.flatten().filter_map(|file| Some(file.metadata().ok()?.len())).sum();
    let mean_ms = micros.iter().sum::<u64>() as f64 / micros.len() as f64 / 1e3;
    micros.sort_unstable();
    Ok(json!({
        "row": "measure", "workers": WORKERS, "intervals": before + MEASURED,
        "commitMs": {"mean": mean_ms, "p50": micros[MEASURED / 2] as f64 / 1e3, "max": micros[MEASURED - 1] as f64 / 1e3},
        "shareOfWriter": mean_ms / Grain::Fine.ms() as f64,
        "databaseMib": bytes as f64 / f64::from(1 << 20),
    }))
}

/// What ten seconds bring.
fn points(seed: f64) -> Vec<(Subject, Interval)> {
    let endpoint = EndpointId::new("ep-0123456789abcdef");
    let of = |keys: &[Key], n: usize| {
        let mut interval = Interval::default();
        for (place, key) in keys.iter().enumerate() {
            interval.level(*key, (seed * 1.7 + n as f64 * 3.1 + place as f64).sin().abs() * 1e6, 10.0);
        }
        interval
    };
    let worker = |n: usize| Subject::Worker(endpoint.clone(), WorkerId::new(format!("w-{n:016x}")));
    let mut points: Vec<_> = (0..WORKERS).map(|n| (worker(n), of(&OF_WORKER, n))).collect();
    points.push((Subject::Endpoint(endpoint.clone()), of(&OF_ENDPOINT, 1)));
    points.extend((0..8).map(|gpu| (Subject::Gpu(gpu), of(&OF_GPU, gpu as usize))));
    points.push((Subject::Server, of(&OF_SERVER, 2)));
    points
}
