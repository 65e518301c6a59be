//! `job-done` and `job-stream`: results, progress, streamed values. What arrived whole is taken also when its
//! sender is gone meanwhile (a worker may exit right after its answer), so each post is read and settled in a
//! task of its own.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use runyard_domain::job::Answer;
use runyard_domain::{JobId, Settings, Timestamp};
use runyard_engine::EngineError;
use runyard_vault::WorkerCaller;

use super::access::Worker;
use super::answer::{self, Most, Said};
use super::error::WorkerError;
use super::{CHUNK_HEADER, POSTED_HEADER, REFUSED_HEADER};
use crate::Gateway;
use crate::body::{Held, Limits, Unread};

/// What may stand around an output in its body.
const ENVELOPE: usize = 2 << 20;

/// A result waits longer for room than a submission: its work is done already.
const ROOM_WAIT: Duration = Duration::from_mins(1);

/// `POST job-done/{worker}/{job}`: the result of a job, or its progress.
pub(crate) async fn done(
    State(gateway): State<Gateway>,
    worker: Worker,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, WorkerError> {
    let Some(job) = worker.job() else { return Ok(taken()) };
    let limit = most(&gateway, &worker.who);
    // A post that the agent made took no time of the worker's.
    let arrived = (!headers.contains_key(REFUSED_HEADER)).then(|| gateway.engine().now());
    let posted = posted(&headers).or(arrived);
    let (engine, sender) = (gateway.engine().clone(), worker.who.worker().clone());
    let taken = settle(async move {
        let read = read(&gateway, &headers, body, limit.bytes).await?;
        let said = match &read {
            Ok(held) if headers.contains_key(REFUSED_HEADER) => answer::refused(&held.bytes),
            Ok(held) => answer::done(&held.bytes, limit),
            Err(bytes) => {
                Said::Done { answer: answer::oversized(*bytes, limit), output: None, refresh: false }
            }
        };
        match said {
            Said::Progress(value) => gateway.engine().progress(&worker.who, &job, value).await?,
            Said::Done { answer, output, refresh } => {
                finish(&gateway, &worker.who, &job, (answer, output), posted).await?;
                if refresh {
                    (gateway.options().on_refresh)(worker.who.worker().clone());
                }
            }
        }
        Ok(())
    })
    .await;
    engine.hold_spoiled(&sender).await;
    taken
}

/// `POST job-stream/{worker}/{job}`: one streamed value.
pub(crate) async fn chunk(
    State(gateway): State<Gateway>,
    worker: Worker,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, WorkerError> {
    let Some(job) = worker.job() else { return Ok(taken()) };
    let number = headers.get(CHUNK_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
    let limit = most(&gateway, &worker.who);
    settle(async move {
        let read = read(&gateway, &headers, body, limit.bytes).await?;
        let value = match &read {
            Ok(held) => answer::chunk(&held.bytes, limit),
            Err(bytes) => Err(answer::oversized(*bytes, limit)),
        };
        match value {
            Ok(value) => gateway.engine().chunk(&worker.who, &job, number, value).await?,
            // A stream with a hole would be wrong without anybody noticing.
            Err(answer) => finish(&gateway, &worker.who, &job, (answer, None), None).await?,
        }
        Ok(())
    })
    .await
}

/// How large its outputs may be.
fn most(gateway: &Gateway, who: &WorkerCaller) -> Most {
    let server = gateway.options().result_limit;
    let endpoint = gateway.engine().endpoint_by_id(who.endpoint());
    let own = endpoint.map_or(0, |endpoint| endpoint.settings.output_limit_bytes);
    let bytes = Settings::bounded(own, server);
    Most { bytes, by_endpoint: bytes < server }
}

/// The whole body, or how large it is where it is too large.
async fn read(
    gateway: &Gateway,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Result<Held, u64>, WorkerError> {
    let limits = Limits { room_wait: ROOM_WAIT, ..Limits::new(gateway.timing(), limit + ENVELOPE) };
    match gateway.results().read(headers, body, limits).await {
        Ok(held) => Ok(Ok(held)),
        Err(Unread::TooLarge { bytes }) => Ok(Err(bytes)),
        Err(error) => Err(WorkerError::Body(error)),
    }
}

async fn finish(
    gateway: &Gateway,
    who: &WorkerCaller,
    job: &JobId,
    (answer, output): (Answer, Option<Bytes>),
    posted: Option<Timestamp>,
) -> Result<(), EngineError> {
    gateway.engine().finish_posted(who, job, answer, output, posted).await.map(drop)
}

/// When the worker began to send it, by its agent's clock.
fn posted(headers: &HeaderMap) -> Option<Timestamp> {
    headers.get(POSTED_HEADER)?.to_str().ok()?.parse().ok().map(Timestamp)
}

/// Runs to the end whatever becomes of the connection.
async fn settle(
    work: impl Future<Output = Result<(), WorkerError>> + Send + 'static,
) -> Result<Response, WorkerError> {
    tokio::spawn(work).await.unwrap_or(Err(WorkerError::Engine(EngineError::Stopped)))?;
    Ok(taken())
}

/// The SDK ignores the body.
fn taken() -> Response {
    StatusCode::OK.into_response()
}
