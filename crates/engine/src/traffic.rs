//! Which releases get jobs, and how many: the one that serves, those that it replaces, and a canary its share. The
//! share is counted over jobs that were handed out, in memory; a start begins with what the newest jobs in the store
//! say.

use std::collections::HashMap;

use runyard_domain::rollout::Traffic;
use runyard_domain::{Endpoint, EndpointId, Job, Phase, Timestamp};
use runyard_store::{Filter, Reader, StoreError, Taken};
use runyard_vault::WorkerCaller;

use crate::engine::{Memory, lock};
use crate::live::Live;
use crate::{Engine, Tally};

/// What is added to the rank of workers that a rollout replaces, so that the new ones come first.
const REPLACED: u64 = 1 << 40;

/// How many jobs are looked at for that.
const RECALLED: usize = 1_000;

/// Canaries by endpoint.
#[derive(Debug, Default)]
pub(crate) struct Shares(HashMap<EndpointId, Share>);

#[derive(Debug)]
struct Share {
    release: u32,
    percent: u64,
    given: u64,
    of: u64,
}

impl Shares {
    /// Takes in an endpoint as it is now.
    pub(crate) fn set(&mut self, endpoint: &Endpoint) {
        let canary =
            endpoint.rollout.as_ref().and_then(|rollout| Some((rollout.to, rollout.canary_percent()?)));
        let Some((release, percent)) = canary else {
            self.0.remove(&endpoint.id);
            return;
        };
        let known = self.0.get_mut(&endpoint.id).filter(|share| share.release == release);
        let percent = u64::from(percent);
        match known {
            Some(share) => share.percent = percent,
            None => drop(self.0.insert(endpoint.id.clone(), Share { release, percent, given: 0, of: 0 })),
        }
    }

    /// Takes in an endpoint as it is at the start of the server, with what its canary was given before.
    pub(crate) fn recall(&mut self, endpoint: &Endpoint, reader: &dyn Reader) -> Result<(), StoreError> {
        self.set(endpoint);
        let Some(rollout) = endpoint.rollout.as_ref().filter(|_| self.0.contains_key(&endpoint.id)) else {
            return Ok(());
        };
        let filter = Filter { endpoint: Some(endpoint.id.clone()), limit: RECALLED, ..Filter::default() };
        for job in reader.jobs(&filter)? {
            if let Some(release) = given_to(&job, rollout.started_at) {
                self.count(&job, release);
            }
        }
        Ok(())
    }

    /// The endpoint is gone.
    pub(crate) fn forget(&mut self, endpoint: &EndpointId) {
        self.0.remove(endpoint);
    }

    /// Notes jobs that a worker was given.
    pub(crate) fn note(&mut self, taken: &[Taken]) {
        for taken in taken {
            self.note_one(&taken.job);
        }
    }

    fn note_one(&mut self, job: &Job) {
        let (Phase::Running { release, .. } | Phase::Held { release, .. }) = &job.phase else { return };
        self.count(job, *release);
    }

    fn count(&mut self, job: &Job, release: u32) {
        if let Some(share) = self.0.get_mut(&job.endpoint).filter(|_| job.pinned.is_none()) {
            share.of += 1;
            share.given += u64::from(share.release == release);
        }
    }

    /// Whether a worker of this release may have the next job: a canary while it has less than its share, or while
    /// there is nobody else.
    pub(crate) fn lets(&self, endpoint: &EndpointId, release: u32, live: &Live) -> bool {
        let Some(share) = self.0.get(endpoint).filter(|share| share.release == release) else { return true };
        share.given * 100 < share.percent * (share.of + 1) || !live.has_other(endpoint, release)
    }
}

/// The release whose worker was given this job last, if that was since then.
fn given_to(job: &Job, since: Timestamp) -> Option<u32> {
    match job.phase {
        Phase::Held { release, handed: at, .. } | Phase::Running { release, started: at, .. } => {
            (at >= since).then_some(release)
        }
        Phase::Done { at, release, execution_ms: Some(ms), .. } => release.filter(|_| at.plus(-ms) >= since),
        _ => None,
    }
}

/// What a poll needs to know of its worker's release.
pub(crate) struct Claim {
    /// It gets nothing but tests.
    pub(crate) pinned_only: bool,
    /// It gets a share, and never a list.
    pub(crate) is_canary: bool,
    /// Those that come after all others have this in their rank.
    pub(crate) rank: u64,
}

impl Claim {
    /// What the workers of a release get.
    pub(crate) fn of(endpoint: &Endpoint, release: u32) -> Self {
        let traffic = endpoint.traffic(release);
        let comes = endpoint.rollout.as_ref().is_none_or(|rollout| rollout.to == release);
        Self {
            pinned_only: traffic == Traffic::Nothing,
            is_canary: matches!(traffic, Traffic::Share(_)),
            rank: if comes { 0 } else { REPLACED },
        }
    }
}

impl Memory {
    /// Whether this worker may have the next job that is no test.
    pub(crate) fn lets(&self, who: &WorkerCaller) -> bool {
        self.shares.lets(who.endpoint(), who.release(), &self.live)
    }
}

impl Engine {
    /// How the jobs of a release ended since this server started.
    pub fn tally(&self, endpoint: &EndpointId, release: u32) -> Tally {
        lock(&self.shared.memory).index.tally(endpoint, release)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use runyard_domain::{Settings, Timestamp, WorkerId};

    use super::*;

    #[test]
    fn a_canary_gets_its_share_and_everything_where_nobody_else_is() {
        let id = EndpointId::new("e");
        let mut endpoint = Endpoint::new(id.clone(), "e".into(), Timestamp(0), Settings::default());
        endpoint.serving = Some(1);
        endpoint.try_canary(2, 20, Timestamp(0));
        let mut shares = Shares::default();
        shares.set(&endpoint);
        let mut live = Live::default();
        live.register(&WorkerId::new("c"), &id, 2, None, false, Timestamp(0));
        assert!((0..10).all(|_| shares.lets(&id, 2, &live)), "it is alone");
        live.register(&WorkerId::new("s"), &id, 1, None, false, Timestamp(0));
        let mut given = 0;
        for _ in 0..100 {
            let share = shares.0.get_mut(&id).unwrap();
            share.of += 1;
            if shares.lets(&id, 2, &live) {
                shares.0.get_mut(&id).unwrap().given += 1;
                given += 1;
            }
            assert!(shares.lets(&id, 1, &live), "the others always may");
        }
        assert!((19..=21).contains(&given), "{given}");
        endpoint.roll_to(2, 1, Timestamp(1));
        shares.set(&endpoint);
        assert!(shares.lets(&id, 2, &live), "it is no canary any more");
    }
}
