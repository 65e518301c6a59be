//! The record of an API key: what it may do, not what it is. The key itself is shown once and kept as a hash.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{EndpointId, KeyId, MemberId, Rates, Timestamp};

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
    /// Endpoints of its restriction with which it may do something else than `access` says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub grants: BTreeMap<EndpointId, Access>,
    /// Since when it opens nothing, until it is enabled again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<Timestamp>,
    /// When it was last used, as far as that was written: every so often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<Timestamp>,
    /// What it is held to where it is made for pages in browsers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<PageUse>,
    /// Whose it is: it opens no more than the member's role allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberId>,
    /// It was made by signing in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
}

/// How somebody signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Session {
    /// At the identity provider.
    Provider,
    /// With a key, of this hash: where that opens nothing any more, neither does the session.
    Key(String),
}

/// What a key for pages in browsers, which anybody can read there, is held to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageUse {
    /// The operations of the job API that it opens.
    pub operations: Vec<Operation>,
    /// The origins of the pages, as `https://example.com`; empty: any.
    pub origins: Vec<String>,
}

/// An operation of the job API that pages may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Submit a job.
    Run,
    /// Submit one and wait.
    Runsync,
    /// Look at one, also waiting.
    Status,
    /// What it yields.
    Stream,
    /// End one.
    Cancel,
}

impl Operation {
    /// Every one, in the order in which they are told.
    pub const ALL: [Self; 5] = [Self::Run, Self::Runsync, Self::Status, Self::Stream, Self::Cancel];

    /// The operation of a path's step behind the endpoint.
    pub fn of_step(step: &str) -> Option<Self> {
        match step {
            "run" => Some(Self::Run),
            "runsync" => Some(Self::Runsync),
            "status" | "status-sync" => Some(Self::Status),
            "stream" => Some(Self::Stream),
            "cancel" => Some(Self::Cancel),
            _ => None,
        }
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Runsync => "runsync",
            Self::Status => "status",
            Self::Stream => "stream",
            Self::Cancel => "cancel",
        }
    }
}
