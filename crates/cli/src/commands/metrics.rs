//! `runyard metrics [ENDPOINT]`: series over a range, beside the range before.

mod each;

use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use crate::client::{Client, path};
use crate::commands::jobs::since;
use crate::commands::workers;
use crate::context::Context;
use crate::output::{Table, json, time};

/// How many columns a chart has at most.
const CHART: usize = 40;

/// The marks of a chart, from the least to the most.
const MARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Show jobs, delays, starts, workers and GPUs over time
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard metrics t2i --since 1h
  runyard metrics t2i --since 7d --series jobs_completed,jobs_failed,delay
  runyard metrics --gpu 0                       a GPU: use, memory, power, temperature
  runyard metrics --each endpoint --series jobs_submitted,jobs_failed
  runyard metrics t2i --each worker             its workers: processors and memory of each
  runyard metrics                               the server: how its writer, memory and disk do
  runyard metrics t2i --json | jq '.series[] | {name, whole}'

What each series says: docs/metrics.md. Prometheus reads the same from /metrics.")]
pub struct Metrics {
    /// Of this endpoint; of the server where none is named
    #[arg(value_name = "ENDPOINT", conflicts_with_all = ["worker", "gpu"])]
    endpoint: Option<String>,
    /// Of this worker, by its id or the beginning of it
    #[arg(long, value_name = "WORKER", conflicts_with = "gpu")]
    worker: Option<String>,
    /// Of this GPU
    #[arg(long, value_name = "INDEX")]
    gpu: Option<u32>,
    /// Over the last 15m, 6h, 7d, 30d
    #[arg(long, value_name = "DURATION", value_parser = time::duration, default_value = "1h")]
    since: Duration,
    /// In steps of 10s, 1m, 1h; else as long as reads well
    #[arg(long, value_name = "DURATION", value_parser = time::whole_seconds)]
    step: Option<u32>,
    /// Only these, with commas between them
    #[arg(long, value_name = "NAMES")]
    series: Option<String>,
    /// The same of many at once: of every endpoint (or of the one that is named), of its workers, or of GPUs
    #[arg(long, value_enum, conflicts_with_all = ["worker", "gpu"])]
    each: Option<each::Of>,
    /// Those that are all zero, too
    #[arg(long)]
    all: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    since: i64,
    until: i64,
    step_seconds: i64,
    series: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    name: String,
    kind: String,
    unit: String,
    whole: Value,
    before: Option<Value>,
    #[serde(default)]
    count: Vec<Option<f64>>,
    #[serde(default)]
    average: Vec<Option<f64>>,
    #[serde(default)]
    p90: Vec<Option<f64>>,
}

impl Metrics {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        if let Some(of) = self.each {
            return self.show_each(of, context, &client).await;
        }
        let worker = match &self.worker {
            Some(worker) => Some(workers::resolve(&client, worker).await?),
            None => None,
        };
        let query = [
            ("endpoint", self.endpoint),
            ("worker", worker),
            ("gpu", self.gpu.map(|gpu| gpu.to_string())),
            ("series", self.series.clone()),
            ("since", since(Some(self.since), time::now_ms())),
            ("step", self.step.map(|step| step.to_string())),
        ];
        let reply = client.get(path::query(&path::api(&["metrics"]), &query)).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let answer: Answer = reply.parse()?;
        let shows_all = self.all || self.series.is_some();
        let shown: Vec<&Series> = answer.series.iter().filter(|s| shows_all || s.is_something()).collect();
        context.ui.note(&format!(
            "{} to {}, a step is {}",
            time::date(answer.since),
            time::date(answer.until),
            time::exact(answer.step_seconds * 1_000)
        ));
        if shown.is_empty() {
            context.ui.note("nothing happened; '--all' shows every series");
            return Ok(());
        }
        context.ui.table(&table(&shown))
    }
}

impl Metrics {
    /// Shows the series of many.
    async fn show_each(self, of: each::Of, context: &Context, client: &Client) -> anyhow::Result<()> {
        let query = [
            ("of", Some(of.word().to_owned())),
            ("endpoint", self.endpoint),
            ("series", self.series.clone()),
            ("since", since(Some(self.since), time::now_ms())),
            ("step", self.step.map(|step| step.to_string())),
        ];
        let path = path::query(&path::api(&["metrics", "each"]), &query);
        let reply = client.all(path, "each").await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let table = each::table(&reply.parse()?, self.all || self.series.is_some());
        context.ui.table(&table)
    }
}

fn table(shown: &[&Series]) -> Table {
    let mut table = Table::new(&["SERIES", "RANGE", "BEFORE", "CHART"]);
    for series in shown {
        let before = series.before.as_ref().map_or_else(unknown, |before| series.words(before));
        table.row(vec![
            series.name.as_str().into(),
            series.words(&series.whole).into(),
            before.into(),
            chart(series.points()).into(),
        ]);
    }
    table
}

fn unknown() -> String {
    "–".to_owned()
}

impl Series {
    /// Whether there is anything but zero, in the range or before it.
    fn is_something(&self) -> bool {
        let any = |whole: &Value| {
            let values = ["count", "max"].map(|name| whole[name].as_f64().unwrap_or(0.0));
            values.iter().any(|value| *value > 0.0)
        };
        any(&self.whole) || self.before.as_ref().is_some_and(any)
    }

    /// What a chart shows.
    fn points(&self) -> &[Option<f64>] {
        match self.kind.as_str() {
            "histogram" => &self.p90,
            "gauge" => &self.average,
            _ => &self.count,
        }
    }

    /// The series over a whole range, in words.
    fn words(&self, whole: &Value) -> String {
        let of = |name: &str| whole[name].as_f64().map_or_else(unknown, |value| amount(value, &self.unit));
        match self.kind.as_str() {
            "histogram" if whole["count"].as_f64().unwrap_or(0.0) == 0.0 => "0".to_owned(),
            "histogram" => format!(
                "{} · p50 {} · p90 {} · max {}",
                amount(whole["count"].as_f64().unwrap_or(0.0), ""),
                of("p50"),
                of("p90"),
                of("max")
            ),
            "gauge" if whole["max"].is_null() => unknown(),
            "gauge" => format!("{} · max {}", of("average"), of("max")),
            _ => of("count"),
        }
    }
}

/// An amount in its unit, short.
fn amount(value: f64, unit: &str) -> String {
    match unit {
        "seconds" => time::span(Some((value * 1_000.0).round() as i64)),
        "bytes" => json::bytes(value.max(0.0) as usize),
        "ratio" => format!("{:.0} %", value * 100.0),
        "cores" => format!("{value:.2}"),
        "watts" => format!("{value:.0} W"),
        "celsius" => format!("{value:.0} °C"),
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}

/// Points as a row of marks, the most of them as high as it gets; where nobody looked is a dot.
fn chart(points: &[Option<f64>]) -> String {
    let per_mark = points.len().div_ceil(CHART).max(1);
    let most = points.iter().flatten().copied().fold(0.0, f64::max);
    let mark = |part: &[Option<f64>]| {
        let highest = part.iter().flatten().copied().reduce(f64::max);
        highest.map_or('·', |value| {
            let share = if most > 0.0 { (value / most).clamp(0.0, 1.0) } else { 0.0 };
            MARKS[(share * (MARKS.len() - 1) as f64).round() as usize]
        })
    };
    points.chunks(per_mark).map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_are_as_wide_as_they_may_be() {
        assert_eq!(chart(&[Some(0.0), None, Some(1.0), Some(2.0)]), "▁·▅█");
        assert_eq!(chart(&[Some(0.0), Some(0.0)]), "▁▁");
        assert_eq!(chart(&[]), "");
        let long: Vec<Option<f64>> = (0..1_000).map(|n| Some(f64::from(n))).collect();
        assert_eq!(chart(&long).chars().count(), 40);
    }

    #[test]
    fn amounts_have_their_units() {
        let cases = [(0.25, "ratio", "25 %"), (1.5, "seconds", "1.5s"), (3.0, "", "3"), (0.5, "", "0.5")];
        for (value, unit, said) in cases {
            assert_eq!(amount(value, unit), said);
        }
    }
}
