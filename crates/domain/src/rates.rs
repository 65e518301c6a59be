//! How often one key may call one endpoint, by groups of operations. The groups, the ten seconds and the notation are
//! RunPod's (its table of limits: requests per 10 s / at once).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Seconds in which the calls of a [`Rate`] are counted.
pub const WINDOW_S: u64 = 10;

/// Operations of the job API that are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// `run`.
    Run,
    /// `runsync`.
    Runsync,
    /// `status`, `status-sync` and `stream`.
    Status,
    /// `cancel`.
    Cancel,
    /// `purge-queue`.
    Purge,
    /// `requests`.
    Requests,
    /// Everything below `openai`.
    Openai,
    /// Everything below `batch`.
    Batch,
}

impl Group {
    /// Every group, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Run,
        Self::Runsync,
        Self::Status,
        Self::Cancel,
        Self::Purge,
        Self::Requests,
        Self::Openai,
        Self::Batch,
    ];

    /// What users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Runsync => "runsync",
            Self::Status => "status",
            Self::Cancel => "cancel",
            Self::Purge => "purge",
            Self::Requests => "requests",
            Self::Openai => "openai",
            Self::Batch => "batch",
        }
    }

    /// The group of an operation as it stands in a path; `None` where nothing is counted (`health`, `retry`, …).
    pub fn of_operation(operation: &str) -> Option<Self> {
        Some(match operation {
            "run" => Self::Run,
            "runsync" => Self::Runsync,
            "status" | "status-sync" | "stream" => Self::Status,
            "cancel" => Self::Cancel,
            "purge-queue" => Self::Purge,
            "requests" => Self::Requests,
            "openai" => Self::Openai,
            "batch" => Self::Batch,
            _ => return None,
        })
    }

    /// What holds unless something else is said: 300 times RunPod's rate and 50 times its number at once, so that
    /// only a program that has run wild meets it.
    pub fn usual(self) -> Rate {
        let (per_window, at_once) = match self {
            Self::Run => (300_000, 10_000),
            Self::Runsync | Self::Status | Self::Openai => (600_000, 20_000),
            Self::Cancel => (30_000, 1_000),
            Self::Purge => (600, 0),
            Self::Requests | Self::Batch => (3_000, 100),
        };
        Rate { per_window, at_once }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|group| group.name() == text);
        let names = || Self::ALL.map(Self::name).join(", ");
        found.ok_or_else(|| format!("'{text}' is no group of operations; there are {}", names()))
    }
}

/// So many calls. 0 means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In [`WINDOW_S`] seconds.
    pub per_window: u32,
    /// At once.
    pub at_once: u32,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.per_window, self.at_once) {
            (0, 0) => f.write_str("off"),
            (calls, 0) => write!(f, "{calls}"),
            (calls, at_once) => write!(f, "{calls}/{at_once}"),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self { per_window: 0, at_once: 0 });
        }
        let (calls, at_once) = text.split_once('/').unwrap_or((text, "0"));
        let number = |text: &str| {
            text.trim().parse::<u32>().ok().filter(|number| *number <= 1_000_000_000).ok_or_else(|| {
                format!(
                    "'{text}' is not a rate: write calls in {WINDOW_S} s, or calls in {WINDOW_S} s and at once \
                     as in '1000/200' (0 for no limit), or 'off'"
                )
            })
        };
        Ok(Self { per_window: number(calls)?, at_once: number(at_once)? })
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Said {
            Number(u32),
            Text(String),
        }
        match Said::deserialize(deserializer) {
            Ok(Said::Number(per_window)) => Ok(Self { per_window, at_once: 0 }),
            Ok(Said::Text(text)) => text.parse().map_err(D::Error::custom),
            Err(_) => Err(D::Error::custom("a rate is a text such as \"1000/200\", or a number of calls")),
        }
    }
}

/// Rates that were set for some groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rates(pub BTreeMap<Group, Rate>);

impl Rates {
    /// The rate of a group, where it was set.
    pub fn get(&self, group: Group) -> Option<Rate> {
        self.0.get(&group).copied()
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (group, rate)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{group}={rate}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_written_as_they_are_read() {
        for text in ["1000/200", "1000", "0/5", "off"] {
            assert_eq!(text.parse::<Rate>().map(|rate| rate.to_string()).as_deref(), Ok(text));
        }
        for wrong in ["", "x", "1/2/3", "-1", "1.5", "1/", "4000000000"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn groups_are_found_by_name_and_by_number() {
        for (number, group) in Group::ALL.into_iter().enumerate() {
            assert_eq!(group.name().parse(), Ok(group));
            assert_eq!(group as usize, number);
        }
        assert_eq!(Group::of_operation("status-sync"), Some(Group::Status));
        assert_eq!(Group::of_operation("health"), None);
    }

    #[test]
    fn set_rates_are_an_object_of_texts() {
        let rates: Rates = serde_json::from_str(r#"{"run":"10/2","purge":"off"}"#).expect("valid");
        assert_eq!(rates.get(Group::Run), Some(Rate { per_window: 10, at_once: 2 }));
        assert_eq!(rates.get(Group::Status), None);
        assert_eq!(serde_json::to_string(&rates).expect("a map"), r#"{"run":"10/2","purge":"off"}"#);
        assert_eq!(rates.to_string(), "run=10/2, purge=off");
        let number: Rates = serde_json::from_str(r#"{"run":5}"#).expect("valid");
        assert_eq!(number.get(Group::Run), Some(Rate { per_window: 5, at_once: 0 }));
        for wrong in [r#"{"fly":"1"}"#, r#"{"run":-1}"#, r#"{"run":"x"}"#] {
            assert!(serde_json::from_str::<Rates>(wrong).is_err(), "{wrong}");
        }
    }
}
