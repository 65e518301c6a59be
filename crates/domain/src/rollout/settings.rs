//! What a user may set of rollouts.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::endpoint::{InvalidSetting, WEEK_MS};

/// So many workers, or so many of a hundred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Portion {
    /// Workers.
    Workers(u32),
    /// Of a hundred.
    Percent(u32),
}

impl Portion {
    /// Of `workers`, rounded up.
    pub fn up(self, workers: u32) -> u32 {
        match self {
            Self::Workers(n) => n,
            Self::Percent(percent) => (workers * percent).div_ceil(100),
        }
    }

    /// Of `workers`, rounded down.
    pub fn down(self, workers: u32) -> u32 {
        match self {
            Self::Workers(n) => n,
            Self::Percent(percent) => workers * percent / 100,
        }
    }
}

impl fmt::Display for Portion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workers(n) => write!(f, "{n}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for Portion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, percent) = text.strip_suffix('%').map_or((text, false), |number| (number, true));
        match (number.trim().parse(), percent) {
            (Ok(n @ 0..=100), true) => Ok(Self::Percent(n)),
            (Ok(n @ 0..=1000), false) => Ok(Self::Workers(n)),
            _ => Err(format!("'{text}' is not a number of workers: write 0 to 1000, or 0% to 100%")),
        }
    }
}

impl Serialize for Portion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Workers(n) => serializer.serialize_u32(*n),
            Self::Percent(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Portion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Said {
            Number(u32),
            Text(String),
        }
        let text = match Said::deserialize(deserializer) {
            Ok(Said::Number(n)) => n.to_string(),
            Ok(Said::Text(text)) => text,
            Err(_) => return Err(D::Error::custom("it is a number of workers, or a text such as \"25%\"")),
        };
        text.parse().map_err(D::Error::custom)
    }
}

/// How releases follow each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RolloutSettings {
    /// Workers beyond those that serve while a rollout replaces them; rounded up.
    pub surge: Portion,
    /// Workers that may be missing meanwhile; rounded down. Where there is no room beside the old ones, as many
    /// as one new worker takes the place of.
    pub max_unavailable: Portion,
    /// For so long after a rollout began its errors are compared with those of the release before; 0: only while
    /// workers are replaced.
    pub watch_ms: i64,
    /// So many failed starts in a row take traffic back; 0: none does.
    pub failed_starts: u32,
    /// By how many of a hundred jobs more than those of the release before may fail.
    pub error_margin: u32,
    /// So many jobs of the new release have to end before its errors count; 0: they never do.
    pub error_jobs: u32,
    /// A canary is promoted or taken back after so long; 0: it stays until somebody does.
    pub canary_ms: i64,
    /// The same after so many of its jobs; 0: their number does not matter.
    pub canary_jobs: u32,
}

impl Default for RolloutSettings {
    fn default() -> Self {
        Self {
            surge: Portion::Percent(25),
            max_unavailable: Portion::Percent(25),
            watch_ms: 600_000,
            failed_starts: 3,
            error_margin: 20,
            error_jobs: 10,
            canary_ms: 600_000,
            canary_jobs: 0,
        }
    }
}

impl RolloutSettings {
    /// Checks every bound.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        let bad = |field, found: String, allowed| Err(InvalidSetting { field, found, allowed });
        let time = "0 to 604800000 (7 days)";
        if !(0..=WEEK_MS).contains(&self.watch_ms) {
            return bad("rollout.watch_ms", self.watch_ms.to_string(), time);
        }
        if !(0..=WEEK_MS).contains(&self.canary_ms) {
            return bad("rollout.canary_ms", self.canary_ms.to_string(), time);
        }
        if self.error_margin > 100 {
            return bad("rollout.error_margin", self.error_margin.to_string(), "0 to 100");
        }
        Ok(())
    }
}
