//! `/batch…`: requests that are gathered as a draft, finalized, and run together. The requests are jobs: `/status`,
//! `/cancel` and `/retry` know them too.

use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::response::Response;
use http::HeaderMap;
use http::request::Parts;
use runyard_domain::{BatchId, BatchRefusal, JobId};
use runyard_engine::{BatchView, EngineError, NewJob};
use runyard_store::BatchChange;

use super::access::{Reads, Runs, Target};
use super::batch_body::{self, Requests};
use super::batch_view::{list_page, request_page, show};
use super::error::JobError;
use super::query::number;
use super::submit::idempotency_key;
use crate::Gateway;
use crate::body::Limits;

/// How many entries a page has at most, and without `limit`.
const LONGEST_PAGE: i64 = 1_000;
const USUAL_PAGE: i64 = 100;

/// What the path names below `/batch`.
pub(crate) struct Named {
    batch: BatchId,
    request: Option<JobId>,
}

impl FromRequestParts<Gateway> for Named {
    type Rejection = JobError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, JobError> {
        let params = RawPathParams::from_request_parts(parts, gateway).await;
        let (mut batch, mut request) = ("", None);
        for (name, value) in params.iter().flatten() {
            match name {
                "batch" => batch = value,
                "job" => request = Some(value),
                _ => {}
            }
        }
        let batch = BatchId::parse(batch).map_err(|_| refused(BatchRefusal::NoSuchBatch))?;
        let request = request.map(JobId::parse).transpose();
        Ok(Self { batch, request: request.map_err(|_| refused(BatchRefusal::NoSuchRequest))? })
    }
}

fn refused(refusal: BatchRefusal) -> JobError {
    JobError::Engine(EngineError::Batch(refusal))
}

/// `POST /batch`: a draft, with its first requests.
pub(crate) async fn create(
    State(gateway): State<Gateway>,
    Runs(target): Runs,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, JobError> {
    let key = idempotency_key(&headers)?;
    let Requests { name, jobs } = read(&gateway, &target, &headers, body).await?;
    let engine = gateway.engine();
    let made = engine.make_batch(&target.caller, &target.endpoint, name, jobs, key).await?;
    Ok(answer(&made))
}

/// `POST /batch/{batch}/requests`: more requests for a draft, all or none.
pub(crate) async fn add(
    State(gateway): State<Gateway>,
    Runs(target): Runs,
    named: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, JobError> {
    let key = idempotency_key(&headers)?;
    let Requests { jobs, .. } = read(&gateway, &target, &headers, body).await?;
    let engine = gateway.engine();
    let added = engine.add_to_batch(&target.caller, &target.endpoint, &named.batch, jobs, key).await?;
    Ok(answer(&added))
}

/// `POST /batch/{batch}/finalize`: its requests run from now on.
pub(crate) async fn finalize(
    State(gateway): State<Gateway>,
    Runs(target): Runs,
    named: Named,
) -> Result<Response, JobError> {
    let engine = gateway.engine();
    let batch = engine.finalize_batch(&target.caller, &target.endpoint, &named.batch).await?;
    Ok(show(&batch, None).answer())
}

/// `POST /batch/{batch}/cancel`: ends it with all of its requests; one that has ended is answered as it is.
pub(crate) async fn cancel(
    State(gateway): State<Gateway>,
    Runs(target): Runs,
    named: Named,
) -> Result<Response, JobError> {
    let batch = gateway.engine().cancel_batch(&target.caller, &target.endpoint, &named.batch).await?;
    Ok(show(&batch, None).answer())
}

/// `PUT /batch/{batch}`: `{"name": …}`.
pub(crate) async fn rename(
    State(gateway): State<Gateway>,
    Runs(target): Runs,
    named: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, JobError> {
    let size = gateway.options().run_limit;
    let held = gateway.requests().read(&headers, body, Limits::new(gateway.timing(), size)).await;
    let held = held.map_err(|error| JobError::unread(&error, size, gateway.timing()))?;
    let change = BatchChange::Rename(batch_body::name(&held.bytes)?);
    let engine = gateway.engine();
    let batch = engine.change_batch(&target.caller, &target.endpoint, &named.batch, change).await?;
    Ok(show(&batch, None).answer())
}

/// `DELETE /batch/{batch}/requests/{job}`: takes a request out of a draft.
pub(crate) async fn remove(
    State(gateway): State<Gateway>,
    Runs(target): Runs,
    named: Named,
) -> Result<Response, JobError> {
    let request = named.request.ok_or_else(|| refused(BatchRefusal::NoSuchRequest))?;
    let engine = gateway.engine();
    let change = BatchChange::Remove(request);
    let batch = engine.change_batch(&target.caller, &target.endpoint, &named.batch, change).await?;
    Ok(show(&batch, None).answer())
}

/// `GET /batch?offset=&limit=`: newest first.
pub(crate) async fn list(State(gateway): State<Gateway>, Reads(target): Reads) -> Result<Response, JobError> {
    let (offset, limit) = page(&target)?;
    // One more tells whether there are more.
    let found = gateway.engine().reader().batches(&target.endpoint.id, offset, limit + 1)?;
    let batches: Vec<_> =
        found.into_iter().map(|(batch, counts)| BatchView { batch, counts, added: Vec::new() }).collect();
    Ok(list_page(&batches, offset, limit).answer())
}

/// `GET /batch/{batch}`.
pub(crate) async fn get(
    State(gateway): State<Gateway>,
    Reads(target): Reads,
    named: Named,
) -> Result<Response, JobError> {
    Ok(show(&gateway.engine().batch(&target.endpoint, &named.batch)?, None).answer())
}

/// `GET /batch/{batch}/requests?offset=&limit=`: in the order in which they were added, with what came of them.
pub(crate) async fn requests(
    State(gateway): State<Gateway>,
    Reads(target): Reads,
    named: Named,
) -> Result<Response, JobError> {
    let (offset, limit) = page(&target)?;
    let batch = gateway.engine().batch(&target.endpoint, &named.batch)?;
    let jobs = gateway.engine().reader().batch_jobs(&named.batch, offset, limit)?;
    Ok(request_page(gateway, &batch, jobs, offset, limit))
}

async fn read(
    gateway: &Gateway,
    target: &Target,
    headers: &HeaderMap,
    body: Body,
) -> Result<Requests<NewJob>, JobError> {
    let size = gateway.options().run_limit;
    let held = gateway.requests().read(headers, body, Limits::new(gateway.timing(), size)).await;
    let held = held.map_err(|error| JobError::unread(&error, size, gateway.timing()))?;
    let Requests { name, jobs } = batch_body::requests(&held.bytes)?;
    let jobs = jobs.into_iter().map(|request| NewJob {
        s3: request.s3,
        webhook: request.webhook,
        execution_timeout_ms: request.execution_timeout_ms,
        ttl_ms: request.ttl_ms,
        low_priority: request.low_priority,
        ..NewJob::new(target.endpoint.clone(), request.input)
    });
    Ok(Requests { name, jobs: jobs.collect() })
}

fn answer(made: &BatchView) -> Response {
    show(made, Some(&made.added)).answer()
}

fn page(target: &Target) -> Result<(usize, usize), JobError> {
    let query = target.query.as_deref();
    let offset = number(query, "offset")?.unwrap_or(0).clamp(0, i64::from(u32::MAX));
    let limit = number(query, "limit")?.unwrap_or(USUAL_PAGE).clamp(1, LONGEST_PAGE);
    Ok((offset as usize, limit as usize))
}
