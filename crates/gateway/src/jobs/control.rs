//! `/cancel`, `/retry` and `/purge-queue`.

use axum::extract::State;
use axum::response::Response;
use runyard_engine::EngineError;

use super::access::Runs;
use super::error::JobError;
use super::status::{state, times};
use super::submit::brief;
use crate::Gateway;
use crate::splice::Splice;

/// `POST /cancel/{job}`: ends it; a job that has ended already is answered as it is.
pub(crate) async fn cancel(State(gateway): State<Gateway>, Runs(target): Runs) -> Result<Response, JobError> {
    let id = target.job(&gateway)?.id;
    let job = match gateway.engine().cancel_over_jobs(&target.caller, &id).await {
        Ok(job) => job,
        Err(EngineError::Refused { .. }) => target.job(&gateway)?,
        Err(error) => return Err(error.into()),
    };
    let mut splice = Splice::default();
    splice.text("{").field("id", id.as_str()).field("status", state(&job));
    times(&mut splice, &job);
    splice.text("}");
    Ok(splice.answer())
}

/// `POST /retry/{job}`: from failed or timed out back to the queue, with the same id and input.
pub(crate) async fn retry(State(gateway): State<Gateway>, Runs(target): Runs) -> Result<Response, JobError> {
    let id = target.job(&gateway)?.id;
    match gateway.engine().retry(&target.caller, &id).await {
        Ok(job) => Ok(brief(&job).answer()),
        Err(EngineError::Refused { .. }) => Err(JobError::NotRetryable(state(&target.job(&gateway)?))),
        Err(error) => Err(error.into()),
    }
}

/// `POST /purge-queue`: ends every waiting job; running ones go on.
pub(crate) async fn purge(State(gateway): State<Gateway>, Runs(target): Runs) -> Result<Response, JobError> {
    let removed = gateway.engine().purge(&target.caller, &target.endpoint.id).await?;
    let mut splice = Splice::default();
    splice.text("{").field("removed", &removed).field("status", "completed").text("}");
    Ok(splice.answer())
}
