//! Which release gets traffic: promotions, canaries and ways back. One write of the endpoint's record moves it, and
//! the reconciler does the rest ([`crate::rolling`]), also after a restart.

use std::time::Duration;

use runyard_domain::rollout::Stage;
use runyard_domain::worker::WorkerState;
use runyard_domain::{Endpoint, EndpointId, ReleaseState, Rollout};

use crate::state::{Breaker, Managed};
use crate::{Fleet, FleetError};

/// Why a worker is drained to make room for the test of a release.
pub(crate) const MAKES_ROOM: &str = "its GPU is needed to test a new release";

impl Fleet {
    /// Moves traffic to a release that is ready, worker by worker. The one that ran its tests stays.
    pub async fn promote(&self, id: &EndpointId, number: u32) -> Result<(), FleetError> {
        self.promote_with(id, number, |_| ()).await
    }

    /// The same, and in the same write what else changes of the endpoint.
    pub async fn promote_with(
        &self,
        id: &EndpointId,
        number: u32,
        change: impl FnOnce(&mut Endpoint),
    ) -> Result<(), FleetError> {
        let endpoint = self.endpoint(id)?;
        self.servable(id, number)?;
        let (goal, now) = (self.goal(&endpoint), self.now());
        let turn = |endpoint: &mut Endpoint| {
            change(endpoint);
            endpoint.roll_to(number, goal, now);
        };
        self.inner.engine.change_endpoint(id, turn).await?;
        self.open(id, number, true);
        Ok(())
    }

    /// Gives a release that is ready a share of the jobs, of a hundred, and changes what else does in the same write.
    pub async fn canary(
        &self,
        id: &EndpointId,
        number: u32,
        percent: u32,
        change: impl FnOnce(&mut Endpoint),
    ) -> Result<(), FleetError> {
        let endpoint = self.endpoint(id)?;
        self.servable(id, number)?;
        if endpoint.serving.is_none_or(|serving| serving == number) {
            return self.promote_with(id, number, change).await;
        }
        if endpoint.rollout.as_ref().is_some_and(|rollout| rollout.replaces() && !rollout.from.is_empty()) {
            return Err(FleetError::NotServable(number, "the rollout before it is still replacing workers"));
        }
        let now = self.now();
        let turn = |endpoint: &mut Endpoint| {
            change(endpoint);
            endpoint.try_canary(number, percent, now);
        };
        self.inner.engine.change_endpoint(id, turn).await?;
        self.open(id, number, false);
        Ok(())
    }

    /// Moves traffic to a release that served before, at once: `bad` takes nothing more, and `why` is remembered.
    pub async fn go_back(&self, id: &EndpointId, to: u32, bad: u32, why: &str) -> Result<(), FleetError> {
        let endpoint = self.endpoint(id)?;
        self.servable(id, to)?;
        let (goal, now) = (self.goal(&endpoint), self.now());
        self.inner.engine.change_endpoint(id, |endpoint| endpoint.go_back(to, bad, why, goal, now)).await?;
        self.open(id, to, endpoint.serving != Some(to));
        Ok(())
    }

    fn endpoint(&self, id: &EndpointId) -> Result<std::sync::Arc<Endpoint>, FleetError> {
        self.inner.engine.endpoint_by_id(id).ok_or_else(|| FleetError::NoSuchEndpoint(id.clone()))
    }

    fn servable(&self, id: &EndpointId, number: u32) -> Result<(), FleetError> {
        let release =
            self.release(id, number).ok_or(FleetError::NotServable(number, "there is no such release"))?;
        if !matches!(release.state, ReleaseState::Ready | ReleaseState::Testing) || release.launch.is_none() {
            return Err(FleetError::NotServable(number, "it never passed its tests"));
        }
        Ok(())
    }

    /// How many workers serve now, with one that made room for the test.
    fn goal(&self, endpoint: &Endpoint) -> u32 {
        let state = self.state();
        let serves = |w: &&Managed| {
            endpoint.serves(w.record.release)
                && (w.record.state != WorkerState::Draining
                    || w.record.stop_cause.as_deref() == Some(MAKES_ROOM))
        };
        state.of(&endpoint.id).filter(serves).count() as u32
    }

    /// Workers of a release take traffic from now on, and what was held against it is forgotten; where another one
    /// `serves` now, that goes for the whole endpoint.
    fn open(&self, id: &EndpointId, number: u32, serves: bool) {
        {
            let mut state = self.state();
            for worker in state.workers.values_mut() {
                if worker.record.endpoint == *id && worker.record.release == number {
                    worker.test = false;
                }
            }
            let yard = state.yard(id);
            if serves {
                yard.breaker = Breaker::default();
                yard.crashes = Breaker::default();
            }
            yard.canary = Breaker::default();
            yard.crashed.remove(&number);
            yard.watch = None;
        }
        self.nudge(id);
    }

    /// Drops what is remembered of a release, so that its changed record is read anew.
    pub fn release_changed(&self, id: &EndpointId, number: u32) {
        let mut releases = self.inner.releases.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        releases.remove(&(id.clone(), number));
    }

    /// Follows the rollout to a release, up to `limit`; `on_progress` hears how far it is whenever that changed.
    pub async fn follow(
        &self,
        id: &EndpointId,
        number: u32,
        limit: Duration,
        mut on_progress: impl FnMut(Progress),
    ) -> Followed {
        let deadline = tokio::time::Instant::now() + limit;
        let mut told = None;
        loop {
            let changed = self.inner.workers_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let endpoint = self.inner.engine.endpoint_by_id(id);
            let Some(endpoint) = endpoint.filter(|endpoint| endpoint.serving == Some(number)) else {
                let gone = self.inner.engine.endpoint_by_id(id);
                let why = gone.and_then(|endpoint| endpoint.withdrawn(number).map(|gone| gone.why.clone()));
                return Followed::Returned {
                    why: why.unwrap_or_else(|| "another release serves".to_owned()),
                };
            };
            let left = self.state().of(id).filter(|w| w.record.release != number && !w.test).count();
            if left == 0 && !endpoint.rollout.as_ref().is_some_and(Rollout::replaces) {
                return Followed::Replaced;
            }
            let progress = self.progress(&endpoint);
            if told.replace(progress) != Some(progress) {
                on_progress(progress);
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Followed::Going { left };
            }
        }
    }

    /// How far an endpoint's rollout is.
    pub fn progress(&self, endpoint: &Endpoint) -> Progress {
        let latest = endpoint.rollout.as_ref().map(|rollout| rollout.to).or(endpoint.serving);
        let state = self.state();
        let (mut workers_total, mut workers_on_latest) = (0, 0);
        for worker in state.of(&endpoint.id).filter(|w| !w.test) {
            workers_total += 1;
            let takes = worker.record.state != WorkerState::Draining;
            workers_on_latest += u32::from(takes && Some(worker.record.release) == latest);
        }
        let in_progress = endpoint.rollout.as_ref().is_some_and(|rollout| rollout.stage != Stage::Watched);
        Progress { in_progress, latest, workers_on_latest, workers_total }
    }
}

/// Where a rollout was when it was no longer followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// No worker of another release is left.
    Replaced,
    /// So many workers of other releases are.
    Going {
        /// How many.
        left: usize,
    },
    /// Traffic went back.
    Returned {
        /// Why.
        why: String,
    },
}

/// How far a rollout is, as RunPod counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Workers are replaced, or a canary is tried.
    pub in_progress: bool,
    /// The release that comes, or serves.
    pub latest: Option<u32>,
    /// Workers of it that take jobs.
    pub workers_on_latest: u32,
    /// All workers that are there, those on their way out too.
    pub workers_total: u32,
}

impl Progress {
    /// Of a hundred; everything where there are no workers.
    pub fn percent(&self) -> u32 {
        (self.workers_on_latest * 100).checked_div(self.workers_total).unwrap_or(100)
    }
}
