//! Failures like one: those with its fingerprint, how many there were, and with which release they began.

use runyard_domain::reason::seconds;
use runyard_domain::{Endpoint, FailReason, FailureGroup, Release};
use serde_json::{Value, json};

use crate::Manage;
use crate::problem::Problem;

impl Manage {
    /// The group of an endpoint's failures that one for this reason is in.
    pub(super) fn group_of(
        &self,
        endpoint: &Endpoint,
        reason: &FailReason,
    ) -> Result<Option<FailureGroup>, Problem> {
        let fingerprint = reason.fingerprint();
        let groups = self.inner.engine.reader().failures(&endpoint.id)?;
        Ok(groups.into_iter().find(|group| group.fingerprint == fingerprint))
    }

    /// `Like`: the others of a group, in a sentence and in numbers.
    pub(super) fn like(&self, endpoint: &Endpoint, group: &FailureGroup) -> Result<Value, Problem> {
        let others = group.count - 1;
        let release = self.release_of(endpoint, group.first_release)?;
        let now = self.inner.engine.now();
        let jobs = match others {
            0 => "no other job has failed so".to_owned(),
            1 => "1 other job".to_owned(),
            n => format!("{n} other jobs"),
        };
        let since = match (group.first_release, &release) {
            _ if others == 0 => String::new(),
            (Some(number), Some(release)) => format!(
                " since release {number} (deployed {} ago by {}); none before",
                seconds(now.since(release.created_at)),
                by(release)
            ),
            (Some(number), None) => format!(" since release {number}; none before"),
            (None, _) => format!(", the first {} ago", seconds(now.since(group.first_at))),
        };
        Ok(json!({
            "fingerprint": group.fingerprint,
            "others": others,
            "firstAt": group.first_at.0,
            "firstRelease": group.first_release,
            "deployedAt": release.as_ref().map(|release| release.created_at.0),
            "deployedBy": release.as_ref().map(by),
            "sentence": format!("{jobs}{since}"),
        }))
    }

    fn release_of(&self, endpoint: &Endpoint, number: Option<u32>) -> Result<Option<Release>, Problem> {
        let Some(number) = number else { return Ok(None) };
        let releases = self.inner.engine.reader().releases(&endpoint.id)?;
        Ok(releases.into_iter().find(|release| release.number == number))
    }

    /// Where a rollback goes that ends these failures: they began with the release that serves.
    pub(super) fn way_back(&self, endpoint: &Endpoint, group: Option<&FailureGroup>) -> Option<u32> {
        let first = group?.first_release?;
        if endpoint.serving != Some(first) {
            return None;
        }
        self.inner.fleet.may_go_back_to(endpoint).filter(|previous| *previous < first)
    }
}

/// Who deployed a release, with its commit.
fn by(release: &Release) -> String {
    match &release.commit {
        Some(commit) => {
            format!("{}/{}", release.created_by, commit.id.chars().take(7).collect::<String>())
        }
        None => release.created_by.clone(),
    }
}
