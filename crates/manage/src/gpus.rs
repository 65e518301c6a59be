//! The GPUs of this machine: their types, and who holds them. And whether what an endpoint asks for could ever be had.

use axum::Json;
use axum::extract::{Query, State};
use runyard_domain::{Gpus, Settings, gpu};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Manage;
use crate::auth::Auth;
use crate::plan::cost;
use crate::problem::Problem;

/// What is asked of them.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// GPUs as the setting has them.
    wish: Option<String>,
    min: Option<u32>,
    max: Option<u32>,
}

/// The longest wish, in bytes.
const LONGEST: usize = 1_000;

pub(crate) async fn list(
    State(manage): State<Manage>,
    auth: Auth,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, Problem> {
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
    let mut all = json!({"gpus": gpus});
    if let Some(wish) = &asked.wish {
        all["wish"] = manage.wish(wish, &asked)?;
    }
    Ok(Json(all))
}

impl Manage {
    /// Which GPUs of this machine a wish means, most wanted first, how many of those are free, and what it costs.
    fn wish(&self, text: &str, asked: &Asked) -> Result<Value, Problem> {
        let gpus: Gpus = match text.get(..LONGEST.min(text.len())).filter(|_| text.len() <= LONGEST) {
            Some(text) => text.parse().map_err(Problem::invalid)?,
            None => return Err(Problem::too_large("'wish' is longer than 1000 bytes")),
        };
        let machine = self.inner.fleet.gpus();
        if let Some(name) = gpus.unknown(machine) {
            let name: String = name.chars().take(80).collect();
            return Err(Problem::invalid(format!("there is no GPU type '{name}'")).hint("runyard gpus"));
        }
        let workers = self.inner.fleet.workers();
        let is_free = |index: &u32| !workers.iter().any(|worker| worker.gpus.contains(index));
        let fits = gpus.groups(machine);
        let usual = Settings::default();
        let settings = Settings {
            workers_min: asked.min.unwrap_or(usual.workers_min),
            workers_max: asked.max.unwrap_or(usual.workers_max),
            gpus: gpus.clone(),
            ..usual
        };
        Ok(json!({
            "words": gpus.words(),
            "count": gpus.count(),
            "fits": fits,
            "free": fits.iter().flatten().filter(|index| is_free(index)).count(),
            "why": gpus.unmet(machine),
            "costPerHour": cost::view(&self.inner.rest.options, machine, None, &settings)["new"],
        }))
    }

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
