//! What takes space in the data directory, by kind, and what would go.

use askama::Template;
use serde::Deserialize;

use crate::call::Trouble;
use crate::frame::Frame;
use crate::pages::page;
use crate::place::Query;
use crate::session::Visit;
use crate::show;

/// As many things of a kind are listed.
const LISTED: usize = 25;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    bytes: u64,
    goes_bytes: u64,
    free_bytes: Option<u64>,
    accounts: Vec<Account>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    kind: String,
    unknown: Option<String>,
    bytes: u64,
    things: u64,
    goes_bytes: u64,
    goes_things: u64,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    name: String,
    bytes: u64,
    goes: bool,
    why: String,
}

impl Account {
    /// What the kind means, in a few words.
    fn help(&self) -> &'static str {
        match self.kind.as_str() {
            "environments" => "Python environments of releases",
            "bundles" => "code of releases",
            "images" => "images that were pulled or built",
            "build cache" => "what the engine's builder keeps",
            "deleted" => "left on the engine by data directories that are gone",
            "caches" => "what installers keep",
            "logs" => "what workers printed",
            "left behind" => "of workers and builds that are gone",
            "jobs" => "jobs, their inputs and results",
            "volumes" => "network volumes",
            "own" => "what the server needs itself",
            _ => "",
        }
    }
}

#[derive(Template)]
#[template(path = "disk.html")]
pub(crate) struct Disk {
    frame: Frame,
    usage: Usage,
    goes_things: u64,
}

page!(Disk: );

/// Loads it.
pub(crate) async fn load(visit: &Visit, query: &Query) -> Result<Disk, Trouble> {
    let mut frame = Frame::new(visit, "/disk", "Disk", "/disk", query);
    frame.stream = None;
    frame.same.cli =
        vec!["runyard disk".into(), "runyard disk prune --dry-run".into(), "runyard disk prune".into()];
    frame.same.api = vec!["GET /api/v1/disk".into(), "POST /api/v1/disk/prune {\"dryRun\": true}".into()];
    let mut usage: Usage = visit.get("/api/v1/disk").await?;
    usage.accounts.retain(|account| account.things > 0 || account.unknown.is_some());
    usage.accounts.sort_by_key(|account| std::cmp::Reverse(account.bytes));
    for account in &mut usage.accounts {
        account.items.truncate(LISTED);
    }
    let goes_things = usage.accounts.iter().map(|account| account.goes_things).sum();
    Ok(Disk { frame, usage, goes_things })
}

impl Disk {
    fn free(&self) -> String {
        self.usage.free_bytes.map_or_else(|| "–".to_owned(), show::bytes)
    }
}
