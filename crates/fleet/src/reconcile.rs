//! One endpoint, one step: from the scaler's plan to starts and drains.

use runyard_domain::placement::Placement;
use runyard_domain::scaling::{self, Plan, Supply};
use runyard_domain::worker::WorkerState;
use runyard_domain::{Endpoint, EndpointId, Rollout, Timestamp, WorkerId};
use runyard_engine::Presence;

use crate::Fleet;

impl Fleet {
    /// Brings an endpoint one step nearer to what it should have.
    pub(crate) async fn reconcile(&self, id: &EndpointId) {
        let Some(endpoint) = self.inner.engine.endpoint_by_id(id) else {
            self.drain_all(id, "the endpoint was removed", true).await;
            let mut state = self.state();
            if state.of(id).next().is_none() {
                state.yards.remove(id);
            }
            return;
        };
        let Some(serving) = endpoint.serving else { return };
        if self.state().closed {
            return;
        }
        self.drain_outdated(&endpoint).await;
        let now = self.now();
        let supply = self.supply(&endpoint);
        let depth = (endpoint.settings.workers_max * endpoint.settings.concurrency) as usize + 1;
        let demand = self.inner.engine.snapshot(id, depth).demand;
        let plan = scaling::plan(&endpoint.settings, &demand, &supply, now);
        let plan = self.with_fresh_one(&endpoint, serving, &supply, plan);
        let plan = with_surge(&endpoint, &supply, plan);
        self.state().yard(id).look_at = plan.look_again.filter(|at| *at > now);
        for worker in self.longest_idle(&endpoint, plan.stop_idle) {
            self.drain(&worker, "it was idle", false).await;
        }
        for worker in self.to_drain(&endpoint, plan.drain) {
            self.drain(&worker, "fewer workers are allowed", false).await;
        }
        if plan.start > 0 {
            let cause = if demand.waiting + demand.running == 0 { "min" } else { "queue" };
            let started = self.start_some(&endpoint, serving, plan.start, cause, now).await;
            if started > 0 {
                // The plan with these workers says when more are needed.
                self.nudge(id);
            }
        } else {
            self.state().yard(id).no_gpu = None;
        }
        if let Some(rollout) = &endpoint.rollout
            && self.roll(&endpoint, rollout, now).await
        {
            self.nudge(id);
        }
    }

    /// Adds a worker where jobs wait that every present one had before and does not get again; where no more
    /// are allowed, or have a GPU, an idle one goes for it.
    fn with_fresh_one(&self, endpoint: &Endpoint, serving: u32, supply: &Supply, mut plan: Plan) -> Plan {
        let workers: Vec<WorkerId> = {
            let state = self.state();
            let there = state.of(&endpoint.id).filter(|w| endpoint.serves(w.record.release));
            let takes = there.filter(|w| w.record.state != WorkerState::Draining);
            takes.map(|w| w.record.id.clone()).collect()
        };
        let quiet = plan.start == 0 && plan.stop_idle == 0 && plan.drain == 0;
        if !quiet || workers.is_empty() || self.inner.engine.fenced_out(&endpoint.id, &workers) == 0 {
            return plan;
        }
        let have = workers.len() as u32;
        let gpus = self.gpus_of(endpoint, serving);
        let room = !matches!(self.placement(endpoint, &gpus), Placement::Full { .. });
        if have < endpoint.settings.workers_max && room {
            plan.start = 1;
        } else {
            plan.stop_idle = u32::from(!supply.idle_since.is_empty());
        }
        plan
    }

    /// Workers that take whatever waits, as the scaler sees them.
    pub(crate) fn supply(&self, endpoint: &Endpoint) -> Supply {
        let mut supply = Supply::default();
        let state = self.state();
        for worker in state.of(&endpoint.id).filter(|w| endpoint.serves(w.record.release)) {
            match (worker.record.state, self.presence(&worker.record.id)) {
                (WorkerState::Draining | WorkerState::Gone, _) => {}
                (_, Some(Presence::Busy)) => supply.busy += 1,
                (_, Some(Presence::Idle(since))) => supply.idle_since.push(since),
                (_, Some(Presence::Starting) | None) => supply.starting += 1,
            }
        }
        supply.idle_since.sort_unstable();
        supply
    }

    pub(crate) fn presence(&self, worker: &WorkerId) -> Option<Presence> {
        self.inner.engine.live_worker(worker).map(|live| live.presence)
    }

    /// The longest idle, those first that a rollout replaces.
    fn longest_idle(&self, endpoint: &Endpoint, count: u32) -> Vec<WorkerId> {
        let state = self.state();
        let mut idle: Vec<(bool, Timestamp, WorkerId)> = state
            .of(&endpoint.id)
            .filter(|w| endpoint.serves(w.record.release) && w.record.state != WorkerState::Draining)
            .filter_map(|w| match self.presence(&w.record.id) {
                Some(Presence::Idle(since)) => {
                    Some((endpoint.serving == Some(w.record.release), since, w.record.id.clone()))
                }
                _ => None,
            })
            .collect();
        idle.sort();
        idle.into_iter().take(count as usize).map(|(_, _, id)| id).collect()
    }

    /// Surplus workers that are not idle: starting ones first, of them those that a rollout replaces.
    fn to_drain(&self, endpoint: &Endpoint, count: u32) -> Vec<WorkerId> {
        let state = self.state();
        let mut found: Vec<(bool, bool, WorkerId)> = state
            .of(&endpoint.id)
            .filter(|w| endpoint.serves(w.record.release) && w.record.state != WorkerState::Draining)
            .map(|w| {
                let serves = endpoint.serving == Some(w.record.release);
                (w.record.state != WorkerState::Starting, serves, w.record.id.clone())
            })
            .collect();
        found.sort();
        found.into_iter().take(count as usize).map(|(_, _, id)| id).collect()
    }

    /// Drains every worker of an endpoint, those under test on demand; says how many.
    pub(crate) async fn drain_all(&self, id: &EndpointId, cause: &str, tests_too: bool) -> usize {
        let all: Vec<WorkerId> = self
            .state()
            .of(id)
            .filter(|w| w.record.state != WorkerState::Draining && (tests_too || !w.test))
            .map(|w| w.record.id.clone())
            .collect();
        for worker in &all {
            self.drain(worker, cause, false).await;
        }
        all.len()
    }
}

/// While workers are replaced there may be more than `workers_max`: the rollout itself looks after them.
fn with_surge(endpoint: &Endpoint, supply: &Supply, plan: Plan) -> Plan {
    let settings = &endpoint.settings;
    let have = supply.starting + supply.busy + supply.idle_since.len() as u32;
    let surge = settings.rollout.surge.up(settings.workers_max).max(1);
    let rolls = endpoint.rollout.as_ref().is_some_and(Rollout::replaces);
    if rolls && have > settings.workers_max && have <= settings.workers_max + surge {
        return Plan::default();
    }
    plan
}
