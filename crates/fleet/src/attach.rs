//! The first look after a start: workers that the agent kept are taken over with their jobs, those that are
//! gone are settled, those that nobody knows are ended.

use std::collections::HashSet;

use runyard_domain::job::Loss;
use runyard_domain::rollout::Traffic;
use runyard_domain::worker::WorkerState;
use runyard_domain::{FailReason, JobId, Phase, WorkerId};
use runyard_engine::EngineError;
use runyard_runtime::Stop;
use runyard_store::Which;

use crate::state::Managed;
use crate::{Fleet, FleetError};

/// Records of ended workers whose tokens still let late results in.
const REMEMBERED: usize = 2_000;

impl Fleet {
    /// Takes over what is there. Must be done before workers can reach the server.
    pub async fn attach(&self) -> Result<(), FleetError> {
        let engine = &self.inner.engine;
        let observed = self.inner.runtime.list().await?;
        let records = engine.reader().workers(None, REMEMBERED).map_err(EngineError::from)?;
        for record in records.iter().rev().filter(|record| engine.endpoint_by_id(&record.endpoint).is_some())
        {
            self.state().yard(&record.endpoint).starts.note(record);
        }
        let mut known: HashSet<WorkerId> = HashSet::new();
        for record in records {
            engine.vault().admit_worker(&record);
            known.insert(record.id.clone());
            if record.state == WorkerState::Gone {
                continue;
            }
            let seen = observed.iter().find(|o| o.id == record.id);
            let id = record.id.clone();
            let draining = record.state == WorkerState::Draining;
            engine.register_worker(&id, &record.endpoint, record.release, record.ready_at);
            // A test does not survive its deploy, which died with the server; a rollout goes on.
            let endpoint = engine.endpoint_by_id(&record.endpoint);
            let test = endpoint.is_none_or(|e| e.traffic(record.release) == Traffic::Nothing);
            let managed = Managed {
                began: self.began_earlier(&record),
                record,
                kill_at: None,
                at_once: false,
                told_to_end: false,
                not_its_fault: false,
                launch_failed: None,
                unfit: None,
                wanted_gone: draining,
                start_timed_out: false,
                test: false,
                start_timeout_s: None,
                launched: true,
                phase: None,
            };
            self.state().workers.insert(id.clone(), managed);
            match seen {
                Some(worker) if worker.ended_at.is_none() => {
                    let holds: Vec<JobId> = worker.holds.iter().chain(&worker.spooled).cloned().collect();
                    let back = engine.reconcile(&id, &holds).await?;
                    tracing::info!(worker.id = %id, jobs = holds.len(), given_back = back.len(), "took over a worker");
                    self.stop_ended(&id, &worker.holds)?;
                    engine.resume_list(&id);
                    if draining || test {
                        self.state()
                            .workers
                            .entry(id.clone())
                            .and_modify(|w| w.record.state = WorkerState::Ready);
                        self.drain(&id, "it was on its way out before the restart", false).await;
                    }
                }
                Some(_) => {} // `run` looks at exits first.
                None => self.worker_ended(&id, None).await,
            }
        }
        for worker in observed.iter().filter(|o| o.ended_at.is_none() && !known.contains(&o.id)) {
            tracing::warn!(worker.id = %worker.id, "ending a worker that nobody knows");
            self.inner.runtime.stop(&worker.id, Stop::Kill).await?;
        }
        self.settle_jobs_without_worker(&known).await?;
        self.end_tests_without_deploy().await
    }

    /// Jobs that ended while a worker went on with them and nobody could tell it.
    fn stop_ended(&self, worker: &WorkerId, holds: &[JobId]) -> Result<(), FleetError> {
        for job in holds {
            if self.inner.engine.job(job)?.is_none_or(|job| job.is_done()) {
                self.inner.engine.order_stop(worker, job);
                self.check_stop(worker, job);
            }
        }
        Ok(())
    }

    /// Tests belonged to deploys that ended with the server: nobody waits for them, and no other worker of their
    /// release will come.
    async fn end_tests_without_deploy(&self) -> Result<(), FleetError> {
        let engine = &self.inner.engine;
        let live = engine.reader().live().map_err(EngineError::from)?;
        let caller = engine.vault().local_caller();
        for job in live {
            if job.pinned.is_some() {
                match engine.cancel(&caller, &job.id).await {
                    // Its worker answered meanwhile.
                    Err(EngineError::Refused { .. }) => {}
                    cancelled => drop(cancelled?),
                }
            }
        }
        Ok(())
    }

    async fn settle_jobs_without_worker(&self, known: &HashSet<WorkerId>) -> Result<(), FleetError> {
        let live = self.inner.engine.reader().live().map_err(EngineError::from)?;
        for job in live {
            let Phase::Running { worker, .. } = &job.phase else { continue };
            let managed = self.state().workers.contains_key(worker);
            if managed {
                continue;
            }
            let reason = FailReason::WorkerLost { exit: None, attempts: 0 };
            tracing::warn!(job.id = %job.id, worker.id = %worker, known = known.contains(worker), "a job's worker is gone");
            let loss = Loss { reason, spends: false };
            self.inner.engine.lose(worker, Which::Jobs(vec![job.id.clone()]), loss).await?;
        }
        Ok(())
    }
}
