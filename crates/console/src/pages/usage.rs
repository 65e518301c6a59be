//! What was used, as the API counts it.

use askama::Template;
use serde_json::Value;

use crate::call::{Trouble, encoded};
use crate::frame::Frame;
use crate::pages::page;
use crate::place::Query;
use crate::session::Visit;

/// A bucket, and how many of them are looked back at.
const SPANS: [(&str, u32, &str); 3] =
    [("hour", 24, "last day"), ("day", 30, "last 30 days"), ("month", 12, "last year")];

/// What it was used for: the figure's name and what people call it.
const FIGURES: [(&str, &str); 5] = [
    ("serverlessGpuAmount", "GPUs of endpoints"),
    ("serverlessCpuAmount", "Processors of endpoints"),
    ("serverlessDiskAmount", "Disks of endpoints"),
    ("storageStandardAmount", "Volumes"),
    ("totalAmount", "All of it"),
];

#[derive(Template)]
#[template(path = "usage.html")]
pub(crate) struct Usage {
    frame: Frame,
    spans: [(&'static str, u32, &'static str); 3],
    bucket: &'static str,
    figures: Vec<(&'static str, String)>,
    /// Each bucket that has something: when it began, and its whole.
    records: Vec<(String, String)>,
}

page!(Usage: );

/// Loads it.
pub(crate) async fn load(visit: &Visit, query: &Query) -> Result<Usage, Trouble> {
    let mut frame = Frame::new(visit, "/usage", "Usage", "/usage", query);
    frame.stream = None;
    let asked = query.get("bucket").unwrap_or("day");
    let (bucket, last, _) = SPANS.into_iter().find(|span| span.0 == asked).unwrap_or(SPANS[1]);
    frame.same.cli = vec![format!("runyard billing --bucket {bucket} --last {last}")];
    let path = format!("/api/v1/billing?bucketSize={}&lastN={last}", encoded(bucket));
    frame.same.api = vec![format!("GET {path}")];
    let answer: Value = visit.get(&path).await?;
    let amount = |of: &Value, name: &str| format!("{:.2}", of[name].as_f64().unwrap_or_default());
    let totals = &answer["metadata"]["totals"];
    let records = answer["records"].as_array().into_iter().flatten();
    Ok(Usage {
        frame,
        spans: SPANS,
        bucket,
        figures: FIGURES.iter().map(|(name, said)| (*said, amount(totals, name))).collect(),
        records: records
            .map(|record| {
                let began = record["time"].as_str().or(record["startTime"].as_str()).unwrap_or_default();
                (began.to_owned(), amount(record, "totalAmount"))
            })
            .collect(),
    })
}
