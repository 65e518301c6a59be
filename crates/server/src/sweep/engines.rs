//! The container engines in use, looked at before anything is judged: what of images, caches and leftovers each one
//! keeps. An engine that is away is told as unknown and holds nothing up.

use std::sync::Arc;
use std::time::Duration;

use runyard_domain::Timestamp;
use runyard_domain::image::Fault;
use runyard_runtime::Paths;
use runyard_runtime::docker::{BuildCache, Engine, Labels, Pulled, Stock, Used};
use tokio::time::timeout;

use super::account::Account;
use super::accounts::images::{BuildCaches, Deleted, Images};
use crate::config::Keep;

/// How long an engine may take to say what it has.
const PATIENCE: Duration = Duration::from_secs(90);

/// What one engine has.
pub(super) struct Shelf {
    /// Where it listens.
    pub(super) address: String,
    /// The engine, unless it is away.
    pub(super) engine: Option<Engine>,
    /// What it keeps, or why that is not known.
    pub(super) stock: Result<Stock, String>,
    /// The same of its cache of builds.
    pub(super) cache: Result<BuildCache, String>,
}

impl Shelf {
    /// A reason with the engine that it is about.
    pub(super) fn unknown(&self, why: &str) -> String {
        let away = self.engine.is_none();
        let advice = if away {
            "; an engine that never comes back is forgotten when its line in the file 'engines' of the data directory is removed"
        } else {
            ""
        };
        // Some of its words begin with where it is.
        let address = if why.contains(&self.address) { String::new() } else { format!("{}: ", self.address) };
        format!("{address}{why}{advice}")
    }
}

/// Their accounts. To be called before releases are read: whatever is seen here has its release by then.
pub(super) async fn accounts(paths: &Paths, keep: Keep, now: Timestamp) -> Vec<Box<dyn Account>> {
    let mut shelves = Vec::new();
    for address in Used::new(paths.engines()).known() {
        shelves.push(shelf(address, paths).await);
    }
    let (shelves, runtime) = (Arc::new(shelves), tokio::runtime::Handle::current());
    vec![
        Box::new(Images {
            shelves: shelves.clone(),
            runtime: runtime.clone(),
            pulled: Pulled::new(paths.pulled()),
        }),
        Box::new(BuildCaches {
            shelves: shelves.clone(),
            runtime,
            most: keep.build_cache_bytes,
            now_s: now.0 / 1000,
        }),
        Box::new(Deleted { shelves }),
    ]
}

async fn shelf(address: String, paths: &Paths) -> Shelf {
    let looked = timeout(PATIENCE, look(&address, paths)).await;
    let late = || format!("it did not answer within {} seconds", PATIENCE.as_secs());
    match looked.map_err(|_| late()).and_then(|looked| looked.map_err(|fault| fault.sentence())) {
        Ok((engine, stock, cache)) => Shelf { address, engine: Some(engine), stock, cache },
        Err(why) => Shelf { address, engine: None, stock: Err(why.clone()), cache: Err(why) },
    }
}

type Looked = (Engine, Result<Stock, String>, Result<BuildCache, String>);

async fn look(address: &str, paths: &Paths) -> Result<Looked, Fault> {
    let engine = Engine::connect(address).await?;
    let (labels, pulled) = (labels(paths), Pulled::new(paths.pulled()));
    let (stock, cache) = tokio::join!(engine.stock(&labels, &pulled), engine.build_cache());
    let words = |fault: Fault| fault.sentence();
    Ok((engine, stock.map_err(words), cache.map_err(words)))
}

/// Removes what a server that was killed has left half made on an engine.
pub(super) async fn clear_peeks(paths: &Paths, started: Timestamp) {
    for address in Used::new(paths.engines()).known() {
        let swept =
            async { Engine::connect(&address).await?.sweep_peeks(&labels(paths), started.0 / 1000).await };
        match timeout(PATIENCE, swept).await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(count)) => {
                tracing::info!(count, engine = address, "removed containers of a deploy that was cut off");
            }
            Ok(Err(fault)) => {
                tracing::debug!(engine = address, fault = fault.sentence(), "an engine was not swept");
            }
        }
    }
}

fn labels(paths: &Paths) -> Labels {
    Labels::of(&paths.data.canonicalize().unwrap_or_else(|_| paths.data.clone()))
}
