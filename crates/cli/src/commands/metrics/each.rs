//! `runyard metrics --each`: the same series of many at once, a row for each.

use serde::Deserialize;

use super::{Series, chart};
use crate::output::Table;

/// What there are many of.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Of {
    Endpoint,
    Worker,
    Gpu,
}

impl Of {
    /// The API's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Worker => "worker",
            Self::Gpu => "gpu",
        }
    }
}

#[derive(Deserialize)]
pub struct Answer {
    pub each: Vec<One>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct One {
    endpoint_name: Option<String>,
    worker: Option<String>,
    gpu: Option<u32>,
    series: Vec<Series>,
}

impl One {
    fn name(&self) -> String {
        let gpu = self.gpu.map(|gpu| format!("GPU {gpu}"));
        let worker = self.worker.clone();
        worker.or(gpu).or_else(|| self.endpoint_name.clone()).unwrap_or_else(super::unknown)
    }
}

/// A row for each series that is something, or, where `all`, for each.
pub fn table(answer: &Answer, all: bool) -> Table {
    let mut table = Table::new(&["OF", "SERIES", "RANGE", "CHART"]);
    for one in &answer.each {
        for series in one.series.iter().filter(|series| all || series.is_something()) {
            table.row(vec![
                one.name().into(),
                series.name.as_str().into(),
                series.words(&series.whole).into(),
                chart(series.points()).into(),
            ]);
        }
    }
    table
}
