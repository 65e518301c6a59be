//! Every line a worker or a build printed: [`Writer`] appends records from the first byte on, [`Reader`]
//! finds them again by worker, job, level, text, field and time, and [`Tail`] follows them.
//!
//! What is being written is a file of JSON lines, `logs/<endpoint>/<worker>.jsonl` or
//! `logs/<endpoint>/build-<release>.jsonl`. When it is full it is put aside and packed ([`Sealer`]) into a segment:
//! compressed blocks, each with a head that tells a search whether it is worth unpacking. A last line that a crash tore is
//! skipped by readers, and so is a block.

mod block;
mod body;
mod condition;
mod counts;
mod detect;
mod filter;
mod lines;
mod mask;
mod names;
mod pattern;
mod plain;
mod plan;
#[doc(hidden)]
pub mod probe;
mod query;
mod reader;
mod record;
mod reverse;
mod sdk;
mod seal;
mod search;
mod segment;
mod tail;
#[cfg(test)]
mod tests;
mod waiting;
mod writer;

pub use condition::{Condition, ConditionError};
pub use counts::Counts;
pub use pattern::{MAX_PATTERN, Pattern, PatternError};
pub use plain::plain;
pub use query::Query;
pub use reader::{Reader, Shown, remove_endpoint};
pub use record::{Level, Record, Running, Source};
pub use seal::Sealer;
pub use search::{Search, Step};
pub use tail::{Polled, Tail};
pub use writer::{MAX_LINE, Origin, Writer};

use std::path::PathBuf;

/// A log file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file or its folder could not be made or opened.
    #[error("cannot open the log {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Records could not be written; they are kept in memory and tried again with the next ones.
    #[error("cannot write to the log {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file could not be read.
    #[error("cannot read the log {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The logs of an endpoint could not be removed.
    #[error("cannot remove the logs in {path}")]
    Remove {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
