//! An endpoint: its head, which all of its tabs have, and the tab that says how to call it and how it does.

use askama::Template;
use runyard_domain::Access;
use serde::Deserialize;

use crate::call::Trouble;
use crate::code::{self, Mode, Snippet};
use crate::frame::Frame;
use crate::pages::lately::{self, Tile};
use crate::pages::page;
use crate::pages::pulse::Jobs;
use crate::place::{Query, Tab};
use crate::session::Visit;
use crate::views::{Endpoint, FailureGroup, Job, Release, Why};

/// As many kinds of failures are shown.
const FAILURES: usize = 8;

#[derive(Deserialize)]
pub(crate) struct Releases {
    pub(crate) releases: Vec<Release>,
}

/// What all tabs begin with.
pub(crate) struct Head {
    pub(crate) endpoint: Endpoint,
    pub(crate) tab: Tab,
    /// What the visitor may do here.
    pub(crate) may_run: bool,
    pub(crate) may_deploy: bool,
}

impl Head {
    pub(crate) async fn load(
        visit: &Visit,
        ep: &str,
        tab: Tab,
        query: &Query,
    ) -> Result<(Self, Frame), Trouble> {
        let endpoint: Endpoint = visit.get(&format!("/api/v1/endpoints/{ep}")).await?;
        let title = if tab == Tab::Overview {
            endpoint.name.clone()
        } else {
            format!("{} · {}", tab.name(), endpoint.name)
        };
        // Its name may have been another: the address is the one that it has now.
        let mut frame = Frame::new(visit, "/endpoints", &title, &tab.href(&endpoint.name), query);
        frame.crumbs = vec![("/endpoints".into(), "Endpoints".into())];
        if tab != Tab::Overview {
            frame.crumbs.push((endpoint.href(), endpoint.name.clone()));
        }
        let may = |access| visit.may_with(access, &endpoint.id);
        let (may_run, may_deploy) = (may(Access::Run), may(Access::Deploy));
        Ok((Self { endpoint, tab, may_run, may_deploy }, frame))
    }

    #[expect(clippy::unused_self, reason = "templates ask the page")]
    pub(crate) fn tabs(&self) -> [Tab; 8] {
        Tab::ALL
    }

    /// Whether its state is one that wants a sentence.
    pub(crate) fn says_why(&self) -> bool {
        let wants = self.endpoint.needs_attention() || self.endpoint.state == "starting";
        wants && !self.endpoint.message().is_empty()
    }
}

/// Failures by fingerprint.
#[derive(Deserialize)]
struct Failures {
    failures: Vec<FailureGroup>,
}

/// The head by itself, for tabs whose rest is kept fresh in another way.
#[derive(Template)]
#[template(path = "endpoint-base.html", blocks = ["head"])]
pub(crate) struct HeadAlone {
    head: Head,
    frame: Frame,
}

page!(HeadAlone: "head" = as_head);

impl HeadAlone {
    pub(crate) async fn load(visit: &Visit, ep: &str, tab: Tab, query: &Query) -> Result<Self, Trouble> {
        let (head, frame) = Head::load(visit, ep, tab, query).await?;
        Ok(Self { head, frame })
    }
}

#[derive(Template)]
#[template(path = "endpoint.html", blocks = ["head", "live"])]
pub(crate) struct Overview {
    head: Head,
    frame: Frame,
    why: Why,
    tiles: Vec<Tile>,
    failures: Vec<FailureGroup>,
    latest: Vec<Job>,
    serving: Option<Release>,
    snippets: Vec<Snippet>,
    modes: [Mode; 3],
    mode: Mode,
    open: bool,
}

page!(Overview: "head" = as_head, "live" = as_live);

/// Loads the first tab.
pub(crate) async fn load(visit: &Visit, ep: &str, query: &Query) -> Result<Overview, Trouble> {
    let (head, mut frame) = Head::load(visit, ep, Tab::Overview, query).await?;
    let name = head.endpoint.name.clone();
    frame.same.cli = vec![
        format!("runyard endpoints show {name}"),
        format!("runyard why {name}"),
        format!("runyard failures {name}"),
    ];
    frame.same.api = vec![
        format!("GET /api/v1/endpoints/{name}"),
        format!("GET /api/v1/endpoints/{name}/why"),
        format!("GET /api/v1/endpoints/{name}/failures"),
    ];
    let why: Why = visit.get(&format!("/api/v1/endpoints/{name}/why")).await?;
    let tiles = lately::load(visit, &name, frame.now).await?;
    let Failures { failures } =
        visit.get(&format!("/api/v1/endpoints/{name}/failures?limit={FAILURES}")).await?;
    let latest: Jobs = visit.get(&format!("/api/v1/jobs?endpoint={name}&limit=6")).await?;
    let Releases { releases } = visit.get(&format!("/api/v1/endpoints/{name}/releases")).await?;
    let mode = Mode::of(query.get("mode").unwrap_or("runsync"));
    let url = visit.console.inner.url.clone();
    let open = visit.console.inner.open;
    Ok(Overview {
        snippets: code::snippets(&url, &name, mode, "{\"prompt\": \"Hello\"}", open),
        modes: Mode::ALL,
        mode,
        open,
        head,
        frame,
        why,
        tiles,
        failures,
        latest: latest.jobs,
        serving: releases.into_iter().find(|release| release.serving),
    })
}
