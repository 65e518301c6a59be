//! The record of an API key: what it may do, not what it is. The key itself is shown once and kept as a hash.

use serde::{Deserialize, Serialize};

use crate::{EndpointId, KeyId, Rates, Timestamp};

/// What a key may do with the endpoints in its scope. Each level includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Look: status, health, lists, logs.
    Read,
    /// And submit, cancel, retry, purge jobs. The scope of a publishable or application key.
    Run,
    /// And deploy, change settings, roll back.
    Deploy,
    /// And make and revoke keys. Only without a restriction to endpoints.
    Admin,
}

/// An API key as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The public part.
    pub id: KeyId,
    /// What people call it.
    pub name: String,
    /// SHA-256 of the whole key, in hex. Keys carry 190 bits of randomness, so no slow hash is needed.
    pub hash: String,
    /// What it may do.
    pub access: Access,
    /// The endpoints it is restricted to; empty means all.
    pub endpoints: Vec<EndpointId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// After this it opens nothing.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// How often it may call, where it is not what holds for its endpoints.
    #[serde(default)]
    pub rates: Rates,
}
