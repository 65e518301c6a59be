//! What became of a connection's commits, and what is to be done next. The newest build of a target that was begun
//! is what the target has; a queued one is what it shall have. A newer commit makes a queued one needless.

use serde::{Deserialize, Serialize};

use super::Connection;
use crate::Timestamp;

/// How many builds a connection remembers, beside the last ones of each target.
const KEPT: usize = 30;

/// What a commit is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The endpoint itself.
    Main,
    /// The endpoint of a pull request, by its number.
    Preview(u64),
}

/// How far a build is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum BuildState {
    /// It waits for the one before it.
    Queued,
    /// It is under way.
    Building,
    /// Its release serves.
    Deployed,
    /// It did not come to that; what served before goes on.
    Failed {
        /// Why, for people.
        why: String,
    },
    /// A newer commit came while it waited.
    Superseded {
        /// The newer one.
        by: String,
    },
}

/// One commit on its way to a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Rising from 1 in each connection.
    pub number: u64,
    /// What it is for.
    pub target: Target,
    /// The commit's hash.
    pub commit: String,
    /// The branch or tag that led to it, as Git has it: `refs/heads/main`.
    pub reference: String,
    /// When it was heard of.
    pub queued_at: Timestamp,
    /// When it was begun.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How far it is.
    #[serde(flatten)]
    pub state: BuildState,
    /// The first line of the commit's message, once it is known.
    pub title: Option<String>,
    /// Who wrote the commit, once that is known.
    pub author: Option<String>,
    /// Its release, once there is one.
    pub release: Option<u32>,
    /// What came of telling the forge.
    pub told: Option<String>,
}

impl Build {
    /// Whether it was begun, however it ended.
    fn begun(&self) -> bool {
        !matches!(self.state, BuildState::Queued | BuildState::Superseded { .. })
    }

    fn waits_for(&self, target: Target) -> bool {
        self.target == target && self.state == BuildState::Queued
    }
}

impl Connection {
    /// What a target has: its newest build that was begun.
    pub fn current(&self, target: Target) -> Option<&Build> {
        let after = match target {
            Target::Main => 0,
            Target::Preview(number) => self.preview(number).map_or(0, |preview| preview.after),
        };
        self.builds.iter().find(|build| build.target == target && build.begun() && build.number > after)
    }

    /// This commit is the one that the target shall have. Says whether anything changed.
    pub fn want(&mut self, target: Target, commit: &str, reference: &str, now: Timestamp) -> bool {
        let has = self.current(target).is_some_and(|build| build.commit == commit);
        let waits = self.builds.iter().any(|build| build.waits_for(target) && build.commit == commit);
        let mut changed = false;
        for build in self.builds.iter_mut().filter(|b| b.waits_for(target) && b.commit != commit) {
            build.state = BuildState::Superseded { by: commit.to_owned() };
            build.ended_at = Some(now);
            changed = true;
        }
        if !has && !waits {
            self.queue(target, commit, reference, now);
            changed = true;
        }
        changed
    }

    /// The last commit of a target is to be tried again where it failed.
    pub fn again(&mut self, target: Target, now: Timestamp) {
        let Some(last) = self.current(target) else { return };
        let waits = self.builds.iter().any(|build| build.waits_for(target));
        if matches!(last.state, BuildState::Failed { .. }) && !waits {
            let (commit, reference) = (last.commit.clone(), last.reference.clone());
            self.queue(target, &commit, &reference, now);
        }
    }

    fn queue(&mut self, target: Target, commit: &str, reference: &str, now: Timestamp) {
        let number = self.builds.first().map_or(1, |newest| newest.number + 1);
        let build = Build {
            number,
            target,
            commit: commit.to_owned(),
            reference: reference.to_owned(),
            queued_at: now,
            started_at: None,
            ended_at: None,
            state: BuildState::Queued,
            title: None,
            author: None,
            release: None,
            told: None,
        };
        self.builds.insert(0, build);
        self.trim();
    }

    /// What is to be built next: for the endpoint before its pull requests, in the order in which it came.
    pub fn next_build(&self) -> Option<&Build> {
        let waiting = || self.builds.iter().rev().filter(|build| build.state == BuildState::Queued);
        waiting().find(|build| build.target == Target::Main).or_else(|| waiting().next())
    }

    /// A build by its number.
    pub fn build_mut(&mut self, number: u64) -> Option<&mut Build> {
        self.builds.iter_mut().find(|build| build.number == number)
    }

    /// What was under way when the server stopped begins again, unless something newer waits.
    pub fn begin_again(&mut self, now: Timestamp) {
        for at in 0..self.builds.len() {
            if self.builds[at].state != BuildState::Building {
                continue;
            }
            let newer = self.builds[..at].iter().find(|b| b.waits_for(self.builds[at].target));
            let by = newer.map(|build| build.commit.clone());
            let build = &mut self.builds[at];
            build.started_at = None;
            build.ended_at = by.as_ref().map(|_| now);
            build.state = by.map_or(BuildState::Queued, |by| BuildState::Superseded { by });
        }
    }

    /// A pull request is over: nothing is built for it any more.
    pub fn drop_preview(&mut self, number: u64) {
        self.previews.retain(|preview| preview.number != number);
        let of = |build: &Build| build.target == Target::Preview(number);
        self.builds.retain(|build| !(of(build) && build.state == BuildState::Queued));
    }

    fn trim(&mut self) {
        let mut at = 0;
        let mut seen: Vec<Target> = Vec::new();
        self.builds.retain(|build| {
            at += 1;
            let last = build.begun() && !seen.contains(&build.target);
            if last {
                seen.push(build.target);
            }
            at <= KEPT || last || build.state == BuildState::Queued
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Origin, Part};
    use super::*;
    use crate::{ConnectionId, EndpointId};

    fn connection() -> Connection {
        Connection {
            id: ConnectionId::new("git_1"),
            endpoint: EndpointId::new("e"),
            created_at: Timestamp(0),
            created_by: "local".into(),
            origin: Origin::Pushed,
            part: Part::default(),
            secrets: None,
            previews: vec![],
            builds: vec![],
            trouble: None,
        }
    }

    fn want(connection: &mut Connection, commit: &str) -> bool {
        connection.want(Target::Main, commit, "refs/heads/main", Timestamp(7))
    }

    fn begin(connection: &mut Connection) -> u64 {
        let number = connection.next_build().expect("something waits").number;
        connection.build_mut(number).expect("it is there").state = BuildState::Building;
        number
    }

    fn states(connection: &Connection) -> Vec<(&str, &BuildState)> {
        connection.builds.iter().map(|build| (build.commit.as_str(), &build.state)).collect()
    }

    #[test]
    fn a_newer_commit_supersedes_what_waits_and_not_what_is_under_way() {
        let mut it = connection();
        assert!(want(&mut it, "a"));
        begin(&mut it);
        assert!(want(&mut it, "b") && want(&mut it, "c"));
        assert!(!want(&mut it, "c"), "the same commit twice is one build");
        let by = BuildState::Superseded { by: "c".into() };
        assert_eq!(states(&it), [("c", &BuildState::Queued), ("b", &by), ("a", &BuildState::Building)]);
    }

    #[test]
    fn what_is_there_already_is_not_built_again() {
        let mut it = connection();
        want(&mut it, "a");
        let number = begin(&mut it);
        it.build_mut(number).expect("there").state = BuildState::Deployed;
        // A late repetition of an old message, and the look at the repository that follows it.
        assert!(want(&mut it, "old") && want(&mut it, "a"));
        assert_eq!(it.next_build(), None);
        assert!(!want(&mut it, "a"));
        // A branch that was put back to an older commit is deployed.
        want(&mut it, "b");
        let number = begin(&mut it);
        it.build_mut(number).expect("there").state = BuildState::Failed { why: "x".into() };
        assert!(want(&mut it, "a"));
        assert_eq!(it.next_build().expect("it waits").commit, "a");
    }

    #[test]
    fn a_failed_commit_is_tried_again_only_when_asked() {
        let mut it = connection();
        want(&mut it, "a");
        let number = begin(&mut it);
        it.build_mut(number).expect("there").state = BuildState::Failed { why: "x".into() };
        assert!(!want(&mut it, "a"));
        it.again(Target::Main, Timestamp(9));
        it.again(Target::Main, Timestamp(9));
        assert!(!want(&mut it, "a"), "a look at the repository changes nothing about that");
        assert_eq!(it.builds.len(), 2);
        assert_eq!(it.next_build().expect("it waits").commit, "a");
    }

    #[test]
    fn a_restart_goes_on_with_the_newest() {
        let mut it = connection();
        want(&mut it, "a");
        begin(&mut it);
        it.begin_again(Timestamp(9));
        assert_eq!(it.next_build().expect("again").commit, "a");
        begin(&mut it);
        want(&mut it, "b");
        it.begin_again(Timestamp(9));
        assert_eq!(
            states(&it),
            [("b", &BuildState::Queued), ("a", &BuildState::Superseded { by: "b".into() })]
        );
    }

    #[test]
    fn the_endpoint_comes_before_its_pull_requests() {
        let mut it = connection();
        it.open_preview(7, "x");
        it.want(Target::Preview(7), "p", "refs/heads/x", Timestamp(1));
        want(&mut it, "a");
        assert_eq!(it.next_build().expect("it waits").commit, "a");
        it.drop_preview(7);
        assert!(it.preview(7).is_none() && it.builds.len() == 1);
    }

    #[test]
    fn a_pull_request_that_is_opened_again_is_built_again() {
        let mut it = connection();
        let wants = |it: &mut Connection| it.want(Target::Preview(7), "p", "refs/heads/x", Timestamp(1));
        it.open_preview(7, "x");
        assert!(wants(&mut it));
        begin(&mut it);
        assert!(!wants(&mut it));
        it.drop_preview(7);
        it.open_preview(7, "x");
        assert!(wants(&mut it), "its endpoint went with it");
        assert!(!wants(&mut it) && it.builds.len() == 2);
    }

    #[test]
    fn history_is_bounded_and_keeps_what_each_target_has() {
        let mut it = connection();
        it.want(Target::Preview(7), "p", "refs/heads/x", Timestamp(1));
        begin(&mut it);
        for n in 0..100 {
            want(&mut it, &format!("{n}"));
            begin(&mut it);
        }
        assert!(it.builds.len() <= KEPT + 2, "{}", it.builds.len());
        assert_eq!(it.current(Target::Preview(7)).expect("kept").commit, "p");
        assert_eq!(it.builds[0].number, 101);
    }
}
