//! Lists of jobs longer than a worker asked for. Between two jobs the Python SDK's take loop sleeps a second; a
//! list keeps it from that sleep. It also binds jobs to one worker before it can start them, so lists are short
//! in time, only as long as what was measured allows, and only for SDKs that are known to run them.
//!
//! Versions (`RunPod-Python-SDK` on the wire, measured): below 1.7.1 a list is lost, from 2.0 on one that is
//! longer than asked hangs the worker. From 1.7.1 to below 2.0 its items run one after the other.

use serde::{Deserialize, Serialize};

/// Whether an endpoint's workers may get lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prefetch {
    /// Where jobs are short, many wait, and the worker's SDK is known to run lists.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// The most jobs in one list.
pub const LONGEST: usize = 500;

/// How much work a list may hold, in milliseconds of what jobs of its release were measured to take.
const BUDGET_MS: f64 = 1_000.0;

/// A list may be so many times longer than the number of jobs that were measured one after the other.
const GROWTH: u32 = 4;

/// After a job that took longer than a whole list should, so many shorter ones come one by one.
const CAUTION: u32 = 32;

/// Whether a worker runs lists longer than it asked for. `agent` is the version in its take's `User-Agent`, which
/// only the Python SDK sends; `ping` is what its pings say, where one came. Whatever is unknown, or no plain
/// release number, is not known to be safe.
pub fn runs_lists(agent: Option<&str>, ping: Option<&str>) -> bool {
    let safe = |version: &str| plain(version).is_some_and(|v| ((1, 7, 1)..(2, 0, 0)).contains(&v));
    agent.is_some_and(safe) && ping.is_none_or(safe)
}

/// `(1, 12, 0)` of `1.12.0` and of `1.12`.
fn plain(version: &str) -> Option<(u32, u32, u32)> {
    let parts: Vec<u32> = version.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    match parts[..] {
        [major, minor] => Some((major, minor, 0)),
        [major, minor, patch] => Some((major, minor, patch)),
        _ => None,
    }
}

/// How long jobs of one release take, and how sure that is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// The release that was measured.
    pub release: u32,
    /// What a job usually takes, in milliseconds; newer ones count more.
    pub usual_ms: f64,
    /// Jobs since the last long one.
    short_ones: u32,
    /// How many of those have to come before there are lists.
    caution: u32,
}

impl Pace {
    /// A release nobody has measured yet.
    pub fn new(release: u32) -> Self {
        Self { release, usual_ms: 0.0, short_ones: 0, caution: 0 }
    }

    /// Takes in a job that ran for so long.
    pub fn note(&mut self, execution_ms: i64) {
        let ms = execution_ms.max(0) as f64;
        if self.usual_ms == 0.0 {
            self.usual_ms = ms;
        }
        self.usual_ms += (ms - self.usual_ms) * 0.2;
        if ms > BUDGET_MS {
            self.short_ones = 0;
            self.caution = CAUTION;
        } else {
            self.short_ones = self.short_ones.saturating_add(1);
        }
    }

    /// How many jobs a worker may get beyond the `asked` ones that it runs at once: as many as fit into the time
    /// of a list, not more than its share of `waiting` among `workers`, and few before many were measured.
    pub fn ahead(&self, asked: usize, waiting: usize, workers: usize) -> usize {
        if self.short_ones <= self.caution {
            return 0;
        }
        let each = (BUDGET_MS / self.usual_ms.max(1.0)) as usize;
        let grown = (self.short_ones - self.caution).saturating_mul(GROWTH) as usize;
        let share = waiting / workers.max(1);
        (each * asked.max(1)).min(grown).min(share).min(LONGEST).saturating_sub(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_known_to_run_lists_get_them() {
        for safe in ["1.7.1", "1.7.12", "1.8.0", "1.10", "1.12.0", "1.99.9"] {
            assert!(runs_lists(Some(safe), None), "{safe}");
            assert!(runs_lists(Some(safe), Some("1.12.0")), "{safe}");
        }
        for unsafe_one in [
            "1.7.0",
            "1.6.2",
            "0.8.0",
            "2.0.0",
            "2.0.0rc2",
            "1.12.0rc1",
            "1.12.0+mine",
            "1.",
            "1",
            "",
            "x",
            "1.7.1.2",
        ] {
            assert!(!runs_lists(Some(unsafe_one), None), "{unsafe_one}");
            assert!(!runs_lists(Some("1.12.0"), Some(unsafe_one)), "{unsafe_one}");
        }
        assert!(
            !runs_lists(None, Some("1.12.0")),
            "a ping alone may be another worker's, such as the Rust one's"
        );
        assert!(!runs_lists(None, None));
    }

    fn measured(times: usize, ms: i64) -> Pace {
        let mut pace = Pace::new(1);
        (0..times).for_each(|_| pace.note(ms));
        pace
    }

    #[test]
    fn without_a_measurement_there_is_no_list() {
        assert_eq!(Pace::new(1).ahead(1, 1_000, 1), 0);
    }

    #[test]
    fn lists_grow_with_what_was_measured_and_fit_into_their_time() {
        assert_eq!(measured(1, 10).ahead(1, 1_000, 1), 3);
        assert_eq!(measured(5, 10).ahead(1, 1_000, 1), 19);
        assert_eq!(measured(500, 10).ahead(1, 1_000, 1), 99);
        assert_eq!(measured(500, 0).ahead(1, 10_000, 1), LONGEST - 1);
        assert_eq!(measured(500, 300).ahead(1, 1_000, 1), 2);
        assert_eq!(measured(500, 600).ahead(1, 1_000, 1), 0);
        assert_eq!(measured(500, 100).ahead(10, 1_000, 1), 90, "ten at once get through ten times as much");
    }

    #[test]
    fn a_list_is_no_more_than_the_workers_share() {
        let pace = measured(500, 10);
        assert_eq!(pace.ahead(1, 30, 3), 9);
        assert_eq!(pace.ahead(1, 2, 3), 0);
        assert_eq!(pace.ahead(4, 12, 2), 2);
    }

    #[test]
    fn after_a_long_job_many_short_ones_come_one_by_one() {
        let mut pace = measured(500, 10);
        pace.note(60_000);
        for _ in 0..CAUTION {
            assert_eq!(pace.ahead(1, 1_000, 1), 0);
            pace.note(10);
        }
        pace.note(10);
        assert!(pace.ahead(1, 1_000, 1) > 0);
    }
}
