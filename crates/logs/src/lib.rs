//! Every line a worker or a build printed: [`Writer`] appends records from the first byte on, [`Reader`]
//! finds them again by worker, job, level, text and time, and [`Tail`] follows them.
//!
//! One file per worker and per build, one JSON record a line:
//! `logs/<endpoint>/<worker>.jsonl` and `logs/<endpoint>/build-<release>.jsonl`. A file is only ever appended
//! to; a last line that a crash tore is skipped by readers and closed by the next writer.

mod detect;
mod mask;
mod plain;
#[doc(hidden)]
pub mod probe;
mod reader;
mod record;
mod reverse;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

pub use plain::plain;
pub use reader::{Query, Reader, remove_endpoint};
pub use record::{Level, Record, Source};
pub use tail::Tail;
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
