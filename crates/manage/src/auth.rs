//! Who calls: this very process, or whoever holds a key. Also a development server, whose job API needs none,
//! manages nothing without its owner's key: any program of the machine, workers among them, can reach it.

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use runyard_domain::{Access, Endpoint};
use runyard_vault::{Caller, Denied};
use std::sync::Arc;

use crate::{Manage, Problem};

/// A checked caller.
pub(crate) struct Auth(pub(crate) Caller);

impl FromRequestParts<Manage> for Auth {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, manage: &Manage) -> Result<Self, Problem> {
        if let Some(caller) = parts.extensions.get::<Caller>() {
            return Ok(Self(caller.clone()));
        }
        let value = parts.headers.get(header::AUTHORIZATION).ok_or(Denied::NoKey)?;
        let value = value.to_str().map_err(|_| Denied::UnknownKey)?;
        Ok(Self(manage.inner.engine.vault().key_caller(value)?))
    }
}

impl Manage {
    /// The endpoint, if there is one and the caller may do this with it. One that the caller may not even
    /// see is answered like one that is not there.
    pub(crate) fn endpoint(
        &self,
        caller: &Caller,
        access: Access,
        id_or_name: &str,
    ) -> Result<Arc<Endpoint>, Problem> {
        let found = self.inner.engine.endpoint(id_or_name).filter(|e| caller.sees(&e.id));
        let endpoint = found.ok_or_else(|| Problem::no_endpoint(id_or_name))?;
        caller.may(access, Some(&endpoint.id))?;
        Ok(endpoint)
    }
}
