//! The page of a terminal beside a worker. What goes through it is in `crate::terminal`.

use askama::Template;
use http::StatusCode;
use runyard_domain::Access;
use serde::Deserialize;

use crate::assets::ASSETS;
use crate::call::Trouble;
use crate::frame::Frame;
use crate::pages::page;
use crate::place::Query;
use crate::session::Visit;
use crate::terminal::SHELLS;
use crate::views::Worker;

#[derive(Deserialize)]
struct List {
    workers: Vec<Placed>,
}

/// A worker with its endpoint.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Placed {
    pub(crate) endpoint: String,
    endpoint_name: Option<String>,
    #[serde(flatten)]
    pub(crate) worker: Worker,
}

#[derive(Template)]
#[template(path = "terminal.html", blocks = ["live"])]
pub(crate) struct Terminal {
    frame: Frame,
    worker: Worker,
    endpoint: String,
    shells: [&'static str; 3],
    shell: &'static str,
    /// Addresses of the terminal's scripts and style, which no other page loads.
    own: &'static str,
    xterm: &'static str,
    fit: &'static str,
    style: &'static str,
}

page!(Terminal: "live" = as_live);

/// A worker beside which the visitor may run commands.
pub(crate) async fn worker(visit: &Visit, id: &str) -> Result<Placed, Trouble> {
    let List { workers } = visit.get("/api/v1/workers?limit=1000").await?;
    let found = workers.into_iter().find(|placed| placed.worker.id == id).ok_or_else(|| {
        let id: String = id.chars().take(80).collect();
        Trouble::new(StatusCode::NOT_FOUND, "Not found", format!("there is no worker '{id}'"))
    })?;
    if !visit.may_with(Access::Deploy, &found.endpoint) {
        let detail = "a terminal beside a worker needs a key with 'deploy' for its endpoint";
        return Err(Trouble::new(StatusCode::FORBIDDEN, "Not allowed", detail));
    }
    Ok(found)
}

/// Loads it.
pub(crate) async fn load(visit: &Visit, id: &str, query: &Query) -> Result<Terminal, Trouble> {
    let Placed { endpoint_name, endpoint, worker } = worker(visit, id).await?;
    let endpoint = endpoint_name.unwrap_or(endpoint);
    let asked = query.get("shell").unwrap_or_default();
    let shell = SHELLS.into_iter().find(|shell| *shell == asked).unwrap_or(SHELLS[0]);
    let path = format!("/workers/{id}/terminal");
    let title = format!("Terminal · {}", crate::show::short(id));
    let mut frame = Frame::new(visit, "/endpoints", &title, &path, query);
    frame.crumbs = vec![
        ("/endpoints".into(), "Endpoints".into()),
        (format!("/e/{endpoint}"), endpoint.clone()),
        (format!("/e/{endpoint}/workers"), "Workers".into()),
    ];
    frame.same.cli = vec![format!("runyard exec -t {id} -- {shell}")];
    frame.same.api = vec![format!("POST /api/v1/workers/{id}/exec")];
    Ok(Terminal {
        frame,
        worker,
        endpoint,
        shells: SHELLS,
        shell,
        own: &ASSETS.terminal.href,
        xterm: &ASSETS.xterm.href,
        fit: &ASSETS.fit.href,
        style: &ASSETS.xterm_style.href,
    })
}
