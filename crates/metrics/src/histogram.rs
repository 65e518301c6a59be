//! Durations by size: how many fell into which bucket, their sum and the longest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Upper bounds of the buckets, in microseconds, inclusive. One more bucket holds what is longer.
pub const BOUNDS_US: [u64; 22] = [
    250,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    20_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
];

/// Durations by size. Merging two is exact; a quantile is as exact as its bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// How many fell into which bucket; empty ones are left out.
    #[serde(rename = "b")]
    buckets: BTreeMap<u8, u64>,
    /// Microseconds in all.
    #[serde(rename = "s")]
    sum_us: u64,
    /// The longest, in microseconds.
    #[serde(rename = "m")]
    max_us: u64,
}

/// The bucket of a duration, by its place.
pub fn bucket_of(us: u64) -> usize {
    BOUNDS_US.partition_point(|bound| *bound < us)
}

impl Histogram {
    /// Adds a duration.
    pub fn note_us(&mut self, us: u64) {
        *self.buckets.entry(bucket_of(us) as u8).or_default() += 1;
        self.sum_us = self.sum_us.saturating_add(us);
        self.max_us = self.max_us.max(us);
    }

    /// Adds a duration; one that is negative counts as none.
    pub fn note_ms(&mut self, ms: i64) {
        self.note_us(u64::try_from(ms).unwrap_or(0).saturating_mul(1_000));
    }

    /// From counts of each bucket, the sum and the longest.
    pub fn of(counts: &[u64], sum_us: u64, max_us: u64) -> Self {
        let filled = (0u8..).zip(counts).filter(|(_, count)| **count > 0);
        Self { buckets: filled.map(|(place, count)| (place, *count)).collect(), sum_us, max_us }
    }

    /// Adds another's durations.
    pub fn merge(&mut self, other: &Self) {
        for (place, count) in &other.buckets {
            *self.buckets.entry(*place).or_default() += count;
        }
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        self.max_us = self.max_us.max(other.max_us);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.values().sum()
    }

    /// Seconds in all.
    pub fn sum(&self) -> f64 {
        seconds(self.sum_us)
    }

    /// The longest, in seconds.
    pub fn max(&self) -> f64 {
        seconds(self.max_us)
    }

    /// How many are not longer than each bound, and in the end how many there are.
    pub fn cumulated(&self) -> Vec<u64> {
        let mut sum = 0;
        let of = |place: usize| self.buckets.get(&(place as u8)).copied().unwrap_or(0);
        let add = |place| {
            sum += of(place);
            sum
        };
        (0..=BOUNDS_US.len()).map(add).collect()
    }

    /// The duration in seconds that this share of all does not exceed, from 0 to 1: estimated between the bounds of
    /// its bucket. `None` where there is none.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let count = self.count();
        let rank = (share.clamp(0.0, 1.0) * count as f64).max(1.0);
        let mut before = 0;
        for (place, here) in &self.buckets {
            let upto = before + here;
            if upto as f64 >= rank {
                let place = usize::from(*place);
                let low = if place == 0 { 0 } else { BOUNDS_US[place - 1] };
                let high = BOUNDS_US.get(place).copied().unwrap_or(self.max_us).min(self.max_us);
                let part = (rank - before as f64) / *here as f64;
                let us = low as f64 + (high.saturating_sub(low)) as f64 * part;
                return Some(us / 1e6);
            }
            before = upto;
        }
        None
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        assert_eq!([0, 250, 251, 3_600_000_000, 3_600_000_001].map(bucket_of), [0, 0, 1, 21, 22]);
    }

    #[test]
    fn merged_is_the_same_as_counted_together() {
        let (mut one, mut other, mut both) =
            (Histogram::default(), Histogram::default(), Histogram::default());
        for ms in [0, 3, 70, 70, 4_000_000] {
            one.note_ms(ms);
            both.note_ms(ms);
        }
        other.note_ms(900);
        both.note_ms(900);
        one.merge(&other);
        assert_eq!(one, both);
        assert_eq!((one.count(), one.cumulated().last().copied()), (6, Some(6)));
        let text = serde_json::to_string(&both).unwrap_or_default();
        assert_eq!(serde_json::from_str::<Histogram>(&text).ok(), Some(both));
    }

    #[test]
    fn quantiles_lie_in_their_bucket_and_not_above_the_longest() {
        let mut all = Histogram::default();
        assert_eq!(all.quantile(0.5), None);
        (1..=100).for_each(|ms| all.note_ms(ms));
        let near = |share: f64, from: f64, to: f64| {
            let found = all.quantile(share).unwrap_or(-1.0);
            assert!((from..=to).contains(&found), "{share}: {found}");
        };
        near(0.0, 0.0, 0.002_5);
        near(0.5, 0.025, 0.05);
        near(0.98, 0.05, 0.1);
        near(1.0, 0.1, 0.1);
        let mut one = Histogram::default();
        one.note_ms(7_200_000);
        assert_eq!(one.quantile(1.0), Some(7200.0));
    }
}
