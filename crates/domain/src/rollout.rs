//! A rollout: how traffic and workers move from one release to the next. The record lies in the endpoint, so that a
//! server that was killed goes on with it; [`decide`] says what to do next.
//!
//! New releases are started beside the old ones and take their place one after the other ([`Stage::Rolling`]), after
//! a share of the jobs proved them where that was asked for ([`Stage::Canary`]). For a while longer their errors are
//! compared with those of the release before ([`Stage::Watched`]), and traffic goes back by itself.

mod decide;
mod settings;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::{Endpoint, Timestamp};

pub use decide::{Decision, Doing, Seen, Step, View, decide};
pub use settings::{Portion, RolloutSettings};

/// How far a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// The new release gets a share of the jobs, and as large a share of workers; the old one serves.
    Canary {
        /// The share, 1 to 99.
        percent: u32,
    },
    /// The new release serves; workers of the old ones go on until they are replaced.
    Rolling,
    /// No old worker is left; errors are still looked at.
    Watched,
}

/// A rollout under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// The release that comes.
    pub to: u32,
    /// Releases whose workers serve until they are replaced, the latest first: traffic goes back to that one. Empty
    /// where the releases before take nothing more, as after a rollback.
    pub from: Vec<u32>,
    /// When it began, or went from canary to rolling.
    pub started_at: Timestamp,
    /// How many workers served when it began.
    pub goal: u32,
    /// How far it is.
    #[serde(flatten)]
    pub stage: Stage,
}

/// A release from which traffic was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// Its number.
    pub release: u32,
    /// When.
    pub at: Timestamp,
    /// Why, as a sentence.
    pub why: String,
}

/// How many of them an endpoint remembers.
pub const WITHDRAWN_KEPT: usize = 50;

/// What the workers of a release get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Whatever waits.
    All,
    /// So many of a hundred jobs.
    Share(u32),
    /// Nothing but tests.
    Nothing,
}

/// How the jobs of a release ended, and how its workers started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// Jobs that ended, and crashes.
    pub ended: u64,
    /// Those of them that went wrong.
    pub failed: u64,
    /// Starts that failed in a row.
    pub failed_starts: u32,
}

impl Health {
    /// Failed jobs of a hundred.
    pub fn error_percent(&self) -> f64 {
        if self.ended == 0 { 0.0 } else { self.failed as f64 * 100.0 / self.ended as f64 }
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            ended: self.ended + other.ended,
            failed: self.failed + other.failed,
            failed_starts: self.failed_starts + other.failed_starts,
        }
    }
}

impl Rollout {
    /// The share of a canary.
    pub fn canary_percent(&self) -> Option<u32> {
        match self.stage {
            Stage::Canary { percent } => Some(percent),
            Stage::Rolling | Stage::Watched => None,
        }
    }

    /// Whether workers of older releases are still to be replaced.
    pub fn replaces(&self) -> bool {
        self.stage == Stage::Rolling
    }

    /// When the clock alone ends this stage; `None` where it does not.
    pub fn ends_at(&self, settings: &RolloutSettings) -> Option<Timestamp> {
        match self.stage {
            Stage::Canary { .. } => {
                (settings.canary_ms > 0).then(|| self.started_at.plus(settings.canary_ms))
            }
            Stage::Rolling => None,
            Stage::Watched => Some(self.started_at.plus(settings.watch_ms)),
        }
    }
}

impl Endpoint {
    /// What workers of a release get.
    pub fn traffic(&self, release: u32) -> Traffic {
        if self.serving == Some(release) {
            return Traffic::All;
        }
        match &self.rollout {
            Some(rollout) if rollout.to == release => {
                rollout.canary_percent().map_or(Traffic::Nothing, Traffic::Share)
            }
            Some(rollout) if rollout.replaces() && rollout.from.contains(&release) => Traffic::All,
            _ => Traffic::Nothing,
        }
    }

    /// Whether workers of a release get whatever waits.
    pub fn serves(&self, release: u32) -> bool {
        self.traffic(release) == Traffic::All
    }

    /// Why traffic was taken from a release, where it was.
    pub fn withdrawn(&self, release: u32) -> Option<&Withdrawn> {
        self.withdrawn.iter().rev().find(|gone| gone.release == release)
    }

    /// Traffic goes to `release`, worker by worker.
    pub fn roll_to(&mut self, release: u32, goal: u32, now: Timestamp) {
        let mut from: Vec<u32> = self.serving.into_iter().filter(|serving| *serving != release).collect();
        if let Some(rollout) = self.rollout.take().filter(Rollout::replaces) {
            from.extend(rollout.from.into_iter().filter(|older| *older != release));
        }
        from.dedup();
        self.previous = self.serving.filter(|serving| *serving < release);
        self.serving = Some(release);
        self.promoted_at = Some(now);
        self.withdrawn.retain(|gone| gone.release != release);
        let rolls = !from.is_empty();
        self.rollout =
            rolls.then_some(Rollout { to: release, from, started_at: now, goal, stage: Stage::Rolling });
    }

    /// `release` gets a share of the jobs, and the one that serves goes on.
    pub fn try_canary(&mut self, release: u32, percent: u32, now: Timestamp) {
        let from = self.serving.into_iter().collect();
        self.withdrawn.retain(|gone| gone.release != release);
        self.rollout =
            Some(Rollout { to: release, from, started_at: now, goal: 0, stage: Stage::Canary { percent } });
    }

    /// Traffic goes to `release` at once, and `bad` takes nothing more.
    pub fn go_back(&mut self, release: u32, bad: u32, why: &str, goal: u32, now: Timestamp) {
        self.withdrawn.retain(|gone| gone.release != release && gone.release != bad);
        self.withdrawn.push(Withdrawn { release: bad, at: now, why: why.to_owned() });
        let surplus = self.withdrawn.len().saturating_sub(WITHDRAWN_KEPT);
        self.withdrawn.drain(..surplus);
        self.rollout = None;
        if self.serving != Some(release) {
            self.serving = Some(release);
            self.previous = None;
            self.promoted_at = Some(now);
            let stage = Stage::Rolling;
            self.rollout = Some(Rollout { to: release, from: Vec::new(), started_at: now, goal, stage });
        }
    }
}
