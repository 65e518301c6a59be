//! One endpoint, one step: from the scaler's plan to starts and drains.

use runyard_domain::placement::{Placement, place};
use runyard_domain::scaling::{self, Supply};
use runyard_domain::worker::WorkerState;
use runyard_domain::{Endpoint, EndpointId, Exit, Timestamp, WaitReason, WorkerId, WorkerRecord};
use runyard_engine::Presence;
use runyard_runtime::Stop;

use crate::spec::worker_spec;
use crate::state::Managed;
use crate::{Fleet, FleetError};

impl Fleet {
    /// Brings an endpoint one step nearer to what it should have.
    pub(crate) async fn reconcile(&self, id: &EndpointId) {
        let Some(endpoint) = self.inner.engine.endpoint_by_id(id) else {
            self.drain_all(id, "the endpoint was removed").await;
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
        self.state().yard(id).look_at = plan.look_again.filter(|at| *at > now);
        for worker in self.longest_idle(id, serving, plan.stop_idle) {
            self.drain(&worker, "it was idle", false).await;
        }
        for worker in self.to_drain(id, serving, plan.drain) {
            self.drain(&worker, "fewer workers are allowed", false).await;
        }
        if plan.start > 0 {
            self.start_some(&endpoint, serving, plan.start, now).await;
        } else {
            self.state().yard(id).no_gpu = None;
        }
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

    /// Drains every worker of an endpoint; says how many.
    pub(crate) async fn drain_all(&self, id: &EndpointId, cause: &str) -> usize {
        let all: Vec<WorkerId> = self
            .state()
            .of(id)
            .filter(|w| w.record.state != WorkerState::Draining)
            .map(|w| w.record.id.clone())
            .collect();
        for worker in &all {
            self.drain(worker, cause, false).await;
        }
        all.len()
    }

    async fn start_some(&self, endpoint: &Endpoint, serving: u32, count: u32, now: Timestamp) {
        {
            let mut state = self.state();
            let tests_waiting = state.tests_waiting;
            let yard = state.yard(&endpoint.id);
            if yard.breaker.is_open(now) {
                yard.look_at = yard.breaker.retry_at;
                return;
            }
            if endpoint.settings.gpus > 0 && tests_waiting > 0 {
                return;
            }
        }
        // After a failure one start at a time, until one succeeds.
        let failing = self.state().yard(&endpoint.id).breaker.failures > 0;
        let starting = self.supply(&endpoint.id, serving).starting;
        let count = if failing { u32::from(starting == 0) } else { count };
        for _ in 0..count {
            match self.start_placed(endpoint, serving, "queue", false).await {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(endpoint.id = %endpoint.id, %error, "a worker could not be started");
                    break;
                }
            }
        }
    }

    /// Starts a worker where there is room; `None` where there is none yet (others may have to yield first).
    pub(crate) async fn start_placed(
        &self,
        endpoint: &Endpoint,
        release: u32,
        cause: &str,
        test: bool,
    ) -> Result<Option<WorkerId>, FleetError> {
        let wanted = self.release(&endpoint.id, release).map_or(endpoint.settings.gpus, |r| r.gpus);
        let placement = self.placement(endpoint, wanted);
        let (reason, yielding) = match placement {
            Placement::On(gpus) => {
                self.state().yard(&endpoint.id).no_gpu = None;
                return self.start_worker(endpoint, release, cause, test, gpus).await.map(Some);
            }
            Placement::AfterYield(workers) => (self.no_gpu_free(wanted, &[]), workers),
            Placement::WaitForLeaving => (self.no_gpu_free(wanted, &[]), Vec::new()),
            Placement::Full { holders } => (self.no_gpu_free(wanted, &holders), Vec::new()),
            Placement::Never { have } => (WaitReason::NoGpuMatches { wanted, have }, Vec::new()),
        };
        self.state().yard(&endpoint.id).no_gpu = Some(reason);
        for worker in yielding {
            self.drain(&worker, "its GPU is needed by another endpoint", false).await;
        }
        Ok(None)
    }

    fn no_gpu_free(&self, wanted: u32, holders: &[EndpointId]) -> WaitReason {
        let mut holders: Vec<EndpointId> = holders.to_vec();
        if holders.is_empty() {
            let state = self.state();
            let held = state.workers.values().filter(|w| !w.record.gpus.is_empty());
            holders = held.map(|w| w.record.endpoint.clone()).collect();
            holders.sort();
            holders.dedup();
        }
        let name = |id: &EndpointId| {
            self.inner.engine.endpoint_by_id(id).map_or_else(|| id.to_string(), |e| e.name.clone())
        };
        WaitReason::NoGpuFree { wanted, holders: holders.iter().map(name).collect() }
    }

    pub(crate) fn placement(&self, endpoint: &Endpoint, wanted: u32) -> Placement {
        let idle = |worker: &WorkerId| match self.presence(worker) {
            Some(Presence::Idle(since)) => Some(since),
            _ => None,
        };
        let spare = |id: &EndpointId| {
            let Some(e) = self.inner.engine.endpoint_by_id(id) else { return true };
            let supply = e.serving.map_or_else(Supply::default, |serving| self.supply_of(&e.id, serving));
            supply.starting + supply.busy + supply.idle_since.len() as u32 > e.settings.workers_min
        };
        let ids: Vec<EndpointId> = self.state().yards.keys().cloned().collect();
        let spares: std::collections::HashMap<EndpointId, bool> =
            ids.into_iter().map(|id| (id.clone(), spare(&id))).collect();
        let held = self.state().held(idle, |id| spares.get(id).copied().unwrap_or(true));
        place(self.inner.machine.gpus, &held, &endpoint.id, wanted)
    }

    fn supply_of(&self, id: &EndpointId, serving: u32) -> Supply {
        self.supply(id, serving)
    }

    async fn start_worker(
        &self,
        endpoint: &Endpoint,
        number: u32,
        cause: &str,
        test: bool,
        gpus: Vec<u32>,
    ) -> Result<WorkerId, FleetError> {
        let release = self
            .release(&endpoint.id, number)
            .ok_or(FleetError::NotServable(number, "there is no such release"))?;
        let (token, token_hash) = self.inner.engine.vault().make_token();
        let now = self.now();
        let record = WorkerRecord {
            id: self.inner.engine.env().worker_id(),
            endpoint: endpoint.id.clone(),
            release: number,
            token_hash,
            state: WorkerState::Starting,
            cause: cause.to_owned(),
            gpus,
            created_at: now,
            started_at: None,
            ready_at: None,
            ended_at: None,
            pid: None,
            exit: None,
            stop_cause: None,
            sdk: None,
        };
        let url = self.inner.runtime.worker_url().await?;
        let spec = worker_spec(endpoint, &release, &record, token, &url, &self.inner.machine)
            .ok_or(FleetError::NotServable(number, "its environment was never prepared"))?;
        let managed = Managed {
            record: record.clone(),
            kill_at: None,
            wanted_gone: false,
            start_timed_out: false,
            test,
            start_timeout_s: test.then_some(endpoint.settings.start_timeout_s),
            launched: false,
        };
        self.state().workers.insert(record.id.clone(), managed);
        self.inner.engine.put_worker(record.clone()).await?;
        self.inner.engine.vault().admit_worker(&record);
        self.inner.engine.register_worker(&record.id, &record.endpoint, number, None);
        tracing::info!(worker.id = %record.id, endpoint.id = %record.endpoint, release = number, cause, "starting a worker");
        let fleet = self.clone();
        let id = record.id.clone();
        tokio::spawn(async move { fleet.launch(spec, id).await });
        Ok(record.id)
    }

    async fn launch(&self, spec: runyard_runtime::WorkerSpec, id: WorkerId) {
        match self.inner.runtime.start(spec).await {
            Ok(pid) => {
                let record = {
                    let mut state = self.state();
                    state.runtime_dirty = true;
                    let Some(managed) = state.workers.get_mut(&id) else { return };
                    managed.launched = true;
                    managed.record.pid = Some(pid);
                    managed.record.started_at = Some(self.now());
                    managed.record.clone()
                };
                if record.state == WorkerState::Draining {
                    let _ = self.inner.runtime.stop(&id, Stop::Term).await;
                }
                self.save(record);
            }
            Err(error) => {
                tracing::warn!(worker.id = %id, %error, "a worker could not be started");
                let exit = Exit {
                    code: None,
                    signal: None,
                    out_of_memory: false,
                    last_lines: vec![error.to_string()],
                };
                self.worker_ended(&id, Some(exit), &[]).await;
            }
        }
        self.inner.wake.notify_one();
    }
}
