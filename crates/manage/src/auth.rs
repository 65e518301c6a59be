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
        let checked = match parts.headers.get(header::AUTHORIZATION) {
            None => Err(Denied::NoKey),
            Some(value) => value.to_str().map_or(Err(Denied::UnknownKey), |text| vault.key_caller(text)),
        };
        let is_local = || manage.inner.open.is_some_and(|is_local| is_local(&parts.headers));
        match checked {
            // Where no key is needed, one that is not ours counts as none.
            Err(Denied::NoKey | Denied::UnknownKey) if is_local() => Ok(Self(vault.local_caller())),
            checked => Ok(Self(checked?)),
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
