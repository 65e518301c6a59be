//! Who calls, and what that opens. Only this crate makes these values.

use runyard_domain::{Access, EndpointId, KeyRecord, Rates, WorkerId, WorkerRecord};

/// What the owner of the data directory is called. Ids of keys that we make are longer.
pub const OWNER: &str = "local";

/// What deploys of commits are made by.
const GIT: &str = "git";

/// Why something stays closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No key came.
    #[error("no API key: send it as 'Authorization: Bearer KEY'")]
    NoKey,
    /// The key is none of ours.
    #[error("the API key is not known here")]
    UnknownKey,
    /// The key was revoked.
    #[error("the API key was revoked")]
    Revoked,
    /// The key's time is over.
    #[error("the API key has expired")]
    Expired,
    /// The key is for other endpoints.
    #[error("the API key is not for this endpoint")]
    OtherEndpoint,
    /// The key may do less.
    #[error("the API key has no '{}' access", access_name(*.0))]
    Access(Access),
    /// The token is no living worker's.
    #[error("the worker token is not known here")]
    UnknownToken,
}

impl Denied {
    /// Whether another key is needed (401) or the key lacks a right (403).
    pub fn is_about_identity(&self) -> bool {
        !matches!(self, Self::OtherEndpoint | Self::Access(_))
    }
}

fn access_name(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Run => "run",
        Access::Deploy => "deploy",
        Access::Admin => "admin",
    }
}

/// A checked identity of a person or program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    name: String,
    access: Access,
    endpoints: Vec<EndpointId>,
    rates: Rates,
}

impl Caller {
    pub(crate) fn key(record: &KeyRecord) -> Self {
        Self {
            name: record.id.as_str().to_owned(),
            access: record.access,
            endpoints: record.endpoints.clone(),
            rates: record.rates.clone(),
        }
    }

    pub(crate) fn local() -> Self {
        Self { name: OWNER.to_owned(), access: Access::Admin, endpoints: Vec::new(), rates: Rates::default() }
    }

    pub(crate) fn git() -> Self {
        Self { name: GIT.to_owned(), access: Access::Deploy, endpoints: Vec::new(), rates: Rates::default() }
    }

    /// Whether this is the owner of the data directory, who may do on this machine what a shell may.
    pub fn is_owner(&self) -> bool {
        self.name == OWNER && self.access == Access::Admin
    }

    /// The endpoints the caller is restricted to; empty means all.
    pub fn endpoints(&self) -> &[EndpointId] {
        &self.endpoints
    }

    /// How often the caller may call, where that was set for its key.
    pub fn rates(&self) -> &Rates {
        &self.rates
    }

    /// What lists and audit lines show: a key's id, or `local`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Checks a right on an endpoint, or on all of them (`None`).
    pub fn may(&self, access: Access, endpoint: Option<&EndpointId>) -> Result<(), Denied> {
        let in_scope = self.endpoints.is_empty() || endpoint.is_some_and(|e| self.endpoints.contains(e));
        if !in_scope {
            return Err(Denied::OtherEndpoint);
        }
        if access > self.access {
            return Err(Denied::Access(access));
        }
        Ok(())
    }

    /// Whether a list may show this endpoint to the caller.
    pub fn sees(&self, endpoint: &EndpointId) -> bool {
        self.may(Access::Read, Some(endpoint)).is_ok()
    }
}

/// A checked identity of one incarnation of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerCaller {
    worker: WorkerId,
    endpoint: EndpointId,
    release: u32,
}

impl WorkerCaller {
    pub(crate) fn of(record: &WorkerRecord) -> Self {
        Self { worker: record.id.clone(), endpoint: record.endpoint.clone(), release: record.release }
    }

    /// The incarnation.
    pub fn worker(&self) -> &WorkerId {
        &self.worker
    }

    /// Its endpoint.
    pub fn endpoint(&self) -> &EndpointId {
        &self.endpoint
    }

    /// Its release.
    pub fn release(&self) -> u32 {
        self.release
    }
}
