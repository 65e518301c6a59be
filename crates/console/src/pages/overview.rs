//! The first page: what needs attention, how much goes on, and what was done last.

use askama::Template;
use serde::Deserialize;

use crate::call::Trouble;
use crate::frame::Frame;
use crate::pages::endpoints::every;
use crate::pages::page;
use crate::pages::pulse::{Back, Jobs, Pulse};
use crate::place::Query;
use crate::session::Visit;
use crate::show;
use crate::views::{Audit, Endpoint, Job, Worker};

#[derive(Deserialize)]
pub(crate) struct Workers {
    pub(crate) workers: Vec<Worker>,
}

#[derive(Deserialize)]
pub(crate) struct Records {
    pub(crate) records: Vec<Audit>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    version: String,
    boundary: String,
    draining: bool,
    disk: Disk,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Disk {
    full: bool,
    free_bytes: Option<u64>,
}

impl Disk {
    fn free(&self) -> Option<String> {
        self.free_bytes.map(show::bytes)
    }
}

/// A GPU, and who has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Gpu {
    pub(crate) index: u32,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) free: bool,
    pub(crate) worker: Option<String>,
    pub(crate) endpoint_name: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Gpus {
    pub(crate) gpus: Vec<Gpu>,
}

#[derive(Template)]
#[template(path = "overview.html", blocks = ["live"])]
pub(crate) struct Overview {
    frame: Frame,
    info: Info,
    endpoints: Vec<Endpoint>,
    attention: Vec<Endpoint>,
    failures: Vec<Job>,
    records: Vec<Audit>,
    pulse: Pulse,
    gpus: Vec<Gpu>,
    busy: u32,
    idle: u32,
    starting: u32,
    waiting: u64,
    running: u64,
}

page!(Overview: "live" = as_live);

/// Loads it.
pub(crate) async fn load(visit: &Visit, query: &Query) -> Result<Overview, Trouble> {
    let mut frame = Frame::new(visit, "/", "Overview", "/", query);
    frame.same.cli = vec!["runyard top".into(), "runyard endpoints list".into()];
    frame.same.api = vec!["GET /api/v1/info".into(), "GET /api/v1/endpoints".into()];
    let info: Info = visit.get("/api/v1/info").await?;
    let endpoints = every(visit).await?;
    let Gpus { mut gpus } = visit.get("/api/v1/gpus").await?;
    gpus.truncate(64);
    let Jobs { jobs: failures, .. } = visit.get("/api/v1/jobs?status=FAILED&limit=6").await?;
    // Who may not read the audit log sees the rest.
    let mut records = match visit.get::<Records>("/api/v1/audit?limit=50").await {
        Ok(list) => list.records,
        Err(_) => Vec::new(),
    };
    // Who came is told on the page of all activity.
    records.retain(|record| !record.is_sign_in());
    // The steps of one change are told there, too.
    records.dedup_by(|older, newer| older.is_step_of(newer));
    records.truncate(8);
    let sum = |of: fn(&Endpoint) -> u32| endpoints.iter().map(of).sum::<u32>();
    Ok(Overview {
        busy: sum(|e| e.workers.running),
        idle: sum(|e| e.workers.idle),
        starting: sum(|e| e.workers.starting),
        waiting: endpoints.iter().map(|e| e.jobs.waiting).sum(),
        running: endpoints.iter().map(|e| e.jobs.running).sum(),
        attention: endpoints.iter().filter(|e| e.needs_attention()).cloned().collect(),
        gpus,
        pulse: Pulse::load(visit, Back::HalfHour).await?,
        frame,
        info,
        endpoints,
        failures,
        records,
    })
}
