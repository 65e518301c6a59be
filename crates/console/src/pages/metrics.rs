//! How an endpoint does over time: requests, queue, delays, starts, workers, GPUs. A sentence, a chart and a table for
//! each, all of the series that `runyard metrics` shows.

mod charts;
mod words;

use askama::Template;

use crate::call::{Trouble, encoded};
use crate::chart::Chart;
use crate::frame::Frame;
use crate::pages::endpoint::{Head, Releases};
use crate::pages::page;
use crate::place::{Query, Tab};
use crate::range::Range;
use crate::series;
use crate::session::Visit;
use words::Told;

/// A release that was made in the range.
pub(crate) struct Mark {
    pub(crate) number: u32,
    pub(crate) at: i64,
}

/// What the tabs with charts have in common.
pub(crate) struct Sheet {
    pub(crate) range: Range,
    pub(crate) charts: Vec<Chart>,
    /// Titles of charts that have nothing to show.
    pub(crate) empty: Vec<String>,
    pub(crate) marks: Vec<Mark>,
    /// Whether the time before is drawn, too; none where it is not offered.
    pub(crate) compare: Option<bool>,
}

impl Sheet {
    #[expect(clippy::unused_self, reason = "templates ask the page")]
    pub(crate) fn offers(&self) -> [(&'static str, &'static str); 6] {
        Range::offers()
    }

    pub(crate) fn nothing(&self) -> String {
        self.empty.join(", ")
    }

    /// The address of another range.
    pub(crate) fn link(&self, word: &&str) -> String {
        let compare = if self.compare == Some(true) { "&compare=1" } else { "" };
        format!("?range={word}{compare}")
    }
}

#[derive(Template)]
#[template(path = "metrics.html", blocks = ["head"])]
pub(crate) struct Metrics {
    pub(crate) head: Head,
    frame: Frame,
    pub(crate) sheet: Sheet,
}

page!(Metrics: "head" = as_head);

/// Loads it.
pub(crate) async fn load(visit: &Visit, ep: &str, query: &Query) -> Result<Metrics, Trouble> {
    let (head, mut frame) = Head::load(visit, ep, Tab::Metrics, query).await?;
    let name = head.endpoint.name.clone();
    let range = Range::of(query, "1h", frame.now);
    let path = |range: &Range| format!("/api/v1/metrics?endpoint={name}&{}", range.query());
    let now: series::Metrics = visit.get(&path(&range)).await?;
    let compare = query.get("compare").is_some();
    // Where nothing is kept of the time before, nothing is drawn of it.
    let earlier: Option<series::Metrics> =
        if compare { visit.get(&path(&range.earlier())).await.ok() } else { None };
    let list = |by: &str| {
        format!(
            "/jobs?endpoint={name}&amp;{by}since={}&amp;{by}until={}&amp;tests=false",
            now.since, now.until
        )
    };
    let (submitted, ended) = (list(""), list("ended_"));
    let told = Told { series: &now.series, before: range.before, submitted: &submitted, ended: &ended };
    let (mut charts, empty) = charts::charts(&name, &now, earlier.as_ref(), &told);
    sign(&mut charts, &frame.here);
    frame.same.cli = vec![
        format!("runyard metrics {name}{}", range.flag()),
        format!("runyard jobs {name} --since {} --until {} --no-tests", iso(now.since), iso(now.until)),
        format!(
            "runyard jobs {name} --ended-since {} --ended-until {} --no-tests",
            iso(now.since),
            iso(now.until)
        ),
    ];
    frame.same.api = vec![format!("GET {}", path(&range))];
    let marks = marks(visit, &name, now.since, now.until).await?;
    Ok(Metrics { head, frame, sheet: Sheet { range, charts, empty, marks, compare: Some(compare) } })
}

fn iso(at: i64) -> String {
    crate::show::iso(at)
}

/// Where each chart is as a file.
pub(crate) fn sign(charts: &mut [Chart], here: &str) {
    for chart in charts {
        chart.csv = format!("/ui/chart.csv?page={}&chart={}", encoded(here), chart.id);
    }
}

/// The releases that were made in a range.
pub(crate) async fn marks(visit: &Visit, name: &str, since: i64, until: i64) -> Result<Vec<Mark>, Trouble> {
    let Releases { releases } = visit.get(&format!("/api/v1/endpoints/{name}/releases?limit=100")).await?;
    let inside = releases.into_iter().filter(|release| (since..until).contains(&release.created_at));
    let mut marks: Vec<Mark> = inside.map(|r| Mark { number: r.number, at: r.created_at }).collect();
    marks.reverse();
    Ok(marks)
}
