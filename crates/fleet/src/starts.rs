//! New workers: where there is room, one at a time after failures, and what becomes of a start that fails.

use runyard_domain::placement::{Placement, place};
use runyard_domain::start::Seen;
use runyard_domain::worker::WorkerState;
use runyard_domain::{
    Endpoint, EndpointId, Gpus, Release, Timestamp, WaitReason, WorkerId, WorkerRecord, gpu,
};
use runyard_engine::Presence;
use runyard_runtime::{StartPhase, Stop, Whose, WorkerSpec};

use crate::exits::unknown_exit;
use crate::spec::worker_spec;
use crate::state::Managed;
use crate::stops::KILL_AGAIN_MS;
use crate::{Fleet, FleetError};

/// After a start that could not even begin (the disk is full, the agent is away), the next try.
const START_AGAIN_MS: i64 = 2_000;

impl Fleet {
    /// Starts up to `count` workers; says how many it did.
    pub(crate) async fn start_some(
        &self,
        endpoint: &Endpoint,
        serving: u32,
        count: u32,
        cause: &str,
        now: Timestamp,
    ) -> u32 {
        let wanted_gpus = self.gpus_of(endpoint, serving);
        let room_is_kept = !wanted_gpus.is_none() && self.state().tests_waiting > 0;
        if room_is_kept {
            let reason = self.no_gpu_free(&wanted_gpus, &[]);
            self.state().yard(&endpoint.id).no_gpu = Some(reason);
            return 0;
        }
        let failing = {
            let mut state = self.state();
            let yard = state.yard(&endpoint.id);
            if let Some(until) = yard.paused_until(now) {
                yard.look_at = Some(until);
                return 0;
            }
            yard.breaker.failures > 0
        };
        // After a failure one start at a time, until one succeeds.
        let starting = self.supply(endpoint).starting;
        let count = if failing { u32::from(starting == 0) } else { count };
        let mut started = 0;
        while started < count {
            // One of them may have failed already.
            let paused = self.state().yard(&endpoint.id).paused_until(self.now());
            if let Some(until) = paused {
                self.state().yard(&endpoint.id).look_at = Some(until);
                return 0;
            }
            match self.start_placed(endpoint, serving, cause, false).await {
                Ok(Some(_)) => started += 1,
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(endpoint.id = %endpoint.id, %error, "a worker could not be started");
                    self.state().yard(&endpoint.id).look_at = Some(now.plus(START_AGAIN_MS));
                    // Looked at then, and not before because of those that were started.
                    return 0;
                }
            }
        }
        started
    }

    pub(crate) fn gpus_of(&self, endpoint: &Endpoint, release: u32) -> Gpus {
        let release = self.release(&endpoint.id, release);
        release.map_or_else(|| endpoint.settings.gpus.clone(), |r| r.gpus.clone())
    }

    /// Starts a worker where there is room; `None` where there is none yet (others may have to yield first).
    pub(crate) async fn start_placed(
        &self,
        endpoint: &Endpoint,
        release: u32,
        cause: &str,
        test: bool,
    ) -> Result<Option<WorkerId>, FleetError> {
        let wanted = self.gpus_of(endpoint, release);
        let placing = self.inner.placing.lock().await;
        let placement = self.placement(endpoint, &wanted);
        let (reason, yielding) = match placement {
            Placement::On(gpus) => {
                self.state().yard(&endpoint.id).no_gpu = None;
                return self.start_worker(endpoint, release, cause, test, gpus).await.map(Some);
            }
            Placement::AfterYield(workers) => (self.no_gpu_free(&wanted, &[]), workers),
            Placement::WaitForLeaving => (self.no_gpu_free(&wanted, &[]), Vec::new()),
            Placement::Full { holders } => (self.no_gpu_free(&wanted, &holders), Vec::new()),
            Placement::Never => (self.no_gpu_matches(&wanted), Vec::new()),
        };
        drop(placing);
        self.state().yard(&endpoint.id).no_gpu = Some(reason);
        for worker in yielding {
            self.drain(&worker, "its GPU is needed by another endpoint", false).await;
        }
        Ok(None)
    }

    pub(crate) fn no_gpu_matches(&self, wanted: &Gpus) -> WaitReason {
        WaitReason::NoGpuMatches { asked: wanted.words(), there: gpu::describe(self.gpus()) }
    }

    fn no_gpu_free(&self, wanted: &Gpus, holders: &[EndpointId]) -> WaitReason {
        let mut holders: Vec<EndpointId> = holders.to_vec();
        if holders.is_empty() {
            let state = self.state();
            let fit: Vec<u32> = wanted.groups(self.gpus()).concat();
            let held = state.workers.values().filter(|w| w.record.gpus.iter().any(|gpu| fit.contains(gpu)));
            holders = held.map(|w| w.record.endpoint.clone()).collect();
            holders.sort();
            holders.dedup();
        }
        let name = |id: &EndpointId| {
            self.inner.engine.endpoint_by_id(id).map_or_else(|| id.to_string(), |e| e.name.clone())
        };
        WaitReason::NoGpuFree { asked: wanted.words(), holders: holders.iter().map(name).collect() }
    }

    pub(crate) fn placement(&self, endpoint: &Endpoint, wanted: &Gpus) -> Placement {
        let idle = |worker: &WorkerId| match self.presence(worker) {
            Some(Presence::Idle(since)) => Some(since),
            _ => None,
        };
        // How many workers each endpoint could do without.
        let spare = |id: &EndpointId| {
            let Some(e) = self.inner.engine.endpoint_by_id(id) else { return u32::MAX };
            let supply = self.supply(&e);
            let have = supply.starting + supply.busy + supply.idle_since.len() as u32;
            have.saturating_sub(e.settings.workers_min)
        };
        let ids: Vec<EndpointId> = self.state().yards.keys().cloned().collect();
        let spares = ids.into_iter().map(|id| (id.clone(), spare(&id))).collect();
        let flash_boot = |id: &EndpointId| {
            self.inner
                .engine
                .endpoint_by_id(id)
                .map(|endpoint| endpoint.settings.flash_boot)
                .unwrap_or_default()
        };
        let held = self.state().held(idle, flash_boot, spares);
        place(self.gpus(), &held, &endpoint.id, wanted)
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
            start: Seen::default(),
            ended_at: None,
            pid: None,
            exit: None,
            stop_cause: None,
            sdk: None,
        };
        let url = self.inner.runtime.worker_url().await?;
        let image = release.launch.as_ref().and_then(|launch| launch.image.as_ref());
        // What was built here has no registry.
        let pulled = image.filter(|image| image.digest.is_some());
        let login = pulled
            .and_then(|image| self.inner.engine.login_of_release(&image.name, image.registry.as_deref()));
        let spec = worker_spec(endpoint, &release, &record, token, &url, &self.inner.machine, login)
            .ok_or(FleetError::NotServable(number, "its environment was never prepared"))?;
        let managed = Managed {
            record: record.clone(),
            began: self.awake(),
            kill_at: None,
            at_once: false,
            told_to_end: false,
            not_its_fault: false,
            launch_failed: None,
            unfit: None,
            wanted_gone: false,
            start_timed_out: false,
            test,
            start_timeout_s: test.then_some(endpoint.settings.start_timeout_s),
            launched: false,
            phase: spec.image.is_some().then_some(StartPhase::Resolving),
        };
        self.state().workers.insert(record.id.clone(), managed);
        if let Err(error) = self.inner.engine.put_worker(record.clone()).await {
            self.state().workers.remove(&record.id);
            return Err(error.into());
        }
        self.inner.engine.vault().admit_worker(&record);
        self.inner.engine.register_worker(&record.id, &record.endpoint, number, None);
        tracing::info!(worker.id = %record.id, endpoint.id = %record.endpoint, release = number, cause, "starting a worker");
        let fleet = self.clone();
        let id = record.id.clone();
        tokio::spawn(async move { fleet.launch(spec, &release, id).await });
        Ok(record.id)
    }

    async fn launch(&self, mut spec: WorkerSpec, release: &Release, id: WorkerId) {
        if let Err(fault) = self.fill(release, &mut spec) {
            return self.end_unfilled(&id, fault).await;
        }
        match self.inner.runtime.start(spec).await {
            Ok(pid) => {
                let draining = {
                    let mut state = self.state();
                    state.runtime_dirty = true;
                    let Some(managed) = state.workers.get_mut(&id) else { return };
                    managed.launched = true;
                    if pid != 0 {
                        managed.record.pid = Some(pid);
                        managed.record.started_at = Some(self.now());
                    }
                    self.save(managed.record.clone());
                    managed.record.state == WorkerState::Draining
                };
                if draining {
                    let _ = self.inner.runtime.stop(&id, Stop::Term).await;
                }
            }
            Err(error) => {
                tracing::warn!(worker.id = %id, %error, "a worker could not be started");
                if let Some(managed) = self.state().workers.get_mut(&id) {
                    managed.not_its_fault = matches!(error.whose, Whose::Ours | Whose::Engine);
                    managed.launch_failed = Some(error.to_string()).filter(|_| !managed.wanted_gone);
                }
                self.end_failed_launch(&id).await;
            }
        }
        self.inner.wake.notify_one();
    }

    /// A start that failed may have been none: its answer was lost. What it was given (GPUs) stays its own until
    /// it is seen that it is not there.
    async fn end_failed_launch(&self, id: &WorkerId) {
        let _ = self.inner.runtime.stop(id, Stop::Kill).await;
        let gone = match self.inner.runtime.list().await {
            Ok(observed) => !observed.iter().any(|o| o.id == *id),
            Err(_) => false,
        };
        if gone {
            return self.worker_ended(id, Some(unknown_exit())).await;
        }
        let again = self.awake().plus(KILL_AGAIN_MS);
        let mut state = self.state();
        state.runtime_dirty = true;
        if let Some(managed) = state.workers.get_mut(id) {
            managed.launched = true;
            managed.kill_at = Some(again);
        }
    }
}
