//! What the GPUs and the workers of an endpoint did, and its jobs on the same axis of time: which request made the GPU
//! busy, and what the worker held meanwhile.

use askama::Template;

use crate::call::{Trouble, encoded};
use crate::chart::{Chart, Column, Kind, Span, Unit};
use crate::frame::Frame;
use crate::pages::endpoint::Head;
use crate::pages::metrics::{Sheet, marks, sign};
use crate::pages::page;
use crate::pages::pulse::Jobs;
use crate::place::{Query, Tab};
use crate::range::Range;
use crate::series::{Each, Part, named};
use crate::session::Visit;
use crate::show::{self, Tone};
use crate::views::Job;

/// As many workers have a line each.
const WORKERS: usize = 8;

/// As many GPUs.
const GPUS: usize = 16;

/// As many jobs are drawn, the newest.
const JOBS: usize = 200;

/// Colours of lines, one after the other.
const TONES: [&str; 8] = ["accent", "ok", "busy", "warn", "outdated", "starting", "bad", "idle"];

#[derive(Template)]
#[template(path = "telemetry.html", blocks = ["head"])]
pub(crate) struct Telemetry {
    pub(crate) head: Head,
    frame: Frame,
    pub(crate) sheet: Sheet,
    /// Why there is nothing of GPUs.
    gpus: Option<String>,
    /// Whether more workers or jobs are there than are drawn.
    cut: Option<String>,
}

page!(Telemetry: "head" = as_head);

/// Loads it.
pub(crate) async fn load(visit: &Visit, ep: &str, query: &Query) -> Result<Telemetry, Trouble> {
    let (head, mut frame) = Head::load(visit, ep, Tab::Telemetry, query).await?;
    let name = head.endpoint.name.clone();
    let range = Range::of(query, "15m", frame.now);
    let path = |of: &str, limit: usize| {
        format!("/api/v1/metrics/each?of={of}&endpoint={name}&{}&limit={limit}", range.query())
    };
    // GPUs are shown to keys for all endpoints; the rest is there for the others, too.
    let (gpus, refused) = match visit.get::<Each>(&path("gpu", GPUS)).await {
        Ok(each) => (each, None),
        Err(trouble) => (Each::default(), Some(trouble.words())),
    };
    let workers: Each = visit.get(&path("worker", WORKERS)).await?;
    let (since, until) = (workers.since, workers.until);
    // What ran into the range may have been submitted before it.
    let from = since - (until - since);
    let list = format!("/api/v1/jobs?endpoint={name}&since={from}&until={until}&limit={JOBS}");
    let Jobs { jobs, next_cursor } = visit.get(&list).await?;
    let mut charts = vec![spans(&jobs, since, until, frame.now)];
    charts.extend(of_gpus(&gpus));
    charts.extend(of_workers(&workers));
    let (mut charts, empty): (Vec<Chart>, Vec<Chart>) =
        charts.into_iter().partition(|chart| chart.kind == Kind::Spans || chart.is_something());
    sign(&mut charts, &frame.here);
    frame.same.cli = vec![
        format!("runyard metrics {name} --each worker{}", range.flag()),
        format!("runyard metrics {name} --each gpu{}", range.flag()),
        format!("runyard workers stats {name} --watch"),
    ];
    frame.same.api = vec![
        format!("GET {}", path("worker", WORKERS)),
        format!("GET {}", path("gpu", GPUS)),
        format!("GET /api/v1/workers/stats?endpoint={}", encoded(&name)),
    ];
    let cut = match (workers.next_cursor.is_some(), next_cursor.is_some()) {
        (false, false) => None,
        (true, false) => Some(format!("The first {WORKERS} workers are drawn.")),
        (false, true) => Some(format!("The newest {JOBS} jobs are drawn.")),
        (true, true) => Some(format!("The first {WORKERS} workers and the newest {JOBS} jobs are drawn.")),
    };
    let marks = marks(visit, &name, since, until).await?;
    let empty = empty.into_iter().map(|chart| chart.title).collect();
    let sheet = Sheet { range, charts, empty, marks, compare: None };
    Ok(Telemetry { head, frame, sheet, gpus: refused, cut })
}

/// The jobs as bars from start to end.
fn spans(jobs: &[Job], since: i64, until: i64, now: i64) -> Chart {
    let mut chart = Chart::new("jobs", "Requests", Kind::Spans, Unit::Count, &[since, until]);
    chart.spans = jobs.iter().filter_map(|job| span(job, since, until, now)).collect();
    chart.spans.reverse();
    let failed = chart.spans.iter().filter(|span| span.tone == "bad").count();
    chart.says = match chart.spans.len() {
        0 => "No job ran in this range.".to_owned(),
        n => format!("{} ran, {failed} of them failed or timed out.", show::count(n as u64, "job")),
    };
    chart
}

fn span(job: &Job, since: i64, until: i64, now: i64) -> Option<Span> {
    let from = job.started_at?;
    let to = job.ended_at.unwrap_or(now).max(from);
    if to < since || from > until {
        return None;
    }
    let state = show::job_state(&job.status);
    let tone = if state.tone == Tone::Idle { "idle" } else { state.tone.class() };
    Some(Span {
        name: job.id.clone(),
        href: job.href(),
        on: job.worker.clone().unwrap_or_default(),
        from,
        to,
        tone,
        word: state.word,
    })
}

/// A chart with a line for each of many.
fn chart(
    (id, title, unit): (&str, &str, Unit),
    each: &Each,
    series: &str,
    name: impl Fn(usize) -> String,
) -> Chart {
    let mut chart = Chart::new(id, title, Kind::Lines, unit, &each.at);
    let mut most: Option<(f64, usize)> = None;
    for (place, one) in each.each.iter().enumerate() {
        let Some(series) = named(&one.series, series) else { continue };
        if let Some(max) = series.whole.max
            && most.is_none_or(|(found, _)| max > found)
        {
            most = Some((max, place));
        }
        let values = series.part(Part::Average).to_vec();
        let tone = TONES[place % TONES.len()];
        chart.columns.push(Column { name: name(place), tone, line: false, before: false, values });
    }
    chart.says = match most {
        Some((max, place)) => format!("At most {} ({}).", unit.say(max), show::esc(&name(place))),
        None => "Nobody looked in this range.".to_owned(),
    };
    chart
}

fn of_gpus(each: &Each) -> Vec<Chart> {
    let name = |place: usize| format!("GPU {}", each.each[place].gpu.unwrap_or_default());
    [
        (("gpu-use", "GPU use", Unit::Ratio), "device_use", "runyard_gpu_use_ratio"),
        (("gpu-memory", "GPU memory", Unit::Bytes), "device_memory_used", "runyard_gpu_memory_used_bytes"),
        (("gpu-power", "GPU power", Unit::Watts), "device_power", "runyard_gpu_power_watts"),
        (
            ("gpu-temperature", "GPU temperature", Unit::Celsius),
            "device_temperature",
            "runyard_gpu_temperature_celsius",
        ),
    ]
    .into_iter()
    .map(|(about, series, family)| {
        let mut chart = chart(about, each, series, name);
        chart.promql = each
            .each
            .iter()
            .map(|one| format!("{family}{{gpu=\"{}\"}}", one.gpu.unwrap_or_default()))
            .take(1)
            .collect();
        chart
    })
    .collect()
}

fn of_workers(each: &Each) -> Vec<Chart> {
    let name = |place: usize| show::short(each.each[place].worker.as_deref().unwrap_or_default());
    [
        (("cpu", "Processors", Unit::Cores), "worker_cpu", "runyard_worker_cpu_cores"),
        (("memory", "Memory", Unit::Bytes), "worker_memory", "runyard_worker_memory_bytes"),
    ]
    .into_iter()
    .map(|(about, series, family)| {
        let mut chart = chart(about, each, series, name);
        let endpoint = each.each.first().and_then(|one| one.endpoint_name.clone()).unwrap_or_default();
        chart.promql = vec![format!("{family}{{name=\"{endpoint}\"}}")];
        chart
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(status: &str, started: Option<i64>, ended: Option<i64>) -> Job {
        let value = json!({
            "id": "j", "endpoint": "e", "status": status, "submittedAt": 0, "startedAt": started, "endedAt": ended, "attempt": 1,
            "retries": 0, "worker": "w",
        });
        serde_json::from_value(value).expect("a job")
    }

    #[test]
    fn jobs_are_drawn_where_they_ran() {
        let jobs = [
            job("IN_PROGRESS", Some(150), None),
            job("FAILED", Some(90), Some(120)),
            job("COMPLETED", Some(10), Some(20)),
            job("IN_QUEUE", None, None),
        ];
        let chart = spans(&jobs, 100, 200, 180);
        let drawn: Vec<_> = chart.spans.iter().map(|span| (span.from, span.to, span.tone)).collect();
        assert_eq!(drawn, [(90, 120, "bad"), (150, 180, "busy")]);
        assert_eq!(chart.says, "2 jobs ran, 1 of them failed or timed out.");
    }

    #[test]
    fn each_has_a_line_and_the_highest_is_named() {
        let each: Each = serde_json::from_value(json!({"at": [0, 10], "since": 0, "until": 20, "each": [
            {"gpu": 0, "series": [{"name": "device_use", "whole": {"max": 0.2}, "average": [0.1, null]}]},
            {"gpu": 1, "series": [{"name": "device_use", "whole": {"max": 0.9}, "average": [0.5, 0.9]}]},
        ], "nextCursor": null}))
        .expect("series");
        let charts = of_gpus(&each);
        assert_eq!(charts[0].columns.len(), 2);
        assert_eq!(charts[0].says, "At most 90 % (GPU 1).");
        assert!(!charts[1].is_something());
    }
}
