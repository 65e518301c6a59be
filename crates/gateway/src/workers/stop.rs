//! `job-stop` (SDK 1.10 and later): which of its jobs a worker has to let go of.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use runyard_domain::JobId;

use super::access::Worker;
use crate::Gateway;
use crate::splice::Splice;

/// `GET job-stop/{worker}`: held until there is something to stop.
pub(crate) async fn stop(State(gateway): State<Gateway>, worker: Worker) -> Response {
    match gateway.engine().stop_orders(&worker.who, gateway.timing().take_hold).await {
        Some(jobs) if !jobs.is_empty() => {
            let ids: Vec<&str> = jobs.iter().map(JobId::as_str).collect();
            let mut splice = Splice::default();
            splice.text("{").field("jobsToStop", &ids).text("}");
            splice.answer()
        }
        Some(_) => StatusCode::NO_CONTENT.into_response(),
        None => {
            tokio::time::sleep(gateway.timing().drained_pause).await;
            StatusCode::NO_CONTENT.into_response()
        }
    }
}
