//! A data directory without a server: the same API over the same store, with no workers. For looking.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use runyard_domain::WorkerId;
use runyard_listener::raise_open_files;
use runyard_runtime::{Event, Observed, Paths, Pending, Runtime, RuntimeError, Stop, Whose, WorkerSpec};
use tokio::sync::broadcast;

use crate::ServerError;
use crate::config::{Config, Flags};
use crate::home::Home;
use crate::operator::{self, Latest, Operator};
use crate::serve::{Core, Face, Mode, core, fleet, manage};
use crate::sides::routes;
use crate::sweep::Sweeper;

/// An opened data directory; it is locked as long as this lives.
pub struct Offline {
    /// The routes as the owner reaches them.
    pub routes: Router,
    _home: Home,
}

/// Opens a data directory that no server runs on.
pub fn open(data: &Path) -> Result<Offline, ServerError> {
    if !data.join("db").is_dir() {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(ServerError::File {
            operation: "find a runyard data directory at",
            path: data.to_owned(),
            source,
        });
    }
    let config = Config::load(&Paths::new(data).config(), &Flags::default())?;
    let Core { engine, blobs, home } = core(data, &config)?;
    engine.close_submissions();
    let runtime = Arc::new(NoWorkers(broadcast::channel(1).0));
    let fleet = fleet(&engine, runtime.clone(), &home.paths, &config);
    let operator = Operator::new(operator::Options {
        engine: engine.clone(),
        runtime: runtime.clone(),
        paths: home.paths.clone(),
        blobs,
        config: config.clone(),
        tls: None,
        address: None,
        files: raise_open_files(),
        latest: Latest::default(),
    });
    let sweeper = Sweeper::new(&engine, runtime, &home.paths, config.keep);
    let url = format!("http://{}", config.listen);
    let face =
        Face { url: &url, boundary: "no workers: offline", open: false, offline: true, mode: Mode::Up };
    let manage = manage(&engine, &fleet, &home, &config, &face, Arc::new(sweeper));
    let sides = routes(&engine, &fleet, &manage, &operator, &face, &config.limits);
    Ok(Offline { routes: sides.inside, _home: home })
}

/// Runs nothing.
struct NoWorkers(broadcast::Sender<Event>);

fn refused<T: Send + 'static>(operation: &str) -> Pending<'static, Result<T, RuntimeError>> {
    let error = RuntimeError {
        operation: operation.to_owned(),
        message: "no server runs on this data directory".to_owned(),
        whose: Whose::User,
        retryable: false,
    };
    Box::pin(std::future::ready(Err(error)))
}

impl Runtime for NoWorkers {
    fn start(&self, _spec: WorkerSpec) -> Pending<'_, Result<u32, RuntimeError>> {
        refused("start a worker")
    }
    fn stop<'a>(&'a self, _worker: &'a WorkerId, _how: Stop) -> Pending<'a, Result<(), RuntimeError>> {
        refused("stop a worker")
    }
    fn list(&self) -> Pending<'_, Result<Vec<Observed>, RuntimeError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
    fn forget<'a>(&'a self, _worker: &'a WorkerId) -> Pending<'a, Result<(), RuntimeError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn watch(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
    fn worker_url(&self) -> Pending<'_, Result<String, RuntimeError>> {
        refused("reach workers")
    }
    fn boundary(&self) -> Pending<'_, Result<String, RuntimeError>> {
        Box::pin(std::future::ready(Ok("no workers: offline".to_owned())))
    }
    fn shut_down(&self) -> Pending<'_, Result<(), RuntimeError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
