//! How long the intervals are that the store keeps, and for how long it keeps them.

use runyard_domain::Timestamp;

use crate::Interval;

/// The length of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grain {
    /// Ten seconds, kept for six hours.
    Fine,
    /// A minute, kept for two days.
    Minute,
    /// Ten minutes, kept for thirty days; not of workers.
    Coarse,
}

/// What one subject did in one interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Where the interval begins.
    pub at: Timestamp,
    /// How long it is.
    pub grain: Grain,
    /// What was in it.
    pub interval: Interval,
}

impl Grain {
    /// From the shortest to the longest.
    pub const ALL: [Self; 3] = [Self::Fine, Self::Minute, Self::Coarse];

    /// Its length in seconds.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Fine => 10,
            Self::Minute => 60,
            Self::Coarse => 600,
        }
    }

    /// Its length in milliseconds.
    pub fn ms(self) -> i64 {
        self.seconds() * 1_000
    }

    /// How long such intervals are kept, in milliseconds.
    pub fn kept_ms(self) -> i64 {
        const HOUR: i64 = 3_600_000;
        match self {
            Self::Fine => 6 * HOUR,
            Self::Minute => 48 * HOUR,
            Self::Coarse => 30 * 24 * HOUR,
        }
    }

    /// The interval's length that has so many seconds.
    pub fn of_seconds(seconds: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|grain| grain.seconds() == seconds)
    }

    /// The beginning of the interval that holds `at`.
    pub fn start(self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.div_euclid(self.ms()) * self.ms())
    }
}
