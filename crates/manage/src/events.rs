//! What changes, as it does: the engine's feed as lines. An event says where to look and never what is there, so that
//! one that is missed costs time and never correctness.

use axum::extract::{Query, State};
use axum::response::Response;
use runyard_domain::{Access, EndpointId};
use runyard_engine::Change;
use runyard_vault::Caller;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;
use crate::stream::lines;

#[derive(Deserialize)]
pub(crate) struct Which {
    endpoint: Option<String>,
}

/// Goes on until the caller ends it, or the server does. The first line says that it listens.
pub(crate) async fn watch(
    State(manage): State<Manage>,
    auth: Auth,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let wanted = match &which.endpoint {
        Some(ep) => Some(manage.endpoint(&auth.0, Access::Read, ep)?.id.clone()),
        None => None,
    };
    let mut feed = manage.inner.engine.watch();
    let (sender, response) = lines();
    tokio::spawn(async move {
        let mut next = Some(json!({"at": manage.inner.engine.now().0, "kind": "begun"}));
        loop {
            if let Some(line) = next.take()
                && sender.send(line).is_err()
            {
                return;
            }
            let heard = tokio::select! {
                heard = feed.recv() => heard,
                () = sender.closed() => return,
            };
            next = match heard {
                Ok(change) => manage.event(&auth.0, wanted.as_ref(), change),
                // So many came at once that some were lost: all of them are one look.
                Err(RecvError::Lagged(_)) => {
                    Some(json!({"at": manage.inner.engine.now().0, "kind": "begun"}))
                }
                Err(RecvError::Closed) => return,
            };
        }
    });
    Ok(response)
}

impl Manage {
    /// A change as a line, where it is about what the caller sees and wants.
    fn event(&self, caller: &Caller, wanted: Option<&EndpointId>, change: Change) -> Option<Value> {
        let engine = &self.inner.engine;
        let (kind, endpoint, worker) = match change {
            Change::Jobs(endpoint) => ("jobs", endpoint, None),
            Change::Endpoint(endpoint) => ("endpoint", endpoint, None),
            Change::Ready(worker) => ("worker", engine.live_worker(&worker)?.endpoint, Some(worker)),
            _ => return None,
        };
        if !caller.sees(&endpoint) || wanted.is_some_and(|wanted| *wanted != endpoint) {
            return None;
        }
        let name = engine.endpoint_by_id(&endpoint).map(|endpoint| endpoint.name.clone());
        let mut line =
            json!({"at": engine.now().0, "kind": kind, "endpoint": endpoint, "endpointName": name});
        if let Some(worker) = worker {
            line["worker"] = json!(worker);
        }
        Some(line)
    }
}
