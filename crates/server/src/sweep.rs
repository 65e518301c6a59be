//! What nobody needs any more goes: logs of workers that are forgotten or long gone, bundles that no release
//! names, environments that none names and nobody used for a week, working directories and temporary files that
//! were left behind, and the tokens of workers that ended. Looks after each start and every hour at what is there
//! and at what is known, and removes a bounded number of things; what it leaves, it sees again.
//!
//! Nothing young goes: a deploy puts a bundle and an environment there before its release names them. While a
//! worker runs whose release nobody knows any more, all code stays.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use runyard_domain::worker::WorkerState;
use runyard_domain::{EndpointId, Timestamp, WorkerId};
use runyard_engine::Engine;
use runyard_runtime::{Observed, Paths, Runtime, RuntimeError};
use runyard_store::StoreError;

mod disk;

/// How often it looks.
const EVERY: Duration = Duration::from_hours(1);

/// How long the token of a worker that ended lets late results in.
const TOKEN_MS: i64 = 60 * 60 * 1000;

/// More gone workers than the store keeps of one endpoint.
const WORKERS: usize = 10_000;

/// Removes what nobody needs. It can be run twice without harm.
pub(crate) struct Sweeper {
    pub(crate) engine: Engine,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) paths: Paths,
}

/// Why a sweep ended early.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error("cannot list workers")]
    Workers(#[from] RuntimeError),
    #[error("cannot read records")]
    Records(#[from] StoreError),
    #[error("it was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// What is known, and so stays.
#[derive(Debug, Default)]
struct Known {
    now: Timestamp,
    /// By the clock that the times of files go by.
    wall: Timestamp,
    /// Endpoints with the numbers of their releases.
    endpoints: HashMap<EndpointId, HashSet<u32>>,
    bundles: HashSet<String>,
    environments: HashSet<String>,
    /// Records of workers: when those that are gone ended.
    workers: HashMap<WorkerId, Option<Timestamp>>,
    /// Workers that the runtime knows: they run, or something of theirs waits.
    observed: HashSet<WorkerId>,
    /// A worker runs of a release that is not known.
    strangers: bool,
}

/// What was removed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Swept {
    logs: usize,
    bundles: usize,
    environments: usize,
    left_behind: usize,
}

impl Sweeper {
    /// Sweeps now and every hour, as long as it is not aborted.
    pub(crate) async fn run(self) {
        loop {
            match self.sweep().await {
                Ok(swept) if swept == Swept::default() => {}
                Ok(Swept { logs, bundles, environments, left_behind }) => {
                    tracing::info!(logs, bundles, environments, left_behind, "removed what nobody needs");
                }
                Err(error) => tracing::warn!(%error, cause = ?error, "a sweep ended early"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn sweep(&self) -> Result<Swept, SweepError> {
        // Tokens first: whoever has one by now has a record when those are read.
        let tokens = self.engine.vault().tokens();
        let observed = self.runtime.list().await?;
        let engine = self.engine.clone();
        let (known, root) = (move || known(&engine, &observed), Root::of(&self.paths));
        let known = tokio::task::spawn_blocking(known).await??;
        for (hash, worker) in tokens {
            if known.has_ended(&worker) {
                self.engine.vault().dismiss_worker(&hash);
            }
        }
        Ok(tokio::task::spawn_blocking(move || disk::clear(&root, &known)).await?)
    }
}

impl Known {
    /// Whether nothing of a worker can come any more.
    fn has_ended(&self, worker: &WorkerId) -> bool {
        if self.observed.contains(worker) {
            return false;
        }
        match self.workers.get(worker) {
            Some(Some(ended)) => self.now.since(*ended) > TOKEN_MS,
            Some(None) => false,
            // It ended before so many others that its record is gone.
            None => true,
        }
    }
}

fn known(engine: &Engine, observed: &[Observed]) -> Result<Known, StoreError> {
    let reader = engine.reader();
    let mut known = Known {
        now: engine.now(),
        wall: engine.env().wall(),
        observed: observed.iter().map(|worker| worker.id.clone()).collect(),
        ..Known::default()
    };
    for endpoint in reader.endpoints()? {
        let releases = reader.releases(&endpoint.id)?;
        known.bundles.extend(releases.iter().map(|release| release.bundle.clone()));
        known.environments.extend(releases.iter().map(|release| release.environment.clone()));
        for record in reader.workers(Some(&endpoint.id), WORKERS)? {
            let gone = record.state == WorkerState::Gone;
            known.workers.insert(record.id, gone.then_some(record.ended_at.unwrap_or(record.created_at)));
        }
        known.endpoints.insert(endpoint.id, releases.iter().map(|release| release.number).collect());
    }
    let is_known = |worker: &Observed| {
        known.endpoints.get(&worker.endpoint).is_some_and(|numbers| numbers.contains(&worker.release))
    };
    known.strangers = observed.iter().any(|worker| worker.ended_at.is_none() && !is_known(worker));
    Ok(known)
}

/// The folders that are swept.
#[derive(Debug)]
struct Root {
    logs: PathBuf,
    bundles: PathBuf,
    envs: PathBuf,
    work: PathBuf,
    cache: PathBuf,
}

impl Root {
    fn of(paths: &Paths) -> Self {
        Self {
            logs: paths.logs(),
            bundles: paths.bundles(),
            envs: paths.envs(),
            work: paths.work(),
            cache: paths.cache(),
        }
    }
}
