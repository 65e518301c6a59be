//! The pages: each is loaded through the API, rendered whole, or in the parts that are kept fresh.

pub(crate) mod activity;
pub(crate) mod catalogue;
mod disk;
mod endpoint;
mod endpoints;
pub(crate) mod git;
mod job;
pub(crate) mod jobs;
pub(crate) mod keys;
mod lately;
pub(crate) mod logs;
pub(crate) mod members;
pub(crate) mod metrics;
pub(crate) mod new;
mod overview;
mod pulse;
mod registries;
mod release;
mod releases;
mod requests;
pub(crate) mod search;
mod secrets;
pub(crate) mod server;
pub(crate) mod settings;
pub(crate) mod ssh_keys;
pub(crate) mod telemetry;
mod templates;
pub(crate) mod terminal;
mod usage;
mod volumes;
mod workers;

use askama::Template;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, Uri, header};

use crate::call::Trouble;
use crate::frame::{Flash, Frame};
use crate::place::{Place, Query, Tab};
use crate::session::Visit;

/// A page that was loaded.
pub(crate) trait Page: Send {
    /// All of it.
    fn whole(&self) -> askama::Result<String>;
    /// The parts that change by themselves: the id of each, and its HTML.
    fn live(&self) -> Vec<(&'static str, String)>;
}

/// Makes a template a page: after the colon the ids of its live parts, each a block of the template.
macro_rules! page {
    ($page:ty: $($id:literal = $block:ident),*) => {
        impl $crate::pages::Page for $page {
            fn whole(&self) -> askama::Result<String> {
                askama::Template::render(self)
            }

            fn live(&self) -> Vec<(&'static str, String)> {
                vec![$(($id, askama::Template::render(&self.$block()).unwrap_or_default())),*]
            }
        }
    };
}
pub(crate) use page;
pub(crate) use requests::{body_of, input_of, refused as requests_refused};

/// Loads a page.
pub(crate) async fn load(visit: &Visit, place: &Place, query: &Query) -> Result<Box<dyn Page>, Trouble> {
    Ok(match place {
        Place::Overview => Box::new(overview::load(visit, query).await?),
        Place::Endpoints => Box::new(endpoints::load(visit, query).await?),
        Place::Endpoint { ep, tab } => match tab {
            Tab::Overview => Box::new(endpoint::load(visit, ep, query).await?),
            Tab::Requests => Box::new(requests::load(visit, ep, query).await?),
            Tab::Workers => Box::new(workers::load(visit, ep, query).await?),
            Tab::Logs => Box::new(logs::load(visit, ep, query).await?),
            Tab::Metrics => Box::new(metrics::load(visit, ep, query).await?),
            Tab::Telemetry => Box::new(telemetry::load(visit, ep, query).await?),
            Tab::Releases => Box::new(releases::load(visit, ep, query).await?),
            Tab::Settings => Box::new(settings::load(visit, ep, query, None).await?),
        },
        Place::New => Box::new(new::load(visit, query).await?),
        Place::Release { ep, number } => Box::new(release::load(visit, ep, *number, query).await?),
        Place::Catalogue => Box::new(catalogue::load(visit, query).await?),
        Place::Entry(name) => Box::new(catalogue::entry(visit, name, query, None).await?),
        Place::Git => Box::new(git::load(visit, query, None).await?),
        Place::Jobs => Box::new(jobs::load(visit, query).await?),
        Place::Job(id) => Box::new(job::load(visit, id, query).await?),
        Place::Keys => Box::new(keys::load(visit, query, None).await?),
        Place::Secrets => Box::new(secrets::load(visit, query).await?),
        Place::Activity => Box::new(activity::load(visit, query).await?),
        Place::Templates => Box::new(templates::load(visit, query).await?),
        Place::Volumes => Box::new(volumes::load(visit, query).await?),
        Place::Registries => Box::new(registries::load(visit, query).await?),
        Place::SshKeys => Box::new(ssh_keys::load(visit, query).await?),
        Place::Members => Box::new(members::load(visit, query, None).await?),
        Place::Usage => Box::new(usage::load(visit, query).await?),
        Place::Disk => Box::new(disk::load(visit, query).await?),
        Place::Server => Box::new(server::load(visit, query, false).await?),
        Place::Search => Box::new(search::load(visit, query).await?),
        Place::Terminal(id) => Box::new(terminal::load(visit, id, query).await?),
    })
}

/// Loads as much of a page as its stream keeps fresh. Charts and lines of logs come by another way than the stream.
pub(crate) async fn look(visit: &Visit, place: &Place, query: &Query) -> Result<Box<dyn Page>, Trouble> {
    match place {
        Place::Endpoint { ep, tab: tab @ (Tab::Metrics | Tab::Telemetry | Tab::Logs) } => {
            Ok(Box::new(endpoint::HeadAlone::load(visit, ep, *tab, query).await?))
        }
        _ => load(visit, place, query).await,
    }
}

/// `GET` of any page.
pub(crate) async fn show(visit: Visit, uri: Uri) -> Response {
    let query = Query::parse(uri.query().unwrap_or_default());
    let loaded = match Place::parse(uri.path()) {
        Ok(place) => load(&visit, &place, &query).await,
        Err(trouble) => Err(trouble),
    };
    let mut response = match loaded {
        Ok(page) => html(StatusCode::OK, page.whole()),
        Err(trouble) => refused(&visit, uri.path(), &trouble),
    };
    if visit.flash.is_some() {
        response.headers_mut().append(header::SET_COOKIE, Flash::told(&visit));
    }
    response
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct Refused<'a> {
    frame: Frame,
    trouble: &'a Trouble,
}

/// What cannot be shown, and why.
pub(crate) fn refused(visit: &Visit, path: &str, trouble: &Trouble) -> Response {
    let mut frame = Frame::new(visit, "", &trouble.title, path, &Query::default());
    frame.stream = None;
    html(trouble.status, Refused { frame, trouble }.render())
}

/// A page as an answer.
pub(crate) fn html(status: StatusCode, rendered: askama::Result<String>) -> Response {
    match rendered {
        Ok(text) => {
            let kind = HeaderValue::from_static("text/html; charset=utf-8");
            (status, [(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "the page could not be rendered; see the server's log")
                .into_response()
        }
    }
}
