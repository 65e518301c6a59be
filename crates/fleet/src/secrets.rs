//! Values for variables: what a worker's variables refer to, and its release's secure ones, are opened as the worker is
//! started, and at no other time. A secret that is not there is a start that failed, with its name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use runyard_domain::image::Fault;
use runyard_domain::worker::WorkerState;
use runyard_domain::{EndpointId, Exit, Release, WorkerId, secret};
use runyard_runtime::WorkerSpec;

use crate::Fleet;
use crate::exits::unknown_exit;
use crate::spec::is_ours;
use crate::state::Breaker;

/// How long a restart, worker by worker, waits for one of them before it goes on with the next.
const PATIENCE: Duration = Duration::from_mins(10);

/// A deadline, so that a missed wake-up costs time and nothing else.
const LOOK: Duration = Duration::from_secs(5);

/// The names of the secrets that a release's variables refer to, with those variables.
pub fn secrets_of(release: &Release) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (variable, value) in &release.env {
        for name in secret::references(value) {
            found.entry(name.to_owned()).or_default().insert(variable.clone());
        }
    }
    found
}

impl Fleet {
    /// Puts the values into a worker's variables.
    pub(crate) fn fill(&self, release: &Release, spec: &mut WorkerSpec) -> Result<(), Fault> {
        let mut values = BTreeMap::new();
        for (name, variables) in secrets_of(release) {
            let Some(value) = self.open_secret(&name) else {
                let variable = variables.into_iter().next().unwrap_or_default();
                return Err(Fault::SecretMissing { variable, secret: Some(name) });
            };
            values.insert(name, value);
        }
        for (variable, value) in release.env.iter().filter(|(name, _)| !is_ours(name)) {
            if secret::references(value).next().is_some()
                && let Ok(filled) = secret::fill(value, |name| values.get(name).cloned())
            {
                spec.env.insert(variable.clone(), filled);
            }
        }
        spec.secrets.extend(values.values().cloned());
        for (variable, sealed) in release.secure_env.iter().filter(|(name, _)| !is_ours(name)) {
            let Some(value) = self.inner.engine.open_variable(&release.endpoint, variable, sealed) else {
                return Err(Fault::SecretMissing { variable: variable.clone(), secret: None });
            };
            spec.secrets.push(value.clone());
            spec.env.insert(variable.clone(), value);
        }
        self.inner.engine.note_secret_uses(values.into_keys().collect());
        Ok(())
    }

    fn open_secret(&self, name: &str) -> Option<String> {
        let record = self.inner.engine.reader().secret(name).ok().flatten()?;
        self.inner.engine.open_secret(&record)
    }

    /// A worker that could not be given its variables ends before it began.
    pub(crate) async fn end_unfilled(&self, id: &WorkerId, fault: Fault) {
        tracing::warn!(worker.id = %id, reason = fault.code(), "a worker was not started: {}", fault.sentence());
        let exit = Exit { fault: Some(Box::new(fault)), ..unknown_exit() };
        self.worker_ended(id, Some(exit)).await;
    }

    /// A secret is there now: endpoints whose workers did not start for want of one try again at once.
    pub fn secret_came(&self) {
        let mut state = self.state();
        let wants = |breaker: &Breaker| {
            let fault = breaker.last.as_ref().and_then(|failure| failure.exit.fault.as_deref());
            matches!(fault, Some(Fault::SecretMissing { .. }))
        };
        let mut again = Vec::new();
        for (endpoint, yard) in &mut state.yards {
            for breaker in [&mut yard.breaker, &mut yard.canary] {
                if wants(breaker) {
                    *breaker = Breaker::default();
                    again.push(endpoint.clone());
                }
            }
        }
        state.dirty.extend(again);
        drop(state);
        self.inner.wake.notify_one();
    }

    /// Replaces the workers of these releases one after the other, in the background: each finishes what it has, and
    /// the next one leaves when the one before is gone and no new one is still starting. Says how many there are.
    pub fn restart_rolling(&self, endpoint: &EndpointId, releases: &[u32], cause: &'static str) -> usize {
        let workers: Vec<WorkerId> = {
            let state = self.state();
            let runs = |w: &&crate::state::Managed| {
                releases.contains(&w.record.release) && w.record.state != WorkerState::Draining
            };
            state.of(endpoint).filter(runs).map(|w| w.record.id.clone()).collect()
        };
        let count = workers.len();
        let (fleet, endpoint) = (self.clone(), endpoint.clone());
        tokio::spawn(async move {
            for worker in workers {
                fleet.drain(&worker, cause, false).await;
                let _ = tokio::time::timeout(PATIENCE, fleet.until_replaced(&endpoint, &worker)).await;
            }
        });
        count
    }

    async fn until_replaced(&self, endpoint: &EndpointId, worker: &WorkerId) {
        loop {
            let changed = self.inner.workers_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let waits = {
                let state = self.state();
                let starting = state.of(endpoint).any(|w| w.record.state == WorkerState::Starting && !w.test);
                state.workers.contains_key(worker) || starting
            };
            if !waits {
                return;
            }
            let _ = tokio::time::timeout(LOOK, changed).await;
        }
    }
}
