//! Jobs: list, show, cancel, retry. Submitting them is the job API's.

use std::collections::HashSet;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use runyard_domain::{Access, Job, JobId, Payload, Phase, Timestamp};
use runyard_store::{Filter, Standing};
use runyard_vault::Caller;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Manage;
use crate::auth::Auth;
use crate::page::{MOST, Paging, cursor};
use crate::problem::Problem;

#[derive(Deserialize)]
pub(crate) struct Which {
    endpoint: Option<String>,
    status: Option<String>,
    since: Option<i64>,
    until: Option<i64>,
    ended_since: Option<i64>,
    ended_until: Option<i64>,
    tests: Option<bool>,
}

fn standing(word: &str) -> Result<Standing, Problem> {
    match word.to_ascii_uppercase().as_str() {
        "IN_QUEUE" => Ok(Standing::Waiting),
        "IN_PROGRESS" => Ok(Standing::Running),
        "COMPLETED" => Ok(Standing::Completed),
        "FAILED" => Ok(Standing::Failed),
        "CANCELLED" => Ok(Standing::Cancelled),
        "TIMED_OUT" => Ok(Standing::TimedOut),
        _ => Err(Problem::invalid(format!(
            "status '{word}' is none of IN_QUEUE, IN_PROGRESS, COMPLETED, FAILED, CANCELLED, TIMED_OUT"
        ))),
    }
}

pub(crate) async fn list(
    State(manage): State<Manage>,
    auth: Auth,
    Query(which): Query<Which>,
    paging: Paging,
) -> Result<Json<Value>, Problem> {
    let endpoint = match &which.endpoint {
        Some(ep) => Some(manage.endpoint(&auth.0, Access::Read, ep)?.id.clone()),
        None => None,
    };
    let limit = paging.limit();
    let before: Option<String> = paging.after()?;
    let before = before.map(|id| JobId::parse(&id)).transpose();
    let before = before.map_err(|error| Problem::invalid(format!("'cursor' names no job: {error}")))?;
    let filter = Filter {
        endpoint,
        standing: which.status.as_deref().map(standing).transpose()?,
        since: which.since.map(Timestamp),
        until: which.until.map(Timestamp),
        ended_since: which.ended_since.map(Timestamp),
        ended_until: which.ended_until.map(Timestamp),
        no_tests: which.tests == Some(false),
        before,
        // One more says whether there is another page; after the largest page nobody knows, and it may be empty.
        limit: limit + 1,
    };
    let mut jobs = visible(&manage, &auth.0, &filter)?;
    let more = jobs.len() > limit || limit == MOST && jobs.len() == limit;
    jobs.truncate(limit);
    let next = jobs.last().filter(|_| more).map(|last| cursor(&last.id));
    let halted = manage.halted_of(&jobs).await;
    let views: Vec<Value> = jobs.iter().map(|job| manage.job(job, &halted)).collect();
    Ok(Json(json!({"jobs": views, "nextCursor": next})))
}

/// The jobs that the caller may see, newest first, as many as the filter asks for.
fn visible(manage: &Manage, caller: &Caller, filter: &Filter) -> Result<Vec<Job>, Problem> {
    let reader = manage.inner.engine.reader();
    if filter.endpoint.is_some() || caller.endpoints().is_empty() {
        return Ok(reader.jobs(filter)?);
    }
    let mut jobs = Vec::new();
    for endpoint in caller.endpoints() {
        jobs.extend(reader.jobs(&Filter { endpoint: Some(endpoint.clone()), ..filter.clone() })?);
    }
    jobs.sort_by_key(|job| std::cmp::Reverse((job.submitted_at, job.seq)));
    jobs.truncate(filter.page());
    Ok(jobs)
}

impl Manage {
    /// The job, if there is one that the caller may see.
    pub(crate) fn find_job(&self, caller: &Caller, id: &str) -> Result<Job, Problem> {
        let missing = || Problem::not_found(format!("there is no job '{id}' here, or its retention is over"));
        let id = JobId::parse(id).map_err(|error| Problem::invalid(error.to_string()))?;
        let job = self.inner.engine.job(&id)?.ok_or_else(missing)?;
        if caller.sees(&job.endpoint) { Ok(job) } else { Err(missing()) }
    }

    /// A payload as it is: no number is rounded and no key moved.
    async fn raw(&self, payload: Option<Payload>) -> Result<String, Problem> {
        let Some(payload) = payload else { return Ok("null".to_owned()) };
        let bytes = self.inner.engine.bytes(payload).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

pub(crate) async fn show(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let job = manage.find_job(&auth.0, &id)?;
    let reader = manage.inner.engine.reader();
    let output = reader.output(&job.id)?.or(reader.progress(&job.id)?);
    let input = manage.raw(reader.input(&job.id)?).await?;
    let output = manage.raw(output).await?;
    let halted = manage.halted_of(std::slice::from_ref(&job)).await;
    let mut view = manage.job(&job, &halted);
    view["webhooks"] = manage.webhooks(&job.id)?.into();
    let mut body = view.to_string();
    // The view is an object that is never empty: the payloads go before its closing brace.
    body.truncate(body.len() - 1);
    body = format!("{body},\"input\":{input},\"output\":{output}}}");
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// As much of a stream is looked at in one answer, in bytes.
const MOST_STREAM: u64 = 256 << 10;

/// What a handler that streams has said and nobody has taken yet. To look takes nothing away: the client of the job
/// API still gets it.
pub(crate) async fn stream(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let job = manage.find_job(&auth.0, &id)?;
    let (chunks, more) = manage.inner.engine.reader().undelivered(&job.id, MOST_STREAM)?;
    let mut parts = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let output = manage.raw(Some(chunk.value)).await?;
        parts.push(format!("{{\"index\":{},\"output\":{output}}}", chunk.index));
    }
    let body = format!("{{\"parts\":[{}],\"more\":{more}}}", parts.join(","));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

pub(crate) async fn cancel(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let job = manage.find_job(&auth.0, &id)?;
    let job = manage.inner.engine.cancel(&auth.0, &job.id).await?;
    Ok(Json(manage.job(&job, &HashSet::new())))
}

/// A token with which a page can follow and cancel this job, and nothing else.
pub(crate) async fn token(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let job = manage.find_job(&auth.0, &id)?;
    auth.0.may(Access::Run, Some(&job.endpoint))?;
    let ends_at = match &job.phase {
        Phase::Done { at, .. } => Some(at.plus(job.retention_ms).0),
        _ => None,
    };
    let token = manage.inner.engine.vault().job_token(&job.id);
    Ok(Json(json!({"job": job.id, "token": token, "endsAt": ends_at})))
}

pub(crate) async fn retry(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let job = manage.find_job(&auth.0, &id)?;
    let job = manage.inner.engine.retry(&auth.0, &job.id).await?;
    Ok(Json(manage.job(&job, &HashSet::new())))
}
