//! The list of endpoints.

use askama::Template;

use crate::call::Trouble;
use crate::frame::Frame;
use crate::pages::overview::Endpoints;
use crate::pages::page;
use crate::pages::pulse::Pulse;
use crate::place::Query;
use crate::session::Visit;
use crate::views::Endpoint;

#[derive(Template)]
#[template(path = "endpoints.html", blocks = ["live"])]
pub(crate) struct List {
    frame: Frame,
    endpoints: Vec<Endpoint>,
    all: usize,
    filter: String,
    pulse: Pulse,
}

page!(List: "live" = as_live);

/// Loads it.
pub(crate) async fn load(visit: &Visit, query: &Query) -> Result<List, Trouble> {
    let mut frame = Frame::new(visit, "/endpoints", "Endpoints", "/endpoints", query);
    frame.same.cli = vec!["runyard endpoints list".into()];
    frame.same.api = vec!["GET /api/v1/endpoints".into()];
    let Endpoints { mut endpoints } = visit.get("/api/v1/endpoints?limit=1000").await?;
    let all = endpoints.len();
    let filter = query.get("q").unwrap_or_default().to_owned();
    let lower = filter.to_lowercase();
    endpoints.retain(|e| e.name.contains(&lower) || e.id.contains(&lower) || e.state.contains(&lower));
    endpoints.sort_by(|a, b| a.name.cmp(&b.name));
    let pulse = Pulse::load(visit, None).await?;
    Ok(List { frame, endpoints, all, filter, pulse })
}
