//! One endpoint, one step: from the scaler's plan to starts and drains.

use runyard_domain::placement::Placement;
use runyard_domain::scaling::{self, Plan, Supply};
use runyard_domain::worker::WorkerState;
use runyard_domain::{Endpoint, EndpointId, Timestamp, WorkerId};
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
        self.drain_outdated(&endpoint, serving).await;
        let now = self.now();
        let supply = self.supply(id, serving);
        let depth = (endpoint.settings.workers_max * endpoint.settings.concurrency) as usize + 1;
        let demand = self.inner.engine.snapshot(id, depth).demand;
        let plan = scaling::plan(&endpoint.settings, &demand, &supply, now);
        let plan = self.with_fresh_one(&endpoint, serving, &supply, plan);
        self.state().yard(id).look_at = plan.look_again.filter(|at| *at > now);
        for worker in self.longest_idle(id, serving, plan.stop_idle) {
            self.drain(&worker, "it was idle", false).await;
        }
        for worker in self.to_drain(id, serving, plan.drain) {
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
    }

    /// Adds a worker where jobs wait that every present one had before and does not get again; where no more
    /// are allowed, or have a GPU, an idle one goes for it.
    fn with_fresh_one(&self, endpoint: &Endpoint, serving: u32, supply: &Supply, mut plan: Plan) -> Plan {
        let workers: Vec<WorkerId> = {
            let state = self.state();
            let there = state.of(&endpoint.id).filter(|w| w.record.release == serving);
            let takes = there.filter(|w| w.record.state != WorkerState::Draining);
            takes.map(|w| w.record.id.clone()).collect()
        };
        let quiet = plan.start == 0 && plan.stop_idle == 0 && plan.drain == 0;
        if !quiet || workers.is_empty() || self.inner.engine.fenced_out(&endpoint.id, &workers) == 0 {
            return plan;
        }
        let have = workers.len() as u32;
        let gpus = self.gpus_of(endpoint, serving);
        let room = !matches!(self.placement(endpoint, gpus), Placement::Full { .. });
        if have < endpoint.settings.workers_max && room {
            plan.start = 1;
        } else {
            plan.stop_idle = u32::from(!supply.idle_since.is_empty());
        }
        plan
    }

    /// Workers of the serving release as the scaler sees them.
    pub(crate) fn supply(&self, id: &EndpointId, serving: u32) -> Supply {
        let mut supply = Supply::default();
        let state = self.state();
        for worker in state.of(id).filter(|w| w.record.release == serving) {
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

    fn longest_idle(&self, id: &EndpointId, serving: u32, count: u32) -> Vec<WorkerId> {
        let state = self.state();
        let mut idle: Vec<(Timestamp, WorkerId)> = state
            .of(id)
            .filter(|w| w.record.release == serving && w.record.state != WorkerState::Draining)
            .filter_map(|w| match self.presence(&w.record.id) {
                Some(Presence::Idle(since)) => Some((since, w.record.id.clone())),
                _ => None,
            })
            .collect();
        idle.sort();
        idle.into_iter().take(count as usize).map(|(_, id)| id).collect()
    }

    /// Surplus workers that are not idle: starting ones first.
    fn to_drain(&self, id: &EndpointId, serving: u32, count: u32) -> Vec<WorkerId> {
        let state = self.state();
        let mut found: Vec<(bool, WorkerId)> = state
            .of(id)
            .filter(|w| w.record.release == serving && w.record.state != WorkerState::Draining)
            .map(|w| (w.record.state != WorkerState::Starting, w.record.id.clone()))
            .collect();
        found.sort();
        found.into_iter().take(count as usize).map(|(_, id)| id).collect()
    }

    /// Workers of releases that do not serve any more, tests apart: idle ones at once, busy ones after their
    /// job (a draining worker finishes what it has).
    async fn drain_outdated(&self, endpoint: &Endpoint, serving: u32) {
        let outdated: Vec<WorkerId> = self
            .state()
            .of(&endpoint.id)
            .filter(|w| w.record.release != serving && !w.test && w.record.state != WorkerState::Draining)
            .map(|w| w.record.id.clone())
            .collect();
        for worker in outdated {
            self.drain(&worker, "another release serves", false).await;
        }
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
