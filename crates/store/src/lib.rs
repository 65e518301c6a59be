//! Where jobs and the control plane's records are kept. One seam: [`Store::commit`] takes a batch of
//! commands, loads what they name, decides each in `domain`, writes the outcome, and makes all of it durable
//! in one transaction; [`Reader`] answers queries beside the writer. The store has no policy of its own.
//!
//! Two implementations share one conformance suite (`tests/suite`): [`memory`], the model, and [`sqlite`].
//! Large payloads lie in the folder of [`Blobs`], synced before a command that names them is committed. A file
//! that a command names belongs to the store from then on: what it does not keep (a refused result, the second
//! submission of an idempotency key) it removes after the commit.

mod blobs;
mod command;
#[doc(hidden)]
pub mod crash;
pub mod memory;
mod query;
mod reserve;
pub mod sqlite;

pub use blobs::{Blobs, Hold, SPILL_ABOVE};
pub use command::{
    AHEAD_BYTES, BATCH_SLICE, BatchChange, Command, Refused, Reply, Submission, TAKE_BYTES, Taken, Which,
};
pub use memory::MemoryStore;
pub use query::{Chunk, Counts, Filter, Reader, Standing};
pub use reserve::{Reserve, Room};
pub use sqlite::SqliteStore;

use runyard_domain::Timestamp;

/// What can go wrong with the store itself. A refusal of a single command is a [`Reply`], not an error.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full: nothing of the batch was written.
    #[error("the disk is full")]
    DiskFull,
    /// The database failed.
    #[error("the database failed while it tried to {operation}")]
    Database {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: rusqlite::Error,
    },
    /// A file of the store failed.
    #[error("cannot {operation} {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// Where.
        path: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A record cannot be read back.
    #[error("a stored {kind} cannot be read")]
    Corrupt {
        /// What kind of record.
        kind: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The database was made by a newer runyard.
    #[error(
        "the data was written by a newer version (schema {found}, this one knows {known}): upgrade runyard"
    )]
    Newer {
        /// The schema found.
        found: u32,
        /// The newest schema this program knows.
        known: u32,
    },
}

/// The writing side. It belongs to one thread.
pub trait Store: Send {
    /// Decides and writes a batch. Replies come in the order of the commands; when it returns, everything
    /// they say is durable. On an error nothing of the batch was written.
    fn commit(&mut self, now: Timestamp, commands: &[Command]) -> Result<Vec<Reply>, StoreError>;

    /// The reading side; cheap to clone and usable from any thread.
    fn reader(&self) -> std::sync::Arc<dyn Reader>;
}
