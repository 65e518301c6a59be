//! The audit log: who changed what, from where, and what it was before.

use askama::Template;
use serde::Deserialize;

use crate::call::{Trouble, encoded};
use crate::frame::Frame;
use crate::pages::page;
use crate::place::Query;
use crate::session::Visit;
use crate::views::Audit;

/// Rows of a page.
const ROWS: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    records: Vec<Audit>,
    next_cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "activity.html")]
pub(crate) struct Activity {
    frame: Frame,
    records: Vec<Audit>,
    endpoint: String,
    older: Option<String>,
}

page!(Activity: );

/// Loads it.
pub(crate) async fn load(visit: &Visit, query: &Query) -> Result<Activity, Trouble> {
    let mut frame = Frame::new(visit, "/activity", "Activity", "/activity", query);
    frame.stream = None;
    let mut path = format!("/api/v1/audit?limit={ROWS}");
    for key in ["endpoint", "cursor"] {
        if let Some(value) = query.get(key) {
            path.extend(["&", key, "=", &encoded(value)]);
        }
    }
    frame.same.cli = vec!["runyard audit".into()];
    frame.same.api = vec![format!("GET {path}")];
    let List { records, next_cursor } = visit.get(&path).await?;
    Ok(Activity {
        older: next_cursor.map(|cursor| format!("/activity?{}", query.with("cursor", &cursor))),
        endpoint: query.get("endpoint").unwrap_or_default().to_owned(),
        frame,
        records,
    })
}
