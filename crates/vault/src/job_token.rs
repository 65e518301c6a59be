//! Tokens for one job: what a program hands to a page in a browser, so that the page can follow and cancel the job that
//! was submitted for it and nothing else. A token is a mark over the job's id; nothing of it is kept, and it opens
//! something for as long as the job is there.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use runyard_domain::{Job, JobId, Operation};
use sha2::Sha256;

use crate::{Caller, Denied, Vault};

/// What tokens for a job start with.
pub const JOB_PREFIX: &str = "jt_";

/// What a token opens of its job.
const OPENED: [Operation; 3] = [Operation::Status, Operation::Stream, Operation::Cancel];

impl Vault {
    /// The token of a job: always the same one.
    pub fn job_token(&self, job: &JobId) -> String {
        let mark = self.marks().first().map(|key| marked(key, job).finalize().into_bytes());
        format!("{JOB_PREFIX}{}", URL_SAFE_NO_PAD.encode(mark.unwrap_or_default()))
    }

    /// Whether an `Authorization` value is a token for a job, if not of which.
    pub fn is_job_token(authorization: &str) -> bool {
        crate::bare(authorization).starts_with(JOB_PREFIX)
    }

    /// Who sends this token for this operation, of the job in the path. `find` looks for the job once the token is known
    /// to be its; where it is not there any more, so is the answer.
    pub fn job_token_caller<E: From<Denied>>(
        &self,
        authorization: &str,
        operation: Option<Operation>,
        job: Option<&JobId>,
        find: impl FnOnce(&JobId) -> Result<Job, E>,
    ) -> Result<Caller, E> {
        let mark = crate::bare(authorization).strip_prefix(JOB_PREFIX);
        let mark = mark.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or(Denied::UnknownKey)?;
        let Some(job) = job.filter(|_| operation.is_some_and(|it| OPENED.contains(&it))) else {
            return Err(Denied::JobToken.into());
        };
        if !self.marks().iter().any(|key| marked(key, job).verify_slice(&mark).is_ok()) {
            return Err(Denied::UnknownKey.into());
        }
        Ok(Caller::of_job(&find(job)?))
    }
}

fn marked(key: &[u8], job: &JobId) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(b"job ");
    mac.update(job.as_str().as_bytes());
    mac
}
