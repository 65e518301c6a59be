//! The workers of an endpoint: those that are there, with what they use, and those that ended, with how.

use std::collections::HashMap;

use askama::Template;
use serde::Deserialize;

use crate::call::{Trouble, encoded};
use crate::chart::Unit;
use crate::draw;
use crate::frame::Frame;
use crate::pages::endpoint::Head;
use crate::pages::overview;
use crate::pages::page;
use crate::place::{Query, Tab};
use crate::series::{Each, named};
use crate::session::Visit;
use crate::views::Worker;

/// Rows of a page.
const ROWS: usize = 100;

/// As many ended ones are shown.
const GONE: usize = 50;

/// How far back a measurement may lie, in milliseconds.
const FRESH_MS: i64 = 60_000;

/// States that one may look for.
const STATES: [&str; 4] = ["starting", "idle", "running", "draining"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    workers: Vec<Worker>,
    next_cursor: Option<String>,
}

/// What is measured of one thing, as a number and as a share of what it may have.
struct Used {
    word: String,
    meter: String,
}

#[derive(Template)]
#[template(path = "workers.html", blocks = ["head", "live"])]
pub(crate) struct Workers {
    head: Head,
    frame: Frame,
    live: Vec<Worker>,
    gone: Vec<Worker>,
    state: String,
    states: [&'static str; 4],
    next: Option<String>,
    by_worker: Each,
    by_gpu: Each,
    places: HashMap<String, usize>,
}

page!(Workers: "head" = as_head, "live" = as_live);

impl Workers {
    fn measured(&self, worker: &Worker, series: &str) -> Option<f64> {
        let one = &self.by_worker.each[*self.places.get(&worker.id)?];
        named(&one.series, series)?.last()
    }

    /// Processors; a whole one fills the bar.
    fn cpu(&self, worker: &Worker) -> Option<Used> {
        let cores = self.measured(worker, "worker_cpu")?;
        Some(Used { word: Unit::Cores.say(cores), meter: draw::meter(cores) })
    }

    /// Memory, of what it may hold where that is bounded.
    fn memory(&self, worker: &Worker) -> Option<Used> {
        let held = self.measured(worker, "worker_memory")?;
        let limit = self.measured(worker, "worker_memory_limit").filter(|limit| *limit > 0.0);
        let meter = limit.map_or_else(String::new, |limit| draw::meter(held / limit));
        Some(Used { word: Unit::Bytes.say(held), meter })
    }

    fn of_gpus(&self, worker: &Worker, series: &str) -> Vec<f64> {
        let own = |gpu: &Option<u32>| gpu.is_some_and(|gpu| worker.gpus.contains(&gpu));
        let own = self.by_gpu.each.iter().filter(|one| own(&one.gpu));
        own.filter_map(|one| named(&one.series, series)?.last()).collect()
    }

    /// How busy its GPUs are, on average.
    fn gpu_use(&self, worker: &Worker) -> Option<Used> {
        let all = self.of_gpus(worker, "device_use");
        let share = all.iter().sum::<f64>() / all.len().max(1) as f64;
        (!all.is_empty()).then(|| Used { word: Unit::Ratio.say(share), meter: draw::meter(share) })
    }

    /// Memory in use on its GPUs.
    fn gpu_memory(&self, worker: &Worker) -> Option<Used> {
        let used = self.of_gpus(worker, "device_memory_used");
        let (held, of) =
            (used.iter().sum::<f64>(), self.of_gpus(worker, "device_memory_total").iter().sum::<f64>());
        let meter = if of > 0.0 { draw::meter(held / of) } else { String::new() };
        (!used.is_empty()).then(|| Used { word: Unit::Bytes.say(held), meter })
    }
}

/// Loads it.
pub(crate) async fn load(visit: &Visit, ep: &str, query: &Query) -> Result<Workers, Trouble> {
    let (head, mut frame) = Head::load(visit, ep, Tab::Workers, query).await?;
    let name = &head.endpoint.name;
    let state = STATES.into_iter().find(|state| query.get("state") == Some(state)).unwrap_or_default();
    let mut path = format!("/api/v1/workers?endpoint={name}&limit={ROWS}");
    if !state.is_empty() {
        path.extend(["&state=", state]);
    }
    let flag = if state.is_empty() { String::new() } else { format!(" --state {state}") };
    frame.same.cli = vec![
        format!("runyard workers {name}{flag}"),
        format!("runyard workers stats {name}"),
        format!("runyard endpoints restart {name}"),
        "runyard workers stop WORKER".to_owned(),
    ];
    frame.same.api = vec![format!("GET {path}")];
    if let Some(cursor) = query.get("cursor") {
        path.extend(["&cursor=", &encoded(cursor)]);
    }
    let List { workers: mut live, next_cursor } = visit.get(&path).await?;
    let is_end = live.iter().any(Worker::is_gone);
    live.retain(|worker| !worker.is_gone());
    let list = format!("/api/v1/workers?endpoint={name}&state=gone&limit={GONE}");
    let overview::Workers { workers: mut gone } = visit.get(&list).await?;
    gone.sort_by_key(|worker| std::cmp::Reverse(worker.ended_at));
    let each = |of: &str, series: &str| {
        let since = frame.now - FRESH_MS;
        let path = "/api/v1/metrics/each";
        format!("{path}?of={of}&endpoint={name}&series={series}&since={since}&step=10&limit=1000")
    };
    let by_worker = if live.is_empty() {
        Each::default()
    } else {
        let shown: Vec<&str> = live.iter().map(|worker| worker.id.as_str()).collect();
        let measured = each("worker", "worker_cpu,worker_memory,worker_memory_limit");
        visit.get(&format!("{measured}&worker={}", shown.join(","))).await?
    };
    let by_gpu = if live.iter().all(|worker| worker.gpus.is_empty()) {
        Each::default()
    } else {
        // GPUs are shown to keys for all endpoints.
        let devices = each("gpu", "device_use,device_memory_used,device_memory_total");
        visit.get(&devices).await.unwrap_or_default()
    };
    let ids = by_worker.each.iter().enumerate();
    let places = ids.filter_map(|(place, one)| Some((one.worker.clone()?, place))).collect();
    let next = next_cursor.filter(|_| !is_end).map(|cursor| format!("?{}", query.with("cursor", &cursor)));
    let state = state.to_owned();
    Ok(Workers { head, frame, live, gone, state, states: STATES, next, by_worker, by_gpu, places })
}
