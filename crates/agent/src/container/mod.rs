//! A worker as a container, from the look for its image to its removal: the same life as a process has in `spawn`
//! and `supervise`, told step by step because a start may have to pull an image first. Output is listened to before
//! the container starts, so that not a byte is missed.

mod doors;
mod life;

pub use doors::{Engines, sweep};

use std::sync::Arc;

use runyard_domain::WorkerId;
use runyard_runtime::WorkerSpec;

use crate::agent::Agent;
use crate::inside::Inside;
use crate::worker::{Worker, locked};

/// The name of a worker's container.
pub fn name_of(worker: &WorkerId) -> String {
    format!("runyard-{worker}")
}

/// Begins to start a worker.
pub fn start(agent: &Arc<Agent>, worker: Worker, spec: WorkerSpec) {
    let engine = spec.image.as_ref().map(|image| image.image.engine.clone());
    let (inside, told) = Inside::new(engine.unwrap_or_default());
    let worker = Arc::new(worker.inside(inside));
    locked(&agent.table).add_container(Arc::clone(&worker));
    tracing::info!(worker.id = %worker.id, endpoint.id = %worker.endpoint, "A container worker is being started");
    tokio::spawn(life::supervise(Arc::clone(agent), worker, spec, told));
}
