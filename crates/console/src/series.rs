//! Series over time, as `/api/v1/metrics` tells them (`docs/metrics.md` says what each means).

use serde::Deserialize;

/// The series of one subject.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metrics {
    /// Where the first step begins, in milliseconds since the epoch.
    pub(crate) since: i64,
    /// Where the last step ends.
    pub(crate) until: i64,
    /// Where each step begins.
    pub(crate) at: Vec<i64>,
    pub(crate) series: Vec<Series>,
}

/// The same series of many.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the name is the API's")]
pub(crate) struct Each {
    pub(crate) at: Vec<i64>,
    pub(crate) since: i64,
    pub(crate) until: i64,
    pub(crate) each: Vec<One>,
    pub(crate) next_cursor: Option<String>,
}

/// One of many.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct One {
    pub(crate) endpoint_name: Option<String>,
    pub(crate) worker: Option<String>,
    pub(crate) gpu: Option<u32>,
    pub(crate) series: Vec<Series>,
}

/// One series: of its lists those that its kind has.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) whole: Whole,
    #[serde(default)]
    pub(crate) before: Option<Whole>,
    #[serde(default)]
    pub(crate) count: Vec<Option<f64>>,
    #[serde(default)]
    pub(crate) average: Vec<Option<f64>>,
    #[serde(default)]
    pub(crate) p50: Vec<Option<f64>>,
    #[serde(default)]
    pub(crate) p70: Vec<Option<f64>>,
    #[serde(default)]
    pub(crate) p90: Vec<Option<f64>>,
    #[serde(default)]
    pub(crate) p98: Vec<Option<f64>>,
    #[serde(default)]
    pub(crate) max: Vec<Option<f64>>,
}

/// A series over the whole of its range.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Whole {
    #[serde(default)]
    pub(crate) count: Option<f64>,
    #[serde(default)]
    pub(crate) average: Option<f64>,
    #[serde(default)]
    pub(crate) p50: Option<f64>,
    #[serde(default)]
    pub(crate) p90: Option<f64>,
    #[serde(default)]
    pub(crate) max: Option<f64>,
}

/// Which numbers of a series a line shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Count,
    Average,
    P50,
    P70,
    P90,
    P98,
    Max,
}

impl Series {
    pub(crate) fn part(&self, part: Part) -> &[Option<f64>] {
        match part {
            Part::Count => &self.count,
            Part::Average => &self.average,
            Part::P50 => &self.p50,
            Part::P70 => &self.p70,
            Part::P90 => &self.p90,
            Part::P98 => &self.p98,
            Part::Max => &self.max,
        }
    }

    /// Counts as whole numbers, for small bars.
    pub(crate) fn counts(&self) -> impl Iterator<Item = u32> {
        self.count.iter().map(|count| count.unwrap_or(0.0) as u32)
    }

    /// The newest value that was seen.
    pub(crate) fn last(&self) -> Option<f64> {
        self.average.iter().rev().copied().find_map(|value| value)
    }
}

/// The series of that name.
pub(crate) fn named<'a>(series: &'a [Series], name: &str) -> Option<&'a Series> {
    series.iter().find(|series| series.name == name)
}

/// Its count over the whole range.
pub(crate) fn count(series: &[Series], name: &str) -> u64 {
    named(series, name).and_then(|series| series.whole.count).unwrap_or(0.0) as u64
}
