//! A payload is JSON text that runyard carries but does not read: inputs, outputs, chunks. Small ones travel
//! in memory, large ones lie in a file of the blob folder, which is synced before anything names it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// JSON text, delivered byte for byte as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// The bytes themselves.
    Inline(Bytes),
    /// A file in the blob folder.
    File {
        /// The file's name in the blob folder: an id, never a path.
        name: String,
        /// Its length in bytes.
        len: u64,
    },
}

impl Payload {
    /// Wraps bytes that are kept in memory.
    pub fn inline(bytes: impl Into<Bytes>) -> Self {
        Self::Inline(bytes.into())
    }

    /// The payload's length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// Whether the payload has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
