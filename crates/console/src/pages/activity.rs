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
struct List {
    records: Vec<Audit>,
    next: Option<u64>,
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
    for key in ["endpoint", "before"] {
        if let Some(value) = query.get(key) {
            path.push_str(&format!("&{key}={}", encoded(value)));
        }
    }
    frame.same.cli = vec!["runyard audit".into()];
    frame.same.api = vec![format!("GET {path}")];
    let List { records, next } = visit.get(&path).await?;
    Ok(Activity {
        older: next.map(|next| format!("/activity?{}", query.with("before", &next.to_string()))),
        endpoint: query.get("endpoint").unwrap_or_default().to_owned(),
        frame,
        records,
    })
}
