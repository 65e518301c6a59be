//! What a deploy says while a worker of the new release takes its time: how far its container is, and, where it runs
//! and never asks for a job, which variables it may be waiting for.

use std::pin::pin;
use std::time::Duration;

use runyard_domain::reason::seconds;
use runyard_domain::worker::WorkerState;
use serde_json::json;
use tokio::time::sleep;

use crate::deploy::Deploy;

/// How often something is said.
const EVERY: Duration = Duration::from_secs(15);

impl Deploy {
    /// Waits for the test of the release, and says now and then what it waits for.
    pub(crate) async fn patiently<T>(&self, test: impl Future<Output = T>) -> T {
        let mut test = pin!(test);
        loop {
            tokio::select! {
                biased;
                done = &mut test => return done,
                () = sleep(EVERY) => {}
            }
            if let Some(message) = self.waits_for() {
                let _ = self
                    .lines
                    .send(json!({"step": "test", "state": "running", "message": message, "ms": null}));
            }
        }
    }

    fn waits_for(&self) -> Option<String> {
        let fleet = &self.manage.inner.fleet;
        let own = |record: &runyard_domain::WorkerRecord| {
            record.endpoint == self.endpoint.id
                && record.release == self.release.number
                && record.state == WorkerState::Starting
        };
        let worker = fleet.workers().into_iter().find(own)?;
        if let Some(phase) = fleet.start_phase(&worker.id) {
            return Some(phase.words());
        }
        let since = seconds(self.manage.inner.engine.now().since(worker.started_at?));
        let unset = self.release.env_read.iter().filter(|name| !self.release.env.contains_key(*name));
        let names: Vec<&str> = unset.map(String::as_str).collect();
        let hint = if names.is_empty() {
            String::new()
        } else {
            format!("; its source reads {}, which the release does not set", names.join(", "))
        };
        Some(format!("the worker has run for {since} and has not asked for a job yet{hint}"))
    }
}
