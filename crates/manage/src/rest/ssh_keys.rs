//! The public SSH keys of this server's people: one list, replaced as a whole. Pods will take them.

use axum::extract::State;
use axum::response::Response;
use runyard_domain::resource::{Kind, SSH_KEYS};
use runyard_domain::{Access, Resource, ResourceId};
use serde_json::json;

use super::reader::Raw;
use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;
use crate::version::{self, Versions, tagged};

/// The most keys.
const MOST: usize = 1_000;

impl Manage {
    fn ssh_keys(&self) -> Result<Vec<String>, Problem> {
        let found = self.inner.engine.reader().resource(&ResourceId::new(SSH_KEYS))?;
        Ok(match found.map(|resource| resource.kind) {
            Some(Kind::SshKeys { keys }) => keys,
            _ => Vec::new(),
        })
    }
}

pub(crate) async fn list(
    State(manage): State<Manage>,
    auth: Auth,
    versions: Versions,
) -> Result<Response, Problem> {
    auth.0.may(Access::Read, None)?;
    let keys = manage.ssh_keys()?;
    Ok(versions.show(&version::of(&keys), json!({"keys": keys})))
}

pub(crate) async fn replace(
    State(manage): State<Manage>,
    auth: Auth,
    versions: Versions,
    body: Raw,
) -> Result<Response, Problem> {
    auth.0.may(Access::Admin, None)?;
    let keys = body.read(|body| {
        let keys = body.texts("keys", "a public SSH key on one line, as 'ssh-ed25519 AAAA… name'", is_key);
        let keys = body.required("keys", keys)?;
        if keys.len() > MOST {
            body.wrong(&format!("more than {MOST} keys"));
        }
        Some(keys)
    })?;
    let _turn = manage.inner.rest.turn.lock().await;
    versions.check(&version::of(&manage.ssh_keys()?))?;
    let kind = Kind::SshKeys { keys: keys.clone() };
    let (id, created_at) = (ResourceId::new(SSH_KEYS), manage.inner.engine.now());
    let resource = Resource { id, name: SSH_KEYS.to_owned(), created_at, kind };
    manage.inner.engine.put_resource(resource).await?;
    Ok(tagged(&version::of(&keys), json!({"keys": keys})))
}

/// Kind, the key itself, and whatever comes behind them on the line.
fn is_key(text: &str) -> bool {
    let Some((kind, rest)) = text.split_once(' ') else { return false };
    let is_kind = ["ssh-", "ecdsa-", "sk-"]
        .iter()
        .any(|family| kind.strip_prefix(family).is_some_and(|name| !name.is_empty()));
    let key = rest.split([' ', '\t']).next().unwrap_or_default();
    is_kind
        && !key.is_empty()
        && !kind.contains(char::is_whitespace)
        && !key.contains(char::is_whitespace)
        && !rest.contains(['\n', '\r'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_line() {
        for good in ["ssh-ed25519 AAAA", "ecdsa-sha2-nistp256 AAAA me@host", "sk-x y \t z"] {
            assert!(is_key(good), "{good}");
        }
        for bad in
            ["", "ssh-ed25519", "ssh- AAAA", "rsa AAAA", "ssh-rsa  AAAA", "ssh-rsa AAAA me\nssh-rsa B c"]
        {
            assert!(!is_key(bad), "{bad}");
        }
    }
}
