//! `job-take` and `job-take-batch`: jobs for a worker. The poll is held until a job comes. A job counts as
//! handed over when the connection has taken the whole answer; a client that is gone before gives it back.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode};
use runyard_domain::Job;
use runyard_engine::{Ask, Handed, Take};

use super::access::Worker;
use super::error::WorkerError;
use super::{ATTEMPTS_HEADER, JOBS_HEADER};
use crate::Gateway;
use crate::splice::Splice;

/// The most jobs in one answer.
const MAX_BATCH: usize = 1_000;

/// How many ids stand in one header line: Python's aiohttp refuses lines above 8190 bytes.
const IDS_PER_LINE: usize = 80;

/// `GET job-take/{worker}?job_in_progress=0|1`: one job, as an object, or a list where the worker's SDK is known to
/// run lists that are longer than it asked for.
pub(crate) async fn one(State(gateway): State<Gateway>, worker: Worker) -> Result<Response, WorkerError> {
    let timing = gateway.timing();
    // Workers of other makes prefetch: they wait for this answer before they post the result they have.
    let prefetches = worker.parameter("job_in_progress") == Some("1") && worker.python_sdk().is_none();
    let hold = if prefetches { timing.busy_take_hold } else { timing.take_hold };
    let ask = Ask { prefetches, ..asked(&worker, 1, hold) };
    take(&gateway, &worker, ask, false).await
}

/// `GET job-take-batch/{worker}?batch_size=n&job_in_progress=0|1`: up to `n` jobs, as a list, or more as above.
pub(crate) async fn batch(State(gateway): State<Gateway>, worker: Worker) -> Result<Response, WorkerError> {
    let size = worker.parameter("batch_size").and_then(|size| size.parse::<usize>().ok()).unwrap_or(1);
    let ask = asked(&worker, size.clamp(1, MAX_BATCH), gateway.timing().take_hold);
    take(&gateway, &worker, ask, true).await
}

fn asked(worker: &Worker, max: usize, hold: Duration) -> Ask {
    // Without the parameter nothing is known: only an explicit 0 says that earlier jobs are forgotten.
    let in_progress = worker.parameter("job_in_progress") != Some("0");
    Ask { max, hold, in_progress, prefetches: false, sdk: worker.python_sdk().map(str::to_owned) }
}

async fn take(gateway: &Gateway, worker: &Worker, ask: Ask, list: bool) -> Result<Response, WorkerError> {
    match gateway.engine().take(&worker.who, ask).await? {
        Take::Jobs(mut handover) => {
            let ids: Vec<String> = handover.jobs.iter().map(|handed| handed.job.id.to_string()).collect();
            let attempts: Vec<String> =
                handover.jobs.iter().map(|handed| attempt(&handed.job).to_string()).collect();
            let lines = [(JOBS_HEADER, lines(&ids)), (ATTEMPTS_HEADER, lines(&attempts))];
            let body = jobs(&handover.jobs, list || handover.jobs.len() > 1);
            let mut response = body.answer_then(move || handover.delivered());
            for (name, line) in
                lines.into_iter().flat_map(|(name, lines)| lines.into_iter().map(move |l| (name, l)))
            {
                if let Ok(line) = HeaderValue::from_str(&line) {
                    response.headers_mut().append(name, line);
                }
            }
            Ok(response)
        }
        Take::Nothing => Ok(StatusCode::NO_CONTENT.into_response()),
        Take::Drained => {
            tokio::time::sleep(gateway.timing().drained_pause).await;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
    }
}

/// Which attempt this is. A job that begins later, in its turn of a list, has not counted it yet.
fn attempt(job: &Job) -> u32 {
    job.attempt + u32::from(job.is_held())
}

/// Lines of a header.
fn lines(values: &[String]) -> Vec<String> {
    values.chunks(IDS_PER_LINE).map(|values| values.join(",")).collect()
}

fn jobs(handed: &[Handed], list: bool) -> Splice {
    let mut splice = Splice::default();
    if list {
        splice.text("[");
    }
    for (at, Handed { job, input, s3 }) in handed.iter().enumerate() {
        splice.text(if at == 0 { "{" } else { ",{" });
        // `input` is always there, also `{}` and null, which RunPod drops on the way.
        splice.field("id", job.id.as_str()).key("input").raw(input.clone());
        if let Some(webhook) = &job.webhook {
            splice.field("webhook", webhook);
        }
        if let Some(batch) = &job.batch {
            splice.field("batchId", batch.as_str());
        }
        if let Some(s3) = s3 {
            splice.key("s3Config").raw(s3.clone());
        }
        splice.text("}");
    }
    if list {
        splice.text("]");
    }
    splice
}
