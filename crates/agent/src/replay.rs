//! Empties the spool into the server: each worker's posts in their order, and one worker's trouble does not
//! stop another's.

use std::sync::Arc;

use http::StatusCode;
use runyard_domain::WorkerId;

use crate::agent::Agent;
use crate::upstream::{Away, Backoff};

/// Replays as long as the agent lives.
pub async fn replay(agent: Arc<Agent>) {
    let mut backoff = Backoff::default();
    loop {
        let workers = agent.spool.workers();
        if workers.is_empty() {
            agent.spool.filled.notified().await;
            continue;
        }
        let mut all = true;
        for worker in workers {
            match empty(&agent, &worker).await {
                Ok(true) => backoff = Backoff::default(),
                Ok(false) => all = false,
                Err(Away) => {
                    all = false;
                    break;
                }
            }
        }
        if !all {
            agent.upstream.pause(&mut backoff).await;
        }
    }
}

/// Sends a worker's posts until none is left (`true`) or the server fails at one (`false`).
async fn empty(agent: &Agent, worker: &WorkerId) -> Result<bool, Away> {
    loop {
        let (number, request) = match agent.spool.oldest(worker) {
            Ok(Some(oldest)) => oldest,
            Ok(None) => return Ok(true),
            Err(error) => {
                tracing::error!(worker.id = %worker, %error, "A spooled result cannot be read; trying on");
                return Ok(false);
            }
        };
        let (answer, ()) = agent.upstream.call(&request, |_, _| ()).await?;
        if answer.status >= StatusCode::INTERNAL_SERVER_ERROR {
            tracing::warn!(worker.id = %worker, status = %answer.status, "The server failed at a spooled result; trying on");
            return Ok(false);
        }
        if let Err(error) = agent.spool.finish(number).await {
            tracing::warn!(worker.id = %worker, %error, "The spool cannot be written; a result may be sent twice");
        }
    }
}
