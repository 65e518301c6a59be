//! Typed ids. An id is an opaque string of ASCII letters, digits, `-` and `_`; each kind has its own type so
//! that a worker can never be passed where a job is meant.

use serde::{Deserialize, Serialize};

/// The longest id any kind accepts, in bytes. Ids appear in paths and file names.
pub const MAX_ID_LEN: usize = 96;

/// Words that share the `/v2/` prefix with endpoint ids and can therefore name no endpoint.
pub const RESERVED: [&str; 15] = [
    "pods",
    "serverless",
    "templates",
    "network-volumes",
    "global-volumes",
    "registries",
    "catalog",
    "billing",
    "account",
    "clusters",
    "sandboxes",
    "tags",
    "openapi.json",
    "flash",
    "secrets",
];

/// Whether `text` is a well-formed id: 1 to [`MAX_ID_LEN`] of ASCII letters, digits, `-`, `_`.
pub fn is_well_formed(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_ID_LEN
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Bytes in lowercase hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS[usize::from(nibble)] as char;
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The text is not a well-formed id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a valid id: use 1 to 96 letters, digits, '-' and '_'")]
pub struct InvalidId(pub String);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a text that is known to be well formed (made by us, or read back from the store).
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// Checks a text that came from outside.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                if is_well_formed(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidId(text.chars().take(120).collect()))
                }
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// An endpoint: 14 lowercase letters and digits when we make it.
    EndpointId
);
id!(
    /// A job: a UUID with the suffix `-u1`, as RunPod's are; synchronous ones start with `sync-`.
    JobId
);
id!(
    /// One incarnation of a worker: every start gets a new one. 14 lowercase letters and digits.
    WorkerId
);
id!(
    /// The public part of an API key: what lists and audit lines show.
    KeyId
);
id!(
    /// A member: 10 lowercase letters and digits.
    MemberId
);
id!(
    /// A batch: `batch_` and 26 lowercase letters and digits.
    BatchId
);
id!(
    /// One delivery of a webhook: `msg_`, the job's id, `-`, and the job's `seq` when it ended.
    DeliveryId
);
id!(
    /// A connection of an endpoint with a Git repository: `git_` and 20 lowercase letters and digits.
    ConnectionId
);
id!(
    /// A template, a network volume, or another record that endpoints share: 10 lowercase letters and digits.
    ResourceId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_from_outside_are_checked() {
        assert!(JobId::parse("sync-3f2c-u1").is_ok());
        for bad in ["", "a/b", "..", "a b", "é", &"x".repeat(97)] {
            assert!(JobId::parse(bad).is_err(), "{bad}");
        }
    }
}
