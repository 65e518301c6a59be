//! Who calls, and what of. A handler takes [`Reads`] or [`Runs`] as an argument: there is no way to an endpoint
//! or a job that does not go through the check.

use std::sync::{Arc, OnceLock};

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use http::{HeaderMap, header};
use runyard_domain::rates::Group;
use runyard_domain::{Access, Endpoint, Job, JobId, Operation};
use runyard_vault::{Caller, Denied, Vault};

use super::edge::{is_loopback_host, is_loopback_origin};
use super::error::JobError;
use crate::Gateway;
use crate::rates::{Pass, Standing};

/// A caller who may look at the endpoint in the path.
pub(crate) struct Reads(pub(crate) Target);

/// A caller who may submit to the endpoint in the path.
pub(crate) struct Runs(pub(crate) Target);

/// What a request is about.
pub(crate) struct Target {
    /// Who calls.
    pub(crate) caller: Caller,
    /// The endpoint in the path, found by id or name.
    pub(crate) endpoint: Arc<Endpoint>,
    /// The query, as it came.
    pub(crate) query: Option<String>,
    named: String,
    job: Option<String>,
    pass: Option<Pass>,
}

impl FromRequestParts<Gateway> for Reads {
    type Rejection = JobError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, JobError> {
        Target::open(parts, gateway, Access::Read).await.map(Self)
    }
}

impl FromRequestParts<Gateway> for Runs {
    type Rejection = JobError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, JobError> {
        Target::open(parts, gateway, Access::Run).await.map(Self)
    }
}

impl Target {
    async fn open(parts: &mut Parts, gateway: &Gateway, access: Access) -> Result<Self, JobError> {
        let caller = caller(parts, gateway)?;
        let params = RawPathParams::from_request_parts(parts, gateway).await;
        let mut named = String::new();
        let mut job = None;
        for (name, value) in params.iter().flatten() {
            match name {
                "endpoint" => value.clone_into(&mut named),
                "job" => job = Some(value.to_owned()),
                _ => {}
            }
        }
        // An endpoint that is not the key's is answered like one that is not there: no key can try out names.
        let found = gateway.engine().endpoint(&named).filter(|endpoint| caller.sees(&endpoint.id));
        let Some(endpoint) = found else {
            return Err(JobError::NoSuchEndpoint(named.chars().take(80).collect()));
        };
        caller.may(access, Some(&endpoint.id)).map_err(JobError::Denied)?;
        let pass = admit(parts, gateway, &caller, &endpoint)?;
        let query = parts.uri.query().map(str::to_owned);
        Ok(Self { caller, endpoint, query, named, job, pass })
    }

    /// The call's place among those at once, for who answers longer than its handler runs.
    pub(crate) fn take_pass(&mut self) -> Option<Pass> {
        self.pass.take()
    }

    /// A call that made nothing new counts as a question about what is there.
    pub(crate) fn counts_as_status(&self, gateway: &Gateway) -> Result<(), JobError> {
        if let Some(pass) = &self.pass {
            pass.refund();
        }
        let admitted = gateway.limiter().admit(&self.caller, &self.endpoint, Group::Status);
        admitted.map(drop).map_err(JobError::RateLimited)
    }

    /// The job in the path, as it is now.
    pub(crate) fn job(&self, gateway: &Gateway) -> Result<Job, JobError> {
        let asked = self.job.as_deref().unwrap_or_default();
        let found = match JobId::parse(asked) {
            Ok(id) => gateway.engine().job(&id)?,
            Err(_) => None,
        };
        found.filter(|job| job.endpoint == self.endpoint.id).ok_or_else(|| self.no_such_job(asked))
    }

    /// The id of the job in the path, if it is one of this endpoint; without a query for one that has not ended.
    pub(crate) fn job_id(&self, gateway: &Gateway) -> Result<JobId, JobError> {
        let asked = self.job.as_deref().unwrap_or_default();
        match JobId::parse(asked) {
            Ok(id) if gateway.engine().endpoint_of_live(&id).as_ref() == Some(&self.endpoint.id) => Ok(id),
            _ => self.job(gateway).map(|job| job.id),
        }
    }

    /// The error for a job that is not there.
    pub(crate) fn no_such_job(&self, job: &str) -> JobError {
        JobError::NoSuchJob { job: job.chars().take(120).collect(), endpoint: self.named.clone() }
    }
}

/// Counts the call, where its operation is counted.
fn admit(
    parts: &Parts,
    gateway: &Gateway,
    caller: &Caller,
    endpoint: &Endpoint,
) -> Result<Option<Pass>, JobError> {
    let Some(group) = parts.uri.path().split('/').nth(3).and_then(Group::of_operation) else {
        return Ok(None);
    };
    let admitted = gateway.limiter().admit(caller, endpoint, group);
    let standing = match &admitted {
        Ok((_, standing)) => *standing,
        Err(many) => many.standing,
    };
    if let Some(told) = parts.extensions.get::<Arc<OnceLock<Standing>>>() {
        let _ = told.set(standing);
    }
    admitted.map(|(pass, _)| Some(pass)).map_err(JobError::RateLimited)
}

/// Who calls: known by the socket already, by a key, or by being on this machine.
fn caller(parts: &Parts, gateway: &Gateway) -> Result<Caller, JobError> {
    if let Some(caller) = parts.extensions.get::<Caller>() {
        return Ok(caller.clone());
    }
    let operation = parts.uri.path().split('/').nth(3).and_then(Operation::of_step);
    let origin = parts.headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("?"));
    let sent = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(token) = sent.filter(|text| Vault::is_job_token(text)) {
        let named = parts.uri.path().split('/').nth(4).and_then(|id| JobId::parse(id).ok());
        let find = |id: &JobId| gateway.engine().job(id)?.ok_or_else(|| gone(parts, id));
        return gateway.vault().job_token_caller(token, operation, named.as_ref(), find);
    }
    let checked = match parts.headers.get(header::AUTHORIZATION) {
        None => Err(Denied::NoKey),
        Some(value) => value
            .to_str()
            .map_or(Err(Denied::UnknownKey), |text| gateway.vault().job_caller(text, operation, origin)),
    };
    match checked {
        // Clients insist on sending some key, so one that is not ours counts as none where none is needed.
        Err(Denied::NoKey | Denied::UnknownKey) if gateway.options().open => {
            is_local(&parts.headers)?;
            Ok(gateway.vault().local_caller())
        }
        checked => checked.map_err(JobError::Denied),
    }
}

/// A job that is no longer kept.
fn gone(parts: &Parts, job: &JobId) -> JobError {
    let endpoint = parts.uri.path().split('/').nth(2).unwrap_or_default();
    JobError::NoSuchJob { job: job.to_string(), endpoint: endpoint.chars().take(80).collect() }
}

/// Whether a request without a key is the local user's: a program of this machine, and not a page of the web
/// that runs on it. For servers that need no key.
pub fn is_local_request(headers: &HeaderMap) -> bool {
    is_local(headers).is_ok()
}

fn is_local(headers: &HeaderMap) -> Result<(), JobError> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?").to_owned());
    match text(header::HOST) {
        None => return Err(JobError::NotLocal("has no Host")),
        Some(host) if !is_loopback_host(&host) => return Err(JobError::NotLocal("names another host")),
        Some(_) => {}
    }
    match text(header::ORIGIN) {
        // To a browser `localhost` and 127.0.0.1 are two sites; to us they are one machine.
        Some(origin) if is_loopback_origin(&origin) => return Ok(()),
        Some(_) => return Err(JobError::NotLocal("comes from a page of another origin")),
        None => {}
    }
    let site = text(header::HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| site.eq_ignore_ascii_case("cross-site")) {
        return Err(JobError::NotLocal("comes from a page of another site"));
    }
    Ok(())
}
