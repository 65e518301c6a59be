//! The releases of an endpoint, what differs between two of them, and the way back.

use askama::Template;
use serde::Deserialize;

use crate::call::Trouble;
use crate::frame::Frame;
use crate::pages::endpoint::{self, Head};
use crate::pages::page;
use crate::place::{Query, Tab};
use crate::session::Visit;
use crate::views::{Change, Release};

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the name is the API's")]
struct Diff {
    from: Option<u32>,
    to: u32,
    diff: Vec<Change>,
    files: Option<Files>,
}

/// Files that differ.
#[derive(Deserialize)]
struct Files {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
}

impl Diff {
    fn has_no_files(&self) -> bool {
        self.files.as_ref().is_none_or(|files| files.groups().iter().all(|(_, names)| names.is_empty()))
    }
}

impl Files {
    fn groups(&self) -> [(&'static str, &[String]); 3] {
        [("Files added", &self.added), ("Files changed", &self.changed), ("Files removed", &self.removed)]
    }
}

#[derive(Template)]
#[template(path = "releases.html", blocks = ["head", "live"])]
#[expect(clippy::struct_field_names, reason = "the list has the name of its page")]
pub(crate) struct Releases {
    head: Head,
    frame: Frame,
    releases: Vec<Release>,
    diff: Option<Diff>,
}

page!(Releases: "head" = as_head, "live" = as_live);

/// Loads it.
pub(crate) async fn load(visit: &Visit, ep: &str, query: &Query) -> Result<Releases, Trouble> {
    let (head, mut frame) = Head::load(visit, ep, Tab::Releases, query).await?;
    let name = &head.endpoint.name;
    frame.same.cli = vec![
        format!("runyard releases {name}"),
        format!("runyard diff {name}"),
        format!("runyard rollback {name}"),
    ];
    frame.same.api = vec![
        format!("GET /api/v1/endpoints/{name}/releases"),
        format!("GET /api/v1/endpoints/{name}/diff?from=&to="),
        format!("POST /api/v1/endpoints/{name}/rollback {{\"to\": N}}"),
    ];
    let endpoint::Releases { mut releases } =
        visit.get(&format!("/api/v1/endpoints/{name}/releases")).await?;
    releases.sort_by_key(|release| std::cmp::Reverse(release.number));
    let number = |key: &str| query.get(key).and_then(|text| text.parse::<u32>().ok());
    let to = number("to")
        .or_else(|| releases.first().filter(|_| releases.len() > 1).map(|release| release.number));
    let diff = match to {
        Some(to) => {
            let from = number("from").map_or_else(String::new, |from| format!("&from={from}"));
            Some(visit.get::<Diff>(&format!("/api/v1/endpoints/{name}/diff?to={to}{from}")).await?)
        }
        None => None,
    };
    Ok(Releases { head, frame, releases, diff })
}
