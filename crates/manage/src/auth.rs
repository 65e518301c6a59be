//! Who calls: the owner of the data directory over its socket, a key, or the local user in open mode.

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
        let vault = manage.inner.engine.vault();
        match parts.headers.get(header::AUTHORIZATION) {
            Some(value) => {
                let value = value.to_str().map_err(|_| Denied::UnknownKey)?;
                Ok(Self(vault.key_caller(value)?))
            }
            None if manage.inner.open.is_some_and(|is_local| is_local(&parts.headers)) => {
                Ok(Self(vault.local_caller()))
            }
            None => Err(Denied::NoKey.into()),
        }
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
