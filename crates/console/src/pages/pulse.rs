//! How the last half hour went, counted from the newest jobs of the list that `runyard jobs` shows.

use std::collections::HashMap;

use crate::call::Trouble;
use crate::draw;
use crate::session::Visit;
use crate::views::Job;

/// How far back, in minutes, each of which is a bar.
const MINUTES: i64 = 30;

/// As many jobs as a list may have.
const MOST: usize = 1000;

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Jobs {
    pub(crate) jobs: Vec<Job>,
    pub(crate) next_cursor: Option<String>,
}

/// Counts by minute, oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series {
    pub(crate) submitted: Vec<u32>,
    pub(crate) failed: Vec<u32>,
}

impl Series {
    pub(crate) fn jobs(&self) -> u32 {
        self.submitted.iter().sum()
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failed.iter().sum()
    }

    pub(crate) fn bars(&self) -> String {
        draw::bars(&self.submitted, "", &format!("{} jobs in the last {MINUTES} minutes", self.jobs()))
    }

    pub(crate) fn failed_bars(&self) -> String {
        draw::bars(&self.failed, "bad", &format!("{} failed in the last {MINUTES} minutes", self.failures()))
    }
}

/// The series of all endpoints that are seen, and of each by its name.
pub(crate) struct Pulse {
    pub(crate) all: Series,
    pub(crate) by_endpoint: HashMap<String, Series>,
    /// Whether there were more jobs than are counted.
    pub(crate) cut: bool,
}

impl Pulse {
    pub(crate) async fn load(visit: &Visit, endpoint: Option<&str>) -> Result<Self, Trouble> {
        let now = visit.console.inner.engine.now().0;
        // Whole minutes: bars move once a minute and not with every look.
        let since = (now / 60_000 - MINUTES + 1) * 60_000;
        let of = endpoint.map_or_else(String::new, |ep| format!("&endpoint={ep}"));
        let list: Jobs = visit.get(&format!("/api/v1/jobs?since={since}&limit={MOST}{of}")).await?;
        Ok(Self::of(&list.jobs, since))
    }

    fn of(jobs: &[Job], since: i64) -> Self {
        let fresh = || Series { submitted: vec![0; MINUTES as usize], failed: vec![0; MINUTES as usize] };
        let mut pulse = Self { all: fresh(), by_endpoint: HashMap::new(), cut: jobs.len() >= MOST };
        let slot = |at: i64| ((at - since) / 60_000).clamp(0, MINUTES - 1) as usize;
        for job in jobs.iter().filter(|job| !job.test) {
            let own = pulse.by_endpoint.entry(job.endpoint().to_owned()).or_insert_with(fresh);
            let is_bad = matches!(job.status.as_str(), "FAILED" | "TIMED_OUT");
            for series in [&mut pulse.all, own] {
                series.submitted[slot(job.submitted_at)] += 1;
                if is_bad {
                    series.failed[slot(job.ended_at.unwrap_or(job.submitted_at))] += 1;
                }
            }
        }
        pulse
    }

    pub(crate) fn endpoint(&self, name: &str) -> Series {
        let none = || Series { submitted: vec![0; MINUTES as usize], failed: vec![0; MINUTES as usize] };
        self.by_endpoint.get(name).cloned().unwrap_or_else(none)
    }

    /// What the bars stand for, in words.
    pub(crate) fn span(&self) -> String {
        if self.cut { format!("the newest {MOST} jobs") } else { format!("last {MINUTES} min") }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(endpoint: &str, status: &str, at: i64) -> Job {
        let value = json!({
            "id": "j", "endpointName": endpoint, "status": status, "submittedAt": at, "attempt": 1, "retries": 0,
        });
        serde_json::from_value(value).expect("a job")
    }

    #[test]
    fn jobs_are_counted_in_their_minute() {
        let jobs =
            [job("a", "COMPLETED", 60_000), job("a", "FAILED", 119_999), job("b", "IN_QUEUE", 120_000)];
        let pulse = Pulse::of(&jobs, 60_000);
        assert_eq!((pulse.all.submitted[0], pulse.all.submitted[1], pulse.all.failures()), (2, 1, 1));
        assert_eq!((pulse.endpoint("a").jobs(), pulse.endpoint("none").jobs()), (2, 0));
        assert!(!pulse.cut);
    }
}
