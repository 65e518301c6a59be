//! The list of endpoints, a page at a time.

use askama::Template;
use serde::Deserialize;

use crate::call::{Trouble, encoded};
use crate::frame::Frame;
use crate::pages::page;
use crate::pages::pulse::{Back, Pulse};
use crate::place::Query;
use crate::session::Visit;
use crate::views::Endpoint;

/// Rows of a page.
const ROWS: usize = 50;

/// As many endpoints are looked through where all are needed.
const MOST: usize = 10_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    endpoints: Vec<Endpoint>,
    next_cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "endpoints.html", blocks = ["live"])]
pub(crate) struct List {
    frame: Frame,
    endpoints: Vec<Endpoint>,
    filter: String,
    next: Option<String>,
    pulse: Pulse,
}

page!(List: "live" = as_live);

/// All of them that the visitor may see.
pub(crate) async fn every(visit: &Visit) -> Result<Vec<Endpoint>, Trouble> {
    let (endpoints, _) = visit.list("/api/v1/endpoints", "endpoints", MOST).await?;
    Ok(endpoints)
}

/// Loads it.
pub(crate) async fn load(visit: &Visit, query: &Query) -> Result<List, Trouble> {
    let mut frame = Frame::new(visit, "/endpoints", "Endpoints", "/endpoints", query);
    frame.same.cli = vec!["runyard endpoints list".into(), "runyard metrics --each endpoint".into()];
    frame.same.api = vec!["GET /api/v1/endpoints".into(), "GET /api/v1/metrics/each".into()];
    let filter = query.get("q").unwrap_or_default().to_owned();
    let (endpoints, next) = if filter.is_empty() {
        let after = query.get("cursor").map_or_else(String::new, |at| format!("&cursor={}", encoded(at)));
        let path = format!("/api/v1/endpoints?limit={ROWS}{after}");
        let Answer { endpoints, next_cursor } = visit.get(&path).await?;
        let next = next_cursor.map(|cursor| format!("/endpoints?{}", query.with("cursor", &cursor)));
        (endpoints, next)
    } else {
        let mut endpoints = every(visit).await?;
        let lower = filter.to_lowercase();
        endpoints.retain(|e| e.name.contains(&lower) || e.id.contains(&lower) || e.state.contains(&lower));
        endpoints.truncate(ROWS);
        (endpoints, None)
    };
    let names: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    let pulse = Pulse::of(visit, Back::Day, &names).await?;
    Ok(List { frame, endpoints, filter, next, pulse })
}
