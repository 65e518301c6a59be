//! Jobs on the last yard of their way: from the server's answer into a worker's connection. A [`Delivery`]
//! that is dropped before its answer was handed over gives its jobs back. Where another server has looked meanwhile at
//! what the workers hold, it has settled them already: they are neither handed over nor given back.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};
use runyard_domain::{JobId, WorkerId};
use runyard_logs::Running;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::agent::Agent;
use crate::upstream::{Backoff, Outgoing, Server};
use crate::worker::Worker;

/// Names the jobs in a take's answer; from the server to us only.
pub const JOBS: &str = "x-runyard-jobs";

/// The numbers of their attempts, in the same order; from the server to us only. Older servers do not tell them.
pub const ATTEMPTS: &str = "x-runyard-attempts";

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
    agent: Arc<Agent>,
    worker: Arc<Worker>,
    jobs: Vec<Running>,
    from: Server,
}

/// The jobs of an answer are no longer the worker's: its server is gone, and the next one has settled them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server that gave these jobs is gone")]
pub struct Outdated;

impl Delivery {
    /// The delivery that the headers of a take's answer announce, if any.
    pub fn announced(
        headers: &HeaderMap,
        from: Server,
        worker: &Arc<Worker>,
        agent: &Arc<Agent>,
    ) -> Option<Self> {
        let mut attempts = listed(headers, ATTEMPTS).map(|attempt| attempt.parse().ok());
        let jobs: Vec<Running> = listed(headers, JOBS)
            .map(|job| (job, attempts.next().flatten()))
            .filter_map(|(job, attempt)| {
                Some(Running { job: JobId::parse(job).ok()?, attempt, by_name: true })
            })
            .collect();
        worker.expect(&jobs);
        let (agent, worker) = (Arc::clone(agent), Arc::clone(worker));
        (!jobs.is_empty()).then_some(Self { agent, worker, jobs, from })
    }

    /// Whether its jobs are no longer the worker's.
    pub fn is_outdated(&self) -> bool {
        self.agent.upstream.current() != self.from
    }

    /// The answer is in the connection's hands: the worker holds the jobs.
    pub fn handed_over(mut self) -> Result<(), Outdated> {
        // Nothing may come between: the server that looks next sees what is held.
        if self.is_outdated() {
            return Err(Outdated);
        }
        self.worker.hold(std::mem::take(&mut self.jobs));
        Ok(())
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let jobs: Vec<JobId> = std::mem::take(&mut self.jobs).into_iter().map(|held| held.job).collect();
        if jobs.is_empty() {
            return;
        }
        let (worker, count) = (&self.worker.id, jobs.len());
        if self.is_outdated() {
            tracing::info!(worker.id = %worker, count, "Jobs of a server that is gone did not reach their worker; the next one has settled them");
            return;
        }
        tracing::info!(worker.id = %worker, count, "A worker was gone before its jobs came; they go back");
        let back = GiveBack { worker: worker.clone(), jobs };
        // Only an agent that is ending no longer listens.
        let _ = self.agent.returns.send((self.from, back));
    }
}

/// What the lines of a header list, separated by commas.
fn listed<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// Brings jobs back to the server that gave them, each until it answers or another one has looked.
pub async fn bring_back(agent: Arc<Agent>, mut returns: UnboundedReceiver<(Server, GiveBack)>) {
    while let Some((to, back)) = returns.recv().await {
        let Ok(body) = serde_json::to_vec(&back) else { continue };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        let path = "/agent/give-back".to_owned();
        let request = Outgoing { method: Method::POST, path, headers, body: body.into(), only: Some(to) };
        let mut backoff = Backoff::default();
        while agent.upstream.current() == to {
            match agent.upstream.call(&request, |_, _| ()).await {
                Ok((answer, ())) if answer.status < StatusCode::INTERNAL_SERVER_ERROR => break,
                _ => agent.upstream.pause(&mut backoff).await,
            }
        }
    }
}
