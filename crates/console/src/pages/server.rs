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

/// What webhooks are signed with.
#[derive(Deserialize)]
struct Signing {
    secret: Option<String>,
    replaced: Option<Replaced>,
}

/// The secret before, which signs beside the new one for a while.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Replaced {
    secret: String,
    ends_at: i64,
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
    signing: Signing,
    /// Whether the secret itself was asked for.
    shown: bool,
}

page!(Server: );

/// Loads it; with the secret of webhooks where that was asked for.
pub(crate) async fn load(visit: &Visit, query: &Query, shown: bool) -> Result<Server, Trouble> {
    let mut frame = Frame::new(visit, "/server", "Health", "/server", query);
    frame.stream = None;
    frame.same.cli = vec![
        "runyard doctor".into(),
        "runyard config".into(),
        "runyard gpus".into(),
        "runyard backup create FOLDER".into(),
        "runyard webhooks secret".into(),
        "runyard webhooks secret --rotate".into(),
    ];
    frame.same.api = vec![
        "GET /api/v1/doctor".into(),
        "GET /api/v1/config".into(),
        "GET /api/v1/gpus".into(),
        "POST /api/v1/backup".into(),
        "GET /api/v1/webhooks/secret".into(),
        "POST /api/v1/webhooks/secret/rotate".into(),
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
    let info = visit.get("/api/v1/info").await?;
    let signing = visit.get("/api/v1/webhooks/secret").await?;
    Ok(Server { frame, info, checks, gpus, prices, set, usual, signing, shown })
}

impl Server {
    /// Checks that want somebody.
    fn poor(&self) -> usize {
        self.checks.iter().filter(|check| !check.is_well()).count()
    }

    /// What the check of backups found.
    fn last_backup(&self) -> &str {
        self.checks.iter().find(|check| check.name == "backup").map_or("", |check| check.found.as_str())
    }

    fn price(&self, kind: &str) -> String {
        let found = self.prices.iter().find(|(name, price)| name == kind && *price > 0.0);
        found.map_or_else(|| "–".to_owned(), |(_, price)| format!("{price:.2} / h"))
    }
}
