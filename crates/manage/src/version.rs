//! Versions of what is kept, for who reads something and then changes it: `ETag` names what was read, `If-Match` lets
//! a change through only while it is still that, `If-None-Match` saves sending it again. A version is of what is
//! stored: counts and states that an answer also shows have none.

use std::fmt::Write as _;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use runyard_domain::git::Connection;
use runyard_domain::{Endpoint, KeyRecord, SecretRecord};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::Problem;

/// What a request says of versions.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    wanted: Option<String>,
    known: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Versions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let wanted = texts(&parts.headers, &header::IF_MATCH)?;
        Ok(Self { wanted, known: texts(&parts.headers, &header::IF_NONE_MATCH)? })
    }
}

/// Every value of a header, as one list.
fn texts(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Problem> {
    let all: Result<Vec<&str>, _> = headers.get_all(name).iter().map(|value| value.to_str()).collect();
    let all = all.map_err(|_| Problem::invalid(format!("'{name}' is no list of entity tags")))?;
    Ok((!all.is_empty()).then(|| all.join(",")))
}

impl Versions {
    /// Those that a change may be made to.
    pub(crate) fn wanting(wanted: &str) -> Self {
        Self { wanted: Some(wanted.to_owned()), known: None }
    }

    /// Refuses a change of another version than the caller read; an empty one is of what is not there. To be asked
    /// where nobody else can change it.
    pub(crate) fn check(&self, version: &str) -> Result<(), Problem> {
        match &self.wanted {
            Some(wanted) if !names(wanted, version, false) => Err(Problem::precondition_failed(version)),
            _ => Ok(()),
        }
    }

    /// A view with its version, or only that the caller has it.
    pub(crate) fn show(&self, version: &str, view: Value) -> Response {
        let tag = [(header::ETAG, version.to_owned())];
        match &self.known {
            Some(known) if names(known, version, true) => (StatusCode::NOT_MODIFIED, tag).into_response(),
            _ => (tag, Json(view)).into_response(),
        }
    }
}

/// A view with its version.
pub(crate) fn tagged(version: &str, view: Value) -> Response {
    Versions::default().show(version, view)
}

/// Whether a list of entity tags names a version. A weak tag never names one for a change.
fn names(list: &str, version: &str, weakly: bool) -> bool {
    list.split(',').map(str::trim).any(|tag| {
        let tag = if weakly { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
        !version.is_empty() && (tag == "*" || tag == version)
    })
}

/// The version of a record.
pub(crate) fn of(record: &impl Serialize) -> String {
    let digest = Sha256::digest(serde_json::to_vec(record).unwrap_or_default());
    let hex = digest.iter().take(10).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    format!("\"{hex}\"")
}

/// Of an endpoint: its name and settings, what serves it, and what of it a file or a blueprint says.
pub(crate) fn of_endpoint(endpoint: &Endpoint) -> String {
    let Endpoint { id, name, settings, serving, next_release, managed, blueprint, .. } = endpoint;
    of(&json!([id, name, settings, serving, next_release, managed, blueprint]))
}

/// Of a key: everything but when it was used.
pub(crate) fn of_key(key: &KeyRecord) -> String {
    of(&KeyRecord { used_at: None, ..key.clone() })
}

/// Of a secret: everything but when it was used.
pub(crate) fn of_secret(secret: &SecretRecord) -> String {
    of(&(&secret.name, &secret.description, secret.version, secret.created_at, secret.updated_at))
}

/// Of a connection: which repository it follows and how, not what came of it.
pub(crate) fn of_connection(connection: &Connection) -> String {
    of(&(&connection.id, &connection.origin, &connection.part, &connection.secrets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_needs_the_very_version() {
        let version = of(&"a");
        for fits in [version.clone(), "*".to_owned(), format!("\"x\", {version}")] {
            assert!(Versions::wanting(&fits).check(&version).is_ok(), "{fits}");
        }
        for stale in [of(&"b"), format!("W/{version}"), String::new(), version.replace('"', "")] {
            assert!(Versions::wanting(&stale).check(&version).is_err(), "{stale}");
        }
        assert!(Versions::default().check(&version).is_ok());
        assert!(Versions::wanting("*").check("").is_err(), "there is nothing that could be changed");
    }

    #[test]
    fn who_has_it_is_not_sent_it_again() {
        let version = of(&"a");
        let known = |tag: String| Versions { wanted: None, known: Some(tag) };
        let shown = known(format!("W/{version}")).show(&version, json!({}));
        assert_eq!(shown.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(known(of(&"b")).show(&version, json!({})).status(), StatusCode::OK);
    }
}
