//! The GPUs of this machine: their types, and who holds them. And whether what an endpoint asks for could ever be had.

use axum::Json;
use axum::extract::State;
use runyard_domain::{Gpus, gpu};
use serde_json::{Value, json};

use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;

pub(crate) async fn list(State(manage): State<Manage>, auth: Auth) -> Json<Value> {
    let workers = manage.inner.fleet.workers();
    let view = |(index, gpu): (usize, &gpu::Gpu)| {
        let holder = workers.iter().find(|worker| worker.gpus.contains(&(index as u32)));
        // Whose it is tells only who may see that endpoint.
        let seen = holder.filter(|worker| auth.0.sees(&worker.endpoint));
        let endpoint = seen.and_then(|worker| manage.inner.engine.endpoint_by_id(&worker.endpoint));
        json!({
            "index": index,
            "type": gpu.name,
            "memoryGb": gpu.memory_gb,
            "pool": gpu.pool(),
            "free": holder.is_none(),
            "worker": seen.map(|worker| &worker.id),
            "endpoint": endpoint.as_ref().map(|endpoint| &endpoint.id),
            "endpointName": endpoint.as_ref().map(|endpoint| &endpoint.name),
        })
    };
    let gpus: Vec<Value> = manage.inner.fleet.gpus().iter().enumerate().map(view).collect();
    Json(json!({"gpus": gpus}))
}

impl Manage {
    /// Refuses GPUs that this machine can never give. One without any takes every wish: what is written there may be
    /// for another machine, and its jobs say why they wait.
    pub(crate) fn check_gpus(&self, gpus: &Gpus) -> Result<(), Problem> {
        let machine = self.inner.fleet.gpus();
        if let Some(name) = gpus.unknown(machine) {
            let name: String = name.chars().take(80).collect();
            return Err(Problem::invalid(format!("there is no GPU type '{name}'"))
                .hint("runyard gpus lists those of this machine, docs/endpoint-settings.md the others"));
        }
        if machine.is_empty() {
            return Ok(());
        }
        gpus.unmet(machine).map_or(Ok(()), |why| Err(Problem::invalid(why).hint("runyard gpus")))
    }

    /// The GPUs that a repository asks for. It names those of RunPod's machines: where this one has none of them, any
    /// will do.
    pub(crate) fn hub_gpus(&self, count: u32, ids: Option<&str>) -> Gpus {
        let asked = ids.and_then(|ids| ids.parse::<Gpus>().ok());
        let asked = asked.map(|asked| Gpus::of(count, asked.kinds().to_vec(), asked.excluded().to_vec()));
        asked.filter(|asked| self.check_gpus(asked).is_ok()).unwrap_or_else(|| Gpus::from(count))
    }
}
