//! The web console: pages of this server, rendered here. It is a client like every other: whatever a page shows or
//! changes goes through the calls of `/api/v1` and the job API, in this process and as the caller who is signed in. So
//! it has no truth, no right and no audit record of its own.
//!
//! - [`session`] knows who looks: a cookie, made of an API key or of the link that `runyard dev` prints.
//! - [`place`] reads which page an address means, `pages` load and render it, [`events`] send the parts that changed.
//! - [`forms`] turn what a form sends into one call of the API.
//! - [`assets`] are the style and the scripts, with the hash of their content in their names.

mod ansi;
mod assets;
mod call;
mod chart;
mod code;
mod create;
mod csv;
mod draw;
mod events;
mod forms;
mod frame;
mod gpus;
mod headers;
mod json;
mod lines;
mod markdown;
mod may;
mod media;
mod pages;
mod place;
mod preview;
mod range;
mod series;
mod session;
mod show;
mod terminal;
mod things;
mod upload;
mod variables;
mod views;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};
use runyard_engine::Engine;
use runyard_runtime::Runtime;
use tokio::sync::{Semaphore, watch};

pub use session::LINK;

/// The most pages that are kept up to date at once; more of them are shown as they were when they were opened.
const MOST_STREAMS: usize = 256;

/// What the console stands on.
pub struct Options {
    /// For who calls, and for what changes.
    pub engine: Engine,
    /// For what workers print and how they end.
    pub runtime: Arc<dyn Runtime>,
    /// The calls of the server, without the console.
    pub api: Router,
    /// The base URL that users call, without a slash at its end.
    pub url: String,
    /// Whether the job API needs no key.
    pub open: bool,
}

pub(crate) struct Inner {
    engine: Engine,
    runtime: Arc<dyn Runtime>,
    api: Router,
    url: String,
    open: bool,
    link: String,
    streams: Arc<Semaphore>,
    terminals: terminal::Terminals,
    closing: watch::Sender<bool>,
}

/// The console. Cheap to clone.
#[derive(Clone)]
pub struct Console {
    pub(crate) inner: Arc<Inner>,
}

impl Console {
    /// A console over these calls.
    pub fn new(options: Options) -> Self {
        let Options { engine, runtime, api, url, open } = options;
        let link = engine.env().token(32);
        let streams = Arc::new(Semaphore::new(MOST_STREAMS));
        let (closing, _) = watch::channel(false);
        Self {
            inner: Arc::new(Inner {
                engine,
                runtime,
                api,
                url,
                open,
                link,
                streams,
                terminals: terminal::Terminals::default(),
                closing,
            }),
        }
    }

    /// The address that signs in whoever started this server, as long as it runs.
    pub fn link(&self) -> String {
        format!("{}{LINK}/{}", self.inner.url, self.inner.link)
    }

    /// Ends what goes on: pages connect again to the server that comes.
    pub fn close(&self) {
        let _ = self.inner.closing.send(true);
    }

    /// Its routes.
    pub fn routes(&self) -> Router {
        let mut routes = Router::new();
        for path in PAGES {
            routes = routes.route(path, get(pages::show).post(forms::submit));
        }
        routes
            .route("/assets/{name}", get(assets::serve))
            .route("/favicon.ico", get(assets::icon))
            .route("/ui/events", get(events::stream))
            .route("/ui/chart.csv", get(csv::serve))
            .route("/ui/logs", get(lines::follow))
            .route("/ui/logs/file", get(lines::file))
            .route("/ui/theme", post(frame::set_theme))
            // A folder comes file by file: its form is no list of fields.
            .route("/endpoints/new", get(pages::show).post(create::submit))
            .route("/ui/preview", post(create::preview))
            .route("/ui/deploy/{ep}", post(create::next))
            .route("/ui/search", get(pages::search::hits))
            .route("/ui/terminal/{worker}", post(terminal::open))
            .route("/ui/terminal/{worker}/{session}", post(terminal::input))
            .route("/activity/export", get(pages::activity::export))
            .route("/jobs/{id}/media", get(media::serve))
            .route("/jobs/{id}/output", get(media::output))
            .route("/sign-in", get(session::page).post(session::sign_in))
            .route("/sign-out", post(session::sign_out))
            .route("/open/{token}", get(session::open))
            .layer(middleware::map_response(headers::strict))
            .with_state(self.clone())
    }
}

/// The addresses of pages; the forms of a page are sent to its own address.
const PAGES: [&str; 23] = [
    "/",
    "/endpoints",
    "/e/{ep}",
    "/e/{ep}/{tab}",
    "/e/{ep}/{tab}/{number}",
    "/catalogue",
    "/catalogue/{entry}",
    "/git",
    "/jobs",
    "/jobs/{id}",
    "/keys",
    "/secrets",
    "/activity",
    "/templates",
    "/volumes",
    "/registries",
    "/ssh-keys",
    "/members",
    "/usage",
    "/disk",
    "/server",
    "/search",
    "/workers/{worker}/terminal",
];

/// Every path of the console, for tests that go over all of them.
pub fn paths() -> Vec<&'static str> {
    let others = [
        "/assets/{name}",
        "/favicon.ico",
        "/ui/events",
        "/ui/chart.csv",
        "/ui/logs",
        "/ui/logs/file",
        "/ui/theme",
        "/endpoints/new",
        "/ui/preview",
        "/ui/deploy/{ep}",
        "/ui/search",
        "/ui/terminal/{worker}",
        "/ui/terminal/{worker}/{session}",
        "/activity/export",
        "/jobs/{id}/media",
        "/jobs/{id}/output",
        "/sign-in",
        "/sign-out",
        "/open/{token}",
    ];
    PAGES.into_iter().chain(others).collect()
}
