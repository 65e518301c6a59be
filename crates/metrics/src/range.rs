//! A range of time as steps of one length: what the API answers and charts draw. Which intervals of the store make it
//! up, and what becomes of each series in each step.

use runyard_domain::Timestamp;

use crate::{Grain, Histogram, Interval, Kind, Level, Of, Row, Series};

/// The most steps of one answer.
pub const MOST_STEPS: i64 = 1_500;

/// How many steps an answer has at most where no length is asked for.
const USUAL_STEPS: i64 = 240;

/// Lengths of steps that read well, in seconds.
const NICE: [i64; 15] =
    [10, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800];

/// A range in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Where it begins: the beginning of a step.
    pub since: Timestamp,
    /// Where it ends: the end of a step.
    pub until: Timestamp,
    /// The length of a step in milliseconds.
    pub step_ms: i64,
    /// The length of the intervals that make it up.
    pub grain: Grain,
}

/// Why there is no such range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// It has no length.
    #[error("'since' is not before 'until'")]
    Empty,
    /// It has too many steps.
    #[error("the range has {0} steps of {1} s, and an answer has at most {MOST_STEPS}: ask for longer steps")]
    Steps(i64, i64),
    /// Nothing so old is kept.
    #[error("nothing is kept for longer than 30 days")]
    Old,
}

impl Range {
    /// The range from `since` to `until` in steps of so many seconds, or as long as reads well. What is asked for
    /// is widened to whole steps; steps are as long at least as the intervals that are kept of that time.
    pub fn new(
        since: Timestamp,
        until: Timestamp,
        step_s: Option<i64>,
        now: Timestamp,
    ) -> Result<Self, RangeError> {
        if since >= until {
            return Err(RangeError::Empty);
        }
        // The first step may begin a little before.
        let finest = finest(since, now).ok_or(RangeError::Old)?;
        let length_s = until.since(since).div_euclid(1_000).max(1);
        let wanted = step_s.unwrap_or_else(|| {
            let fits = NICE.into_iter().find(|nice| length_s <= nice * USUAL_STEPS);
            fits.unwrap_or(NICE[NICE.len() - 1])
        });
        let step_s = up(wanted.max(1), finest.seconds());
        let step_ms = step_s * 1_000;
        let since = Timestamp(since.0.div_euclid(step_ms) * step_ms);
        let until = Timestamp(up(until.0, step_ms));
        let steps = until.since(since) / step_ms;
        if steps > MOST_STEPS {
            return Err(RangeError::Steps(steps, step_s));
        }
        Ok(Self { since, until, step_ms, grain: grain(step_s, finest) })
    }

    /// The range of the same length before it, where something is kept of it.
    pub fn before(&self, now: Timestamp) -> Option<Self> {
        let since = Timestamp(self.since.0 - self.until.since(self.since));
        let grain = grain(self.step_ms / 1_000, self.grain).max(finest(since, now)?);
        Some(Self { since, until: self.since, step_ms: self.step_ms, grain })
    }

    /// How many steps it has.
    pub fn steps(&self) -> usize {
        (self.until.since(self.since) / self.step_ms) as usize
    }

    /// When each step begins, in milliseconds since the epoch.
    pub fn at(&self) -> Vec<i64> {
        (0..self.steps()).map(|step| self.since.0 + step as i64 * self.step_ms).collect()
    }

    /// The intervals of each step, merged.
    pub fn gather(&self, rows: &[Row]) -> Vec<Interval> {
        let mut steps = vec![Interval::default(); self.steps()];
        for row in rows {
            let place = (row.at.0 - self.since.0).div_euclid(self.step_ms);
            if let Some(step) = usize::try_from(place).ok().and_then(|place| steps.get_mut(place)) {
                step.merge(&row.interval);
            }
        }
        steps
    }

    /// The seconds of a step that are over.
    fn seconds_of(&self, step: usize, now: Timestamp) -> f64 {
        let begins = Timestamp(self.since.0 + step as i64 * self.step_ms);
        now.since(begins).min(self.step_ms) as f64 / 1_000.0
    }
}

/// The finest intervals that reach back to `since`.
fn finest(since: Timestamp, now: Timestamp) -> Option<Grain> {
    Grain::ALL.into_iter().find(|grain| now.since(since) <= grain.kept_ms())
}

/// The longest intervals of which a step is made up.
fn grain(step_s: i64, finest: Grain) -> Grain {
    let fits = Grain::ALL.into_iter().rev().find(|grain| step_s % grain.seconds() == 0);
    fits.unwrap_or(finest).max(finest)
}

fn up(value: i64, unit: i64) -> i64 {
    value.div_euclid(unit) * unit + if value.rem_euclid(unit) == 0 { 0 } else { unit }
}

/// One series over a range.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// How often something happened in each step, and in all.
    Counts(Vec<u64>, u64),
    /// How much there was on average and at most in each step, and over all; `None` where nobody looked.
    Levels(Vec<Option<(f64, f64)>>, Option<(f64, f64)>),
    /// How long something took in each step, and over all.
    Times(Vec<Histogram>, Histogram),
}

/// One series over the steps of a range.
pub fn line(range: &Range, steps: &[Interval], series: &Series, now: Timestamp) -> Line {
    let key = series.key;
    match series.kind {
        Kind::Counter => {
            let counts: Vec<u64> =
                steps.iter().map(|step| step.counts.get(&key).copied().unwrap_or(0)).collect();
            let sum = counts.iter().sum();
            Line::Counts(counts, sum)
        }
        Kind::Histogram => {
            let times: Vec<Histogram> =
                steps.iter().map(|step| step.times.get(&key).cloned().unwrap_or_default()).collect();
            let mut sum = Histogram::default();
            for one in &times {
                sum.merge(one);
            }
            Line::Times(times, sum)
        }
        Kind::Gauge => {
            let seen = |step: &Interval| step.levels.get(&key).copied();
            let levels = steps
                .iter()
                .enumerate()
                .map(|(place, step)| average(seen(step), range.seconds_of(place, now), series.of));
            let mut sum: Option<Level> = None;
            for level in steps.iter().filter_map(seen) {
                sum = Some(sum.map_or(level, |mut sum| {
                    sum.merge(&level);
                    sum
                }));
            }
            let length = now.since(range.since).min(range.until.since(range.since)) as f64 / 1_000.0;
            Line::Levels(levels.collect(), average(sum, length, series.of))
        }
    }
}

/// The average and the most. An endpoint at rest is not written down: there, what was not seen is zero.
fn average(level: Option<Level>, seconds: f64, of: Of) -> Option<(f64, f64)> {
    let (level, over) = match (level, of) {
        (Some(level), Of::Endpoint) => (level, seconds.max(level.seconds)),
        (Some(level), _) => (level, level.seconds),
        (None, Of::Endpoint) => return (seconds > 0.0).then_some((0.0, 0.0)),
        (None, _) => return None,
    };
    (over > 0.0).then(|| (level.area / over, level.max))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;
    use crate::Key;

    const NOW: Timestamp = Timestamp(100 * 24 * 3_600_000);
    const HOUR: i64 = 3_600_000;

    fn ago(ms: i64) -> Timestamp {
        NOW.plus(-ms)
    }

    #[test]
    fn steps_read_well_and_are_made_of_what_is_kept() {
        let of = |since_ms: i64, step: Option<i64>| {
            Range::new(ago(since_ms), NOW, step, NOW).map(|range| (range.step_ms / 1_000, range.grain))
        };
        assert_eq!(of(HOUR / 4, None), Ok((10, Grain::Fine)));
        assert_eq!(of(HOUR, None), Ok((30, Grain::Fine)));
        assert_eq!(of(6 * HOUR, None), Ok((120, Grain::Minute)));
        assert_eq!(of(24 * HOUR, None), Ok((600, Grain::Coarse)));
        assert_eq!(of(30 * 24 * HOUR, None), Ok((10_800, Grain::Coarse)));
        // What is older is kept in longer intervals.
        assert_eq!(of(7 * HOUR, Some(30)), Ok((60, Grain::Minute)));
        assert_eq!(of(3 * 24 * HOUR, Some(60)), Ok((600, Grain::Coarse)));
        assert_eq!(of(6 * HOUR, Some(10)), Err(RangeError::Steps(2_160, 10)));
        assert_eq!(of(31 * 24 * HOUR, None), Err(RangeError::Old));
        assert_eq!(of(-1, None), Err(RangeError::Empty));
    }

    #[test]
    fn a_range_is_widened_to_whole_steps_and_has_one_before_it() {
        let range = Range::new(ago(95_000), ago(5_000), Some(60), NOW).unwrap();
        assert_eq!((range.since, range.until, range.steps()), (ago(120_000), NOW, 2));
        let before = range.before(NOW).unwrap();
        assert_eq!((before.since, before.until), (ago(240_000), ago(120_000)));
        let month = Range::new(ago(30 * 24 * HOUR), NOW, None, NOW).unwrap();
        assert_eq!(month.before(NOW), None);
    }

    #[test]
    fn an_endpoint_at_rest_is_zero_and_a_gpu_that_nobody_saw_unknown() {
        let range = Range::new(ago(40_000), NOW, Some(20), NOW).unwrap();
        let mut interval = Interval::default();
        interval.count(Key::JobsCompleted, 2);
        interval.level(Key::QueueWaiting, 4.0, 10.0);
        interval.level(Key::GpuUse, 0.5, 10.0);
        let rows = [Row { at: ago(20_000), grain: Grain::Fine, interval }];
        let steps = range.gather(&rows);
        let of = |key: Key| line(&range, &steps, key.series().unwrap(), NOW);
        assert_eq!(of(Key::JobsCompleted), Line::Counts(vec![0, 2], 2));
        assert_eq!(
            of(Key::QueueWaiting),
            Line::Levels(vec![Some((0.0, 0.0)), Some((2.0, 4.0))], Some((1.0, 4.0)))
        );
        assert_eq!(of(Key::GpuUse), Line::Levels(vec![None, Some((0.5, 0.5))], Some((0.5, 0.5))));
    }
}
