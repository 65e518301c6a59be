//! What a visitor may do with everything that is here. Pages do not offer what would be refused; the API refuses it anyway.

use runyard_domain::{Access, EndpointId};

use crate::session::Visit;

/// Rights that are not those of one endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct May {
    /// Look at what endpoints share.
    pub(crate) look: bool,
    /// Change what endpoints share, and make endpoints.
    pub(crate) deploy: bool,
    /// Members, settings, the audit log, the disk.
    pub(crate) admin: bool,
    /// Keys: everybody's, or the own.
    pub(crate) keys: bool,
    /// What was used.
    pub(crate) billing: bool,
}

impl Visit {
    pub(crate) fn may(&self) -> May {
        let all = |access| self.caller.may(access, None).is_ok();
        May {
            look: all(Access::Read),
            deploy: all(Access::Deploy),
            admin: all(Access::Admin),
            keys: all(Access::Admin) || self.caller.as_member().is_some(),
            billing: self.caller.may_see_billing().is_ok(),
        }
    }

    /// A right on one endpoint, by its id.
    pub(crate) fn may_with(&self, access: Access, endpoint: &str) -> bool {
        self.caller.may(access, Some(&EndpointId::new(endpoint))).is_ok()
    }
}
