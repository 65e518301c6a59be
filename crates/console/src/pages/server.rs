//! The server itself: whether it is well, its GPUs and their prices, its addresses and its configuration.

use askama::Template;
use serde::Deserialize;
use serde_json::Value;

use crate::call::Trouble;
use crate::frame::Frame;
use crate::pages::overview::{Gpu, Gpus};
use crate::pages::page;
use crate::place::Query;
use crate::session::Visit;
use crate::show::{State, Tone};

#[derive(Deserialize)]
struct Report {
    checks: Vec<Check>,
}

#[derive(Deserialize)]
struct Check {
    #[serde(rename = "check")]
    name: String,
    verdict: String,
    found: String,
    meaning: Option<String>,
    advice: Option<String>,
}

impl Check {
    fn is_well(&self) -> bool {
        self.verdict == "ok"
    }

    fn pill(&self) -> String {
        let state = match self.verdict.as_str() {
            "ok" => State::new(Tone::Ok, "Well"),
            "warn" => State::new(Tone::Warn, "Warning"),
            _ => State::new(Tone::Bad, "Failed"),
        };
        state.pill()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    version: String,
    pid: u32,
    data: String,
    listen: String,
    url: String,
    boundary: String,
    started_at: i64,
}

/// A value of the configuration, and where it is from.
#[derive(Deserialize)]
struct Setting {
    key: String,
    value: String,
    source: String,
}

impl Setting {
    fn is_usual(&self) -> bool {
        self.source == "default"
    }
}

#[derive(Deserialize)]
struct Config {
    values: Vec<Setting>,
}

#[derive(Template)]
#[template(path = "server.html")]
pub(crate) struct Server {
    frame: Frame,
    info: Info,
    checks: Vec<Check>,
    gpus: Vec<Gpu>,
    /// What an hour of a kind of GPU costs, where that is configured.
    prices: Vec<(String, f64)>,
    set: Vec<Setting>,
    usual: Vec<Setting>,
}

page!(Server: );

/// Loads it.
pub(crate) async fn load(visit: &Visit, query: &Query) -> Result<Server, Trouble> {
    let mut frame = Frame::new(visit, "/server", "Health", "/server", query);
    frame.stream = None;
    frame.same.cli = vec![
        "runyard doctor".into(),
        "runyard config".into(),
        "runyard gpus".into(),
        "runyard backup create FOLDER".into(),
    ];
    frame.same.api = vec![
        "GET /api/v1/doctor".into(),
        "GET /api/v1/config".into(),
        "GET /api/v1/gpus".into(),
        "POST /api/v1/backup".into(),
    ];
    let Report { mut checks } = visit.get("/api/v1/doctor").await?;
    let rank = |check: &Check| match check.verdict.as_str() {
        "fail" => 0,
        "warn" => 1,
        _ => 2,
    };
    checks.sort_by_key(rank);
    let Gpus { mut gpus } = visit.get("/api/v1/gpus").await?;
    gpus.truncate(64);
    let catalog: Value = visit.get("/api/v1/catalog/gpus").await?;
    let prices = catalog["gpus"].as_array().into_iter().flatten().filter_map(|gpu| {
        let price = gpu["price"]["serverless"].as_f64()?;
        Some((gpu["name"].as_str()?.to_owned(), price))
    });
    let prices = prices.collect();
    let Config { values } = visit.get("/api/v1/config").await?;
    let (usual, set) = values.into_iter().partition(Setting::is_usual);
    Ok(Server { info: visit.get("/api/v1/info").await?, frame, checks, gpus, prices, set, usual })
}

impl Server {
    /// Checks that want somebody.
    fn poor(&self) -> usize {
        self.checks.iter().filter(|check| !check.is_well()).count()
    }

    fn price(&self, kind: &str) -> String {
        let found = self.prices.iter().find(|(name, price)| name == kind && *price > 0.0);
        found.map_or_else(|| "–".to_owned(), |(_, price)| format!("{price:.2} / h"))
    }
}
