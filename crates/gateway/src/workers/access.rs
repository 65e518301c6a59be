//! Which worker calls. A handler takes a [`Worker`] as an argument; it exists only where the token is a living
//! incarnation's and the path names that incarnation and its endpoint.

use axum::extract::{FromRequestParts, Query, RawPathParams};
use http::header;
use http::request::Parts;
use runyard_domain::JobId;
use runyard_vault::WorkerCaller;

use super::error::WorkerError;
use crate::Gateway;

/// What RunPod's Python SDK starts its `User-Agent` with, before its version.
const PYTHON_SDK: &str = "RunPod-Python-SDK/";

/// A worker's request.
pub(crate) struct Worker {
    /// The checked incarnation.
    pub(crate) who: WorkerCaller,
    job: Option<String>,
    parameters: Vec<(String, String)>,
    sdk: Option<String>,
}

impl FromRequestParts<Gateway> for Worker {
    type Rejection = WorkerError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, WorkerError> {
        let params = RawPathParams::from_request_parts(parts, gateway).await;
        let params = params.map_err(|_| WorkerError::NoSuchRoute)?;
        let param = |name: &str| params.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
        let who = gateway.vault().worker_caller(param("token").unwrap_or_default())?;
        // A template without '?' leads to `job-take/ID&job_in_progress=0`: the rest belongs to the query.
        let (worker, after_worker) = cut(param("worker").unwrap_or_default());
        let (job, after_job) = param("job").map_or((None, None), |job| {
            let (job, rest) = cut(job);
            (Some(job.to_owned()), rest)
        });
        if who.worker().as_str() != worker || Some(who.endpoint().as_str()) != param("endpoint") {
            return Err(WorkerError::OtherWorker);
        }
        let mut parameters =
            Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map(|query| query.0).unwrap_or_default();
        let rest = [after_worker, after_job].into_iter().flatten().flat_map(|rest| rest.split('&'));
        let pairs = rest.filter_map(|pair| pair.split_once('='));
        parameters.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let sdk = agent.and_then(sdk_version);
        Ok(Self { who, job, parameters, sdk })
    }
}

fn cut(segment: &str) -> (&str, Option<&str>) {
    segment.split_once('&').map_or((segment, None), |(id, rest)| (id, Some(rest)))
}

/// `1.12.0` of `RunPod-Python-SDK/1.12.0 (Linux …) …`.
pub(crate) fn sdk_version(agent: &str) -> Option<String> {
    let version = agent.strip_prefix(PYTHON_SDK)?.split_whitespace().next()?;
    is_version(version).then(|| version.to_owned())
}

/// Whether this may be shown as a version.
pub(crate) fn is_version(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-' | b'_'))
}

impl Worker {
    /// A parameter of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The job in the path; `None` where it is no id at all.
    pub(crate) fn job(&self) -> Option<JobId> {
        self.job.as_deref().and_then(|job| JobId::parse(job).ok())
    }

    /// The version of the Python SDK, where that is what asks.
    pub(crate) fn python_sdk(&self) -> Option<&str> {
        self.sdk.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_in_the_agent() {
        let agent = "RunPod-Python-SDK/1.12.0 (Linux 6.1; x86_64) Language/Python 3.11.7";
        assert_eq!(sdk_version(agent).as_deref(), Some("1.12.0"));
        for other in ["python-requests/2.34.2", "RunPod-Python-SDK/", "RunPod-Python-SDK/\u{1b}[31m", ""] {
            assert_eq!(sdk_version(other), None, "{other}");
        }
    }
}
