//! What was counted and measured of one subject in one stretch of time. It is how the store keeps it, too: as JSON,
//! without what is zero.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Histogram, Key};

/// Counts, durations and levels of one subject.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// How often something happened.
    #[serde(rename = "c", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<Key, u64>,
    /// How long something took.
    #[serde(rename = "t", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub times: BTreeMap<Key, Histogram>,
    /// How much there was of something.
    #[serde(rename = "l", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub levels: BTreeMap<Key, Level>,
}

/// How much there was of something over a stretch of time, in the unit of its series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "(f64, f64, f64, f64)", into = "(f64, f64, f64, f64)")]
pub struct Level {
    /// Seconds over which it was seen.
    pub seconds: f64,
    /// Its value times the seconds that it had it.
    pub area: f64,
    /// The most that was seen.
    pub max: f64,
    /// What was seen last.
    pub last: f64,
}

impl From<(f64, f64, f64, f64)> for Level {
    fn from((seconds, area, max, last): (f64, f64, f64, f64)) -> Self {
        Self { seconds, area, max, last }
    }
}

impl From<Level> for (f64, f64, f64, f64) {
    fn from(level: Level) -> Self {
        (round(level.seconds), round(level.area), round(level.max), round(level.last))
    }
}

/// Three places behind the point: what is kept is read by people.
fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

impl Level {
    /// A value that was seen once and stands for so many seconds.
    pub fn seen(value: f64, seconds: f64) -> Self {
        Self { seconds, area: value * seconds, max: value, last: value }
    }

    /// Adds what was seen later.
    pub fn merge(&mut self, later: &Self) {
        self.seconds += later.seconds;
        self.area += later.area;
        self.max = self.max.max(later.max);
        self.last = later.last;
    }
}

impl Interval {
    /// Counts something.
    pub fn count(&mut self, key: Key, more: u64) {
        if more > 0 {
            *self.counts.entry(key).or_default() += more;
        }
    }

    /// Notes how long something took.
    pub fn time_ms(&mut self, key: Key, ms: i64) {
        self.times.entry(key).or_default().note_ms(ms);
    }

    /// Notes how much there is of something, for so many seconds. What is no number is left out.
    pub fn level(&mut self, key: Key, value: f64, seconds: f64) {
        if value.is_finite() {
            let seen = Level::seen(value, seconds);
            self.levels.entry(key).and_modify(|level| level.merge(&seen)).or_insert(seen);
        }
    }

    /// Adds what came later.
    pub fn merge(&mut self, later: &Self) {
        for (key, more) in &later.counts {
            self.count(*key, *more);
        }
        for (key, times) in &later.times {
            self.times.entry(*key).or_default().merge(times);
        }
        for (key, level) in &later.levels {
            self.levels.entry(*key).and_modify(|known| known.merge(level)).or_insert(*level);
        }
    }

    /// What rises for ever of it: counts and durations.
    #[must_use]
    pub fn rising(&self) -> Self {
        Self { counts: self.counts.clone(), times: self.times.clone(), levels: BTreeMap::new() }
    }

    /// Whether nothing was counted and nothing measured.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.times.is_empty() && self.levels.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back_and_what_is_unknown_passed_over() {
        let mut interval = Interval::default();
        interval.count(Key::JobsCompleted, 3);
        interval.time_ms(Key::Delay, 20);
        interval.level(Key::QueueWaiting, 2.0, 10.0);
        interval.level(Key::QueueWaiting, 5.0, 10.0);
        interval.level(Key::QueueOldest, f64::NAN, 10.0);
        let text = serde_json::to_string(&interval).unwrap_or_default();
        assert!(text.contains(r#""queue_waiting":[20.0,70.0,5.0,5.0]"#), "{text}");
        assert_eq!(serde_json::from_str::<Interval>(&text).ok(), Some(interval));
        let later = r#"{"c":{"jobs_completed":1,"dreams":2}}"#;
        let read: Interval = serde_json::from_str(later).unwrap_or_default();
        assert_eq!(read.counts.get(&Key::JobsCompleted), Some(&1));
    }
}
