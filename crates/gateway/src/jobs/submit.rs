//! `/run` and `/runsync`: a body becomes a durable job.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue};
use runyard_domain::{Job, JobId, Settings};
use runyard_engine::{EngineError, NewJob};

use super::access::{Runs, Target};
use super::error::JobError;
use super::request;
use super::status::{ended, state, wait};
use crate::Gateway;
use crate::body::{Limits, Unread};
use crate::splice::Splice;

/// What may stand around an input whose size is limited by its endpoint.
const AROUND_INPUT: u64 = 256 << 10;

/// `POST /run`: accepts and answers at once.
pub(crate) async fn run(
    State(gateway): State<Gateway>,
    Runs(target): Runs,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, JobError> {
    let wants_token = wants_token(&headers)?;
    let job = accept(&gateway, &target, &headers, body, false).await?;
    Ok(with_token(&gateway, &job.id, wants_token, brief(&job).answer()))
}

/// `POST /runsync?wait=`: accepts and waits for the end; answers 200 also when it has not come yet.
pub(crate) async fn runsync(
    State(gateway): State<Gateway>,
    Runs(target): Runs,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, JobError> {
    let wait = wait(target.query.as_deref(), gateway.timing().sync_wait)?;
    let wants_token = wants_token(&headers)?;
    let accepted = accept(&gateway, &target, &headers, body, true).await?;
    let waited = ended(&gateway, &accepted.id, wait).await?;
    let waited = waited.ok_or_else(|| target.no_such_job(accepted.id.as_str()))?;
    let answer = waited.object(&gateway).await?.answer();
    Ok(with_token(&gateway, &accepted.id, wants_token, answer))
}

/// The name of the header that asks for a token for the job, and brings it.
const JOB_TOKEN: HeaderName = HeaderName::from_static("x-job-token");

/// Whether the caller wants a token that opens the new job alone: `X-Job-Token: request`.
fn wants_token(headers: &HeaderMap) -> Result<bool, JobError> {
    match headers.get(JOB_TOKEN) {
        None => Ok(false),
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"request") => Ok(true),
        Some(value) => Err(JobError::Parameter {
            name: "X-Job-Token",
            found: String::from_utf8_lossy(value.as_bytes()).chars().take(60).collect(),
            allowed: "'request', which asks for a token for this job",
        }),
    }
}

fn with_token(gateway: &Gateway, job: &JobId, wanted: bool, mut answer: Response) -> Response {
    if wanted && let Ok(token) = HeaderValue::try_from(gateway.vault().job_token(job)) {
        answer.headers_mut().insert(JOB_TOKEN, token);
    }
    answer
}

/// `{"id","status"}`.
pub(crate) fn brief(job: &Job) -> Splice {
    let mut splice = Splice::default();
    splice.text("{").field("id", job.id.as_str()).field("status", state(job)).text("}");
    splice
}

async fn accept(
    gateway: &Gateway,
    target: &Target,
    headers: &HeaderMap,
    body: Body,
    sync: bool,
) -> Result<Job, JobError> {
    let idempotency_key = idempotency_key(headers)?;
    let server = if sync { gateway.options().runsync_limit } else { gateway.options().run_limit };
    let own = target.endpoint.settings.input_limit_bytes;
    let size = Settings::bounded(if own == 0 { 0 } else { own + AROUND_INPUT }, server);
    let timing = gateway.timing();
    let read = gateway.requests().read(headers, body, Limits::new(timing, size)).await;
    let held = read.map_err(|error| match error {
        Unread::TooLarge { bytes } if size < server => {
            let endpoint = target.endpoint.name.clone();
            EngineError::InputTooLarge { endpoint, bytes, limit: own }.into()
        }
        error => JobError::unread(&error, size, timing),
    })?;
    let submission = request::parse(&held.bytes)?;
    let new = NewJob {
        sync,
        s3: submission.s3,
        webhook: submission.webhook,
        execution_timeout_ms: submission.execution_timeout_ms,
        ttl_ms: submission.ttl_ms,
        low_priority: submission.low_priority,
        idempotency_key,
        ..NewJob::new(target.endpoint.clone(), submission.input)
    };
    let room = held.into_room();
    let accepted = gateway.engine().submit(&target.caller, new).await?;
    drop(room);
    if accepted.existing {
        target.counts_as_status(gateway)?;
    }
    Ok(accepted.job)
}

/// The header `Idempotency-Key`: the same one returns the first job.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, JobError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) && key.bytes().all(|b| (b' '..=b'~').contains(&b)) => {
            Ok(Some(key.to_owned()))
        }
        _ => Err(JobError::Parameter {
            name: "Idempotency-Key",
            found: String::from_utf8_lossy(value.as_bytes()).chars().take(60).collect(),
            allowed: "1 to 255 printable ASCII characters",
        }),
    }
}
