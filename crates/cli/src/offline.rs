//! Reading a data directory while no server runs on it: the same API, answered by a router in this process.

use std::path::Path;

use axum::Router;

use crate::errors::{Code, Failure};

/// Opens the data directory at `dir` and answers as its server would. The directory stays locked until this
/// process ends.
#[allow(clippy::unused_async, reason = "the store's tasks need the runtime that an async caller has")]
pub async fn open_offline(dir: &Path) -> anyhow::Result<Router> {
    let offline = runyard_server::offline::open(dir).map_err(|error| {
        Failure::new(Code::Failure, error.to_string()).hint(format!("runyard up --data {}", dir.display()))
    })?;
    let routes = offline.routes.clone();
    std::mem::forget(offline);
    Ok(routes)
}
