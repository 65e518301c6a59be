//! Jobs on the last yard of their way: from the server's answer into a worker's connection. A [`Delivery`]
//! that is dropped before its answer was handed over gives its jobs back.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};
use runyard_domain::{JobId, WorkerId};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::agent::Agent;
use crate::upstream::{Backoff, Outgoing};
use crate::worker::Worker;

/// Names the jobs in a take's answer; from the server to us only.
pub const JOBS: &str = "x-runyard-jobs";

/// Jobs that did not reach a worker; the body of `POST /agent/give-back`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GiveBack {
    /// The worker that they were meant for.
    pub worker: WorkerId,
    /// The jobs.
    pub jobs: Vec<JobId>,
}

/// Jobs on their way to a worker.
#[derive(Debug)]
pub struct Delivery {
    worker: Arc<Worker>,
    jobs: Vec<JobId>,
    returns: UnboundedSender<GiveBack>,
}

impl Delivery {
    /// The delivery that the headers of a take's answer announce, if any.
    pub fn announced(headers: &HeaderMap, worker: &Arc<Worker>, agent: &Agent) -> Option<Self> {
        let jobs: Vec<JobId> = headers
            .get_all(JOBS)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|job| JobId::parse(job.trim()).ok())
            .collect();
        (!jobs.is_empty()).then(|| Self { worker: Arc::clone(worker), jobs, returns: agent.returns.clone() })
    }

    /// The answer is in the connection's hands: the worker holds the jobs.
    pub fn handed_over(mut self) {
        self.worker.hold(&std::mem::take(&mut self.jobs));
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let jobs = std::mem::take(&mut self.jobs);
        if !jobs.is_empty() {
            tracing::info!(worker.id = %self.worker.id, count = jobs.len(), "A worker was gone before its jobs came; they go back");
            // Only an agent that is ending no longer listens.
            let _ = self.returns.send(GiveBack { worker: self.worker.id.clone(), jobs });
        }
    }
}

/// Brings jobs back to the server, each until it answers.
pub async fn bring_back(agent: Arc<Agent>, mut returns: UnboundedReceiver<GiveBack>) {
    while let Some(back) = returns.recv().await {
        let Ok(body) = serde_json::to_vec(&back) else { continue };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        let path = "/agent/give-back".to_owned();
        let request = Outgoing { method: Method::POST, path, headers, body: body.into() };
        let mut backoff = Backoff::default();
        loop {
            match agent.upstream.call(&request, |_| ()).await {
                Ok((answer, ())) if answer.status < StatusCode::INTERNAL_SERVER_ERROR => break,
                _ => agent.upstream.pause(&mut backoff).await,
            }
        }
    }
}
