//! Who calls, and what that opens. Only this crate makes these values.

use std::collections::BTreeMap;

use runyard_domain::{
    Access, EndpointId, Job, JobId, KeyRecord, MemberId, Operation, PageUse, Rates, Role, WorkerId,
    WorkerRecord,
};

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
    /// The key is disabled.
    #[error("the API key is disabled")]
    Disabled,
    /// The key was revoked.
    #[error("the API key was revoked")]
    Revoked,
    /// The key's time is over.
    #[error("the API key has expired")]
    Expired,
    /// The key is for other endpoints.
    #[error("the API key is not for this endpoint")]
    OtherEndpoint,
    /// The key is for pages in browsers, and does not open this.
    #[error("the API key is made for pages in browsers and does not open this")]
    Page,
    /// The member that the key belongs to is disabled, or no member any more.
    #[error("the member that the API key belongs to is disabled or was removed")]
    Member,
    /// The member's role does not allow it.
    #[error("a member with the role '{0}' may not do this")]
    Role(Role),
    /// The token is for one job, and does not open this.
    #[error("the token is for one job: it opens its status, its stream and its cancel, and nothing else")]
    JobToken,
    /// The key is for pages of other origins.
    #[error("the API key is not for pages of this origin")]
    Origin,
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
        !matches!(
            self,
            Self::OtherEndpoint
                | Self::Access(_)
                | Self::Page
                | Self::Origin
                | Self::JobToken
                | Self::Role(_)
        )
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
    grants: BTreeMap<EndpointId, Access>,
    rates: Rates,
    job: Option<JobId>,
    member: Option<(MemberId, Role)>,
    is_session: bool,
}

impl Caller {
    /// Whoever has this key, within what the role of its member allows.
    pub(crate) fn key(record: &KeyRecord, role: Option<Role>) -> Self {
        let within = |access: Access| match role {
            Some(role) => role.access().map_or(Access::Read, |most| access.min(most)),
            None => access,
        };
        // Who may do nothing with endpoints sees none: the key is restricted to one that there cannot be.
        let none = || vec![EndpointId::new("no-endpoint-at-all")];
        let sees_none = role.is_some_and(|role| role.access().is_none());
        Self {
            name: record.id.as_str().to_owned(),
            access: within(record.access),
            endpoints: if sees_none { none() } else { record.endpoints.clone() },
            grants: record.grants.iter().map(|(id, access)| (id.clone(), within(*access))).collect(),
            rates: record.rates.clone(),
            job: None,
            member: record.member.clone().zip(role),
            is_session: record.session.is_some(),
        }
    }

    /// Whoever has the token of a job.
    pub(crate) fn of_job(job: &Job) -> Self {
        Self {
            endpoints: vec![job.endpoint.clone()],
            job: Some(job.id.clone()),
            ..Self::own(&format!("the token of {}", job.id), Access::Run)
        }
    }

    fn own(name: &str, access: Access) -> Self {
        Self {
            name: name.to_owned(),
            access,
            endpoints: Vec::new(),
            grants: BTreeMap::new(),
            rates: Rates::default(),
            job: None,
            member: None,
            is_session: false,
        }
    }

    pub(crate) fn local() -> Self {
        Self::own(OWNER, Access::Admin)
    }

    pub(crate) fn git() -> Self {
        Self::own(GIT, Access::Deploy)
    }

    /// Whether this is the owner of the data directory, who may do on this machine what a shell may.
    pub fn is_owner(&self) -> bool {
        self.name == OWNER && self.access == Access::Admin
    }

    /// The endpoints the caller is restricted to; empty means all.
    pub fn endpoints(&self) -> &[EndpointId] {
        &self.endpoints
    }

    /// The one job that the caller is restricted to.
    pub fn job(&self) -> Option<&JobId> {
        self.job.as_ref()
    }

    /// The member whose key it is.
    pub fn member(&self) -> Option<&MemberId> {
        self.member.as_ref().map(|(id, _)| id)
    }

    /// The member, where the key opens all that the member may do: what is the member's own may be changed with it.
    pub fn as_member(&self) -> Option<&MemberId> {
        let (id, role) = self.member.as_ref()?;
        let is_whole = role.access().is_none_or(|most| self.endpoints.is_empty() && self.access == most);
        is_whole.then_some(id)
    }

    /// Whether the key was made by signing in.
    pub fn is_session(&self) -> bool {
        self.is_session
    }

    /// The most that the caller may do with endpoints.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Checks that what is spent may be seen: of members, not every role may.
    pub fn may_see_billing(&self) -> Result<(), Denied> {
        match &self.member {
            Some((_, role)) if !role.sees_billing() => Err(Denied::Role(*role)),
            _ => Ok(()),
        }
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
        if let Some((_, role)) = &self.member
            && role.access().is_none_or(|most| access > most)
        {
            return Err(Denied::Role(*role));
        }
        let in_scope = self.endpoints.is_empty() || endpoint.is_some_and(|e| self.endpoints.contains(e));
        if !in_scope {
            return Err(Denied::OtherEndpoint);
        }
        let granted = endpoint.and_then(|e| self.grants.get(e)).unwrap_or(&self.access);
        if access > *granted {
            return Err(Denied::Access(access));
        }
        Ok(())
    }

    /// Whether a list may show this endpoint to the caller.
    pub fn sees(&self, endpoint: &EndpointId) -> bool {
        self.may(Access::Read, Some(endpoint)).is_ok()
    }
}

/// Whether a key for pages opens this operation to a page of this origin.
pub(crate) fn admits_page(
    page: &PageUse,
    operation: Option<Operation>,
    origin: Option<&str>,
) -> Result<(), Denied> {
    if !operation.is_some_and(|operation| page.operations.contains(&operation)) {
        return Err(Denied::Page);
    }
    let is_allowed = |origin: &str| page.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin));
    if page.origins.is_empty() || origin.is_some_and(is_allowed) { Ok(()) } else { Err(Denied::Origin) }
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
