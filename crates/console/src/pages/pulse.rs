//! How it went lately: jobs and failures as small bars, from the series that `runyard metrics --each endpoint` shows.

use std::collections::HashMap;

use serde::Deserialize;

use crate::call::{Trouble, encoded};
use crate::draw;
use crate::series::{Each, One, named};
use crate::session::Visit;
use crate::views::Job;

/// A page of the list of jobs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Jobs {
    pub(crate) jobs: Vec<Job>,
    pub(crate) next_cursor: Option<String>,
}

/// How far back bars go, and how long each is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Back {
    /// Half an hour in minutes.
    HalfHour,
    /// A day in half hours.
    Day,
}

/// The most endpoints that are added up.
const MOST: usize = 1_000;

const SERIES: &str = "jobs_submitted,jobs_failed,jobs_timed_out";

impl Back {
    fn step_s(self) -> i64 {
        match self {
            Self::HalfHour => 60,
            Self::Day => 1_800,
        }
    }

    fn steps(self) -> usize {
        match self {
            Self::HalfHour => 30,
            Self::Day => 48,
        }
    }

    /// As the API takes it. Whole steps: bars move once a step and not with every look.
    pub(crate) fn query(self, now: i64) -> String {
        let step = self.step_s() * 1_000;
        let since = (now.div_euclid(step) + 1 - self.steps() as i64) * step;
        format!("since={since}&step={}", self.step_s())
    }

    /// What the bars stand for, in words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::HalfHour => "last 30 min",
            Self::Day => "last 24 h",
        }
    }
}

/// Counts by step, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Series {
    back: Back,
    submitted: Vec<u32>,
    failed: Vec<u32>,
}

impl Series {
    fn none(back: Back) -> Self {
        Self { back, submitted: vec![0; back.steps()], failed: vec![0; back.steps()] }
    }

    fn add(&mut self, one: &One) {
        let both = [("jobs_submitted", &mut self.submitted), ("jobs_failed", &mut self.failed)];
        for (name, into) in both {
            add(into, one, name);
        }
        add(&mut self.failed, one, "jobs_timed_out");
    }

    pub(crate) fn jobs(&self) -> u32 {
        self.submitted.iter().sum()
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failed.iter().sum()
    }

    pub(crate) fn bars(&self) -> String {
        draw::bars(&self.submitted, "", &format!("{} jobs, {}", self.jobs(), self.back.words()))
    }

    pub(crate) fn failed_bars(&self) -> String {
        draw::bars(&self.failed, "bad", &format!("{} failed, {}", self.failures(), self.back.words()))
    }
}

fn add(into: &mut [u32], one: &One, name: &str) {
    let Some(series) = named(&one.series, name) else { return };
    for (sum, count) in into.iter_mut().zip(series.counts()) {
        *sum = sum.saturating_add(count);
    }
}

/// The series of all endpoints that are seen, and of each by its name.
pub(crate) struct Pulse {
    pub(crate) all: Series,
    back: Back,
    by_endpoint: HashMap<String, Series>,
}

impl Pulse {
    /// Of all endpoints.
    pub(crate) async fn load(visit: &Visit, back: Back) -> Result<Self, Trouble> {
        let now = visit.console.inner.engine.now().0;
        let path = format!("/api/v1/metrics/each?series={SERIES}&{}&limit={MOST}", back.query(now));
        Ok(Self::gathered(back, visit.get::<Each>(&path).await?.each))
    }

    /// Of these endpoints.
    pub(crate) async fn of(visit: &Visit, back: Back, names: &[&str]) -> Result<Self, Trouble> {
        let now = visit.console.inner.engine.now().0;
        let mut each = Vec::with_capacity(names.len());
        for name in names {
            let of = format!("endpoint={}&limit=1", encoded(name));
            let path = format!("/api/v1/metrics/each?series={SERIES}&{}&{of}", back.query(now));
            each.extend(visit.get::<Each>(&path).await?.each);
        }
        Ok(Self::gathered(back, each))
    }

    fn gathered(back: Back, each: Vec<One>) -> Self {
        let mut pulse = Self { all: Series::none(back), back, by_endpoint: HashMap::new() };
        for one in each {
            pulse.all.add(&one);
            let own = pulse.by_endpoint.entry(one.endpoint_name.clone().unwrap_or_default());
            own.or_insert_with(|| Series::none(back)).add(&one);
        }
        pulse
    }

    pub(crate) fn endpoint(&self, name: &str) -> Series {
        self.by_endpoint.get(name).cloned().unwrap_or_else(|| Series::none(self.back))
    }

    pub(crate) fn span(&self) -> &'static str {
        self.back.words()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_of_endpoints_add_up() {
        let each = json!([
            {"endpointName": "a", "series": [
                {"name": "jobs_submitted", "whole": {"count": 3}, "count": [1, 2]},
                {"name": "jobs_failed", "whole": {"count": 1}, "count": [0, 1]},
            ]},
            {"endpointName": "b", "series": [
                {"name": "jobs_submitted", "whole": {"count": 5}, "count": [5]},
                {"name": "jobs_timed_out", "whole": {"count": 2}, "count": [2]},
            ]},
        ]);
        let pulse = Pulse::gathered(Back::HalfHour, serde_json::from_value(each).expect("series"));
        assert_eq!((pulse.all.jobs(), pulse.all.failures()), (8, 3));
        assert_eq!((pulse.endpoint("a").jobs(), pulse.endpoint("none").jobs()), (3, 0));
        assert_eq!(pulse.all.submitted[..3], [6, 2, 0]);
    }

    #[test]
    fn bars_stand_on_whole_steps() {
        let query = |now| Back::HalfHour.query(now);
        assert_eq!(query(3_600_000), query(3_659_999));
        assert_eq!(query(3_600_000), "since=1860000&step=60");
    }
}
