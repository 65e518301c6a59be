//! The workers of an endpoint: those that are there, and those that ended, with how.

use askama::Template;

use crate::call::Trouble;
use crate::frame::Frame;
use crate::pages::endpoint::Head;
use crate::pages::overview;
use crate::pages::page;
use crate::place::{Query, Tab};
use crate::session::Visit;
use crate::views::Worker;

/// As many ended ones are shown.
const GONE: usize = 50;

#[derive(Template)]
#[template(path = "workers.html", blocks = ["head", "live"])]
pub(crate) struct Workers {
    head: Head,
    frame: Frame,
    live: Vec<Worker>,
    gone: Vec<Worker>,
}

page!(Workers: "head" = as_head, "live" = as_live);

/// Loads it.
pub(crate) async fn load(visit: &Visit, ep: &str, query: &Query) -> Result<Workers, Trouble> {
    let (head, mut frame) = Head::load(visit, ep, Tab::Workers, query).await?;
    let name = &head.endpoint.name;
    frame.same.cli = vec![format!("runyard workers {name}"), format!("runyard restart {name}")];
    frame.same.api = vec![format!("GET /api/v1/workers?endpoint={name}")];
    let list: overview::Workers = visit.get(&format!("/api/v1/workers?endpoint={name}")).await?;
    let (mut gone, mut live): (Vec<Worker>, Vec<Worker>) =
        list.workers.into_iter().partition(Worker::is_gone);
    // In the order in which they came, so that no row jumps when another changes.
    live.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    gone.sort_by_key(|worker| std::cmp::Reverse(worker.ended_at));
    gone.truncate(GONE);
    Ok(Workers { head, frame, live, gone })
}
