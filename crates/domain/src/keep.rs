//! Which releases of an endpoint keep their code: a rollback needs it. What is not kept may be pruned.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Endpoint, Release, ReleaseState, Timestamp};

/// How much is kept beyond what is needed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepRules {
    /// The newest releases that passed their tests.
    pub newest: usize,
    /// Releases younger than this, in milliseconds.
    pub age_ms: i64,
}

/// A release that failed keeps its code for so long, for a look at it.
const FAILED_MS: i64 = 86_400_000;

/// The releases whose code is kept, each with the reason; `releases` come newest first, and workers of those in
/// `running` are there.
pub fn kept(
    endpoint: &Endpoint,
    releases: &[Release],
    running: &BTreeSet<u32>,
    rules: KeepRules,
    now: Timestamp,
) -> BTreeMap<u32, &'static str> {
    let rolls = |number: u32| {
        let rollout = endpoint.rollout.as_ref();
        // The older ones of those that it replaces are kept by their workers, as long as they have any.
        rollout.is_some_and(|rollout| rollout.to == number || rollout.from.first() == Some(&number))
    };
    let passed = releases.iter().filter(|release| release.state == ReleaseState::Ready);
    let newest: BTreeSet<u32> = passed.take(rules.newest).map(|release| release.number).collect();
    let why = |release: &Release| {
        let number = release.number;
        let age = now.since(release.created_at);
        match release.state {
            _ if endpoint.serving == Some(number) => Some("serves"),
            _ if running.contains(&number) => Some("its workers run"),
            _ if rolls(number) => Some("is part of a rollout"),
            _ if endpoint.previous == Some(number) => Some("served before"),
            ReleaseState::Building | ReleaseState::Testing => Some("is being deployed"),
            ReleaseState::Failed { .. } => (age < FAILED_MS).then_some("failed lately"),
            ReleaseState::Ready if newest.contains(&number) => Some("is one of the newest"),
            ReleaseState::Ready => (age < rules.age_ms).then_some("is young"),
        }
    };
    releases.iter().filter_map(|release| Some((release.number, why(release)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EndpointId, FailReason, Settings};

    fn release(number: u32, at: i64, state: ReleaseState) -> Release {
        Release {
            endpoint: EndpointId::new("e"),
            number,
            created_at: Timestamp(at),
            created_by: "local".into(),
            state,
            handler: String::new(),
            bundle: String::new(),
            environment: String::new(),
            python: String::new(),
            python_wish: crate::PythonWish::default(),
            launch: None,
            env: BTreeMap::new(),
            secure_env: BTreeMap::new(),
            env_read: Vec::new(),
            gpus: 0.into(),
            given: None,
            note: None,
            commit: None,
            took_ms: None,
        }
    }

    #[test]
    fn what_serves_runs_or_is_new_is_kept() {
        let day = 86_400_000;
        let failed = ReleaseState::Failed { reason: FailReason::HandlerError { message: "x".into() } };
        let mut all: Vec<Release> =
            (1..=8).map(|n| release(n, i64::from(n) * day, ReleaseState::Ready)).collect();
        all.push(release(9, 9 * day, failed.clone()));
        all[1].state = failed;
        all.reverse();
        let mut endpoint = Endpoint::new(EndpointId::new("e"), "e".into(), Timestamp(0), Settings::default());
        (endpoint.serving, endpoint.previous) = (Some(3), Some(1));
        let rules = KeepRules { newest: 2, age_ms: 4 * day };
        let found = kept(&endpoint, &all, &BTreeSet::from([4]), rules, Timestamp(10 * day - 1));
        let expected = BTreeMap::from([
            (1, "served before"),
            (3, "serves"),
            (4, "its workers run"),
            (6, "is young"),
            (7, "is one of the newest"),
            (8, "is one of the newest"),
            (9, "failed lately"),
        ]);
        assert_eq!(found, expected, "5 is old, 2 failed long ago");
    }
}
