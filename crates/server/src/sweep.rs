//! What nobody needs any more goes: logs of workers that are forgotten or long gone, the code of releases that are
//! not kept, environments that none of them names, working directories and temporary files that were left behind,
//! caches beyond their bound, images of releases that are not kept, and the tokens of workers that ended. Looks after each start and every hour at what is
//! there and at what is known, and removes a bounded number of things; what it leaves, it sees again. `runyard disk`
//! shows the same judgement, and `prune` acts on it at once.
//!
//! Nothing young goes: a deploy puts a bundle and an environment there before its release names them. While a
//! worker runs whose release nobody knows any more, all code stays.
//!
//! Each kind of thing is an [`Account`](account::Account); to add one, add it to [`accounts::all`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "docker")]
use runyard_domain::Release;
use runyard_domain::keep::{self, KeepRules};
use runyard_domain::worker::WorkerState;
use runyard_domain::{EndpointId, Settings, Timestamp, WorkerId};
use runyard_engine::Engine;
use runyard_manage::{DiskAccount, DiskKeeper};
use runyard_runtime::{Observed, Paths, Pending, Runtime, RuntimeError};
use runyard_store::StoreError;

use crate::config::Keep;

mod account;
mod accounts;
#[cfg(feature = "docker")]
mod engines;
mod files;
mod house;

use account::{Account, Look};

/// How often it looks.
const EVERY: Duration = Duration::from_hours(1);

/// How often it looks at logs in between: a worker can fill a disk within the hour.
const LOGS_EVERY: Duration = Duration::from_mins(5);

/// How long the token of a worker that ended lets late results in.
const TOKEN_MS: i64 = 60 * 60 * 1000;

/// More gone workers than the store keeps of one endpoint.
const WORKERS: usize = 10_000;

/// Removes what nobody needs. It can be run twice without harm. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sweeper {
    engine: Engine,
    runtime: Arc<dyn Runtime>,
    paths: Paths,
    keep: Keep,
    /// What was made before this and is unfinished, nobody finishes.
    started: Timestamp,
    /// One at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
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
    /// When this server started, by that clock.
    started: Timestamp,
    /// Endpoints with the numbers of their releases.
    endpoints: HashMap<EndpointId, HashSet<u32>>,
    /// What they are called.
    names: HashMap<EndpointId, String>,
    /// How long its logs stay, of each that says something of its own.
    logs: HashMap<EndpointId, Duration>,
    /// Bundles of releases that are kept, each with one of them and why.
    bundles: HashMap<String, String>,
    /// The same of environments.
    environments: HashMap<String, String>,
    /// The same of images, by what the engine knows them by.
    #[cfg(feature = "docker")]
    images: HashMap<String, String>,
    /// The same of images by the names that their builds gave them: what is being built has no id yet.
    #[cfg(feature = "docker")]
    built: HashMap<String, String>,
    /// Records of workers: when those that are gone ended.
    workers: HashMap<WorkerId, Option<Timestamp>>,
    /// Workers that the runtime knows: they run, or something of theirs waits.
    observed: HashSet<WorkerId>,
    /// A worker runs of a release that is not known.
    strangers: bool,
}

impl Sweeper {
    /// Keeps house over a data directory.
    pub(crate) fn new(engine: &Engine, runtime: Arc<dyn Runtime>, paths: &Paths, keep: Keep) -> Self {
        let started = engine.env().wall();
        Self { engine: engine.clone(), runtime, paths: paths.clone(), keep, started, turn: Arc::default() }
    }

    /// Sweeps now and every hour, as long as it is not aborted.
    pub(crate) async fn run(self) {
        loop {
            match self.sweep(false).await {
                Ok(swept) => report(&swept),
                Err(error) => tracing::warn!(%error, cause = ?error, "a sweep ended early"),
            }
            let next = tokio::time::Instant::now() + EVERY;
            while tokio::time::Instant::now() + LOGS_EVERY < next {
                tokio::time::sleep(LOGS_EVERY).await;
                match self.sweep_logs().await {
                    Ok(swept) => report(&swept),
                    Err(error) => tracing::warn!(%error, cause = ?error, "logs could not be looked at"),
                }
            }
            tokio::time::sleep_until(next).await;
        }
    }

    /// Removes logs alone.
    async fn sweep_logs(&self) -> Result<Vec<DiskAccount>, SweepError> {
        let _turn = self.turn.lock().await;
        let known = self.known().await?;
        let accounts = vec![accounts::logs(&self.paths, self.keep)];
        let clear = move || house::clear(&accounts, &Look::new(&known, false));
        Ok(tokio::task::spawn_blocking(clear).await?)
    }

    /// Removes what may go; `now` is impatient, as somebody who asks for it is.
    async fn sweep(&self, now: bool) -> Result<Vec<DiskAccount>, SweepError> {
        let _turn = self.turn.lock().await;
        // Tokens first: whoever has one by now has a record when those are read.
        let tokens = self.engine.vault().tokens();
        #[cfg(feature = "docker")]
        engines::clear_peeks(&self.paths, self.started).await;
        let accounts = self.accounts().await;
        let known = self.known().await?;
        for (hash, worker) in tokens {
            if known.has_ended(&worker) {
                self.engine.vault().dismiss_worker(&hash);
            }
        }
        let clear = move || house::clear(&accounts, &Look::new(&known, now));
        Ok(tokio::task::spawn_blocking(clear).await?)
    }

    async fn look(&self) -> Result<Vec<DiskAccount>, SweepError> {
        let accounts = self.accounts().await;
        let known = self.known().await?;
        let usage = move || house::usage(&accounts, &Look::new(&known, true));
        Ok(tokio::task::spawn_blocking(usage).await?)
    }

    /// Every account; what engines have is looked at here, before it is known what is needed.
    #[cfg_attr(
        not(feature = "docker"),
        expect(clippy::unused_async, reason = "engines are asked, where there are any")
    )]
    async fn accounts(&self) -> Vec<Box<dyn Account>> {
        #[cfg(feature = "docker")]
        let engines = engines::accounts(&self.paths, self.keep, self.engine.env().wall()).await;
        #[cfg(not(feature = "docker"))]
        let engines = Vec::new();
        accounts::all(&self.paths, self.keep, engines)
    }

    async fn known(&self) -> Result<Known, SweepError> {
        let observed = self.runtime.list().await?;
        let (engine, rules, started) = (self.engine.clone(), self.keep.releases, self.started);
        let read = move || known(&engine, &observed, rules);
        let known = tokio::task::spawn_blocking(read).await??;
        Ok(Known { started, ..known })
    }
}

impl DiskKeeper for Sweeper {
    fn usage(&self) -> Pending<'_, Result<Vec<DiskAccount>, String>> {
        Box::pin(async { self.look().await.map_err(|error| error.to_string()) })
    }

    fn prune(&self) -> Pending<'_, Result<Vec<DiskAccount>, String>> {
        Box::pin(async { self.sweep(true).await.map_err(|error| error.to_string()) })
    }
}

fn report(swept: &[DiskAccount]) {
    for account in swept.iter().filter(|account| !account.items.is_empty()) {
        let bytes: u64 = account.items.iter().map(|item| item.bytes).sum();
        tracing::info!(kind = account.kind, things = account.items.len(), bytes, "removed what nobody needs");
    }
}

impl Known {
    #[cfg(feature = "docker")]
    fn keep_image(&mut self, release: &Release, why: &str) {
        if let Some(image) = release.launch.as_ref().and_then(|launch| launch.image.as_ref()) {
            self.images.entry(image.id.clone()).or_insert_with(|| why.to_owned());
        }
        let name = runyard_runtime::docker::name_of_build(&release.endpoint, release.number);
        self.built.insert(name, why.to_owned());
    }

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

fn known(engine: &Engine, observed: &[Observed], rules: KeepRules) -> Result<Known, StoreError> {
    let reader = engine.reader();
    let mut known = Known {
        now: engine.now(),
        wall: engine.env().wall(),
        observed: observed.iter().map(|worker| worker.id.clone()).collect(),
        ..Known::default()
    };
    for endpoint in reader.endpoints()? {
        let releases = reader.releases(&endpoint.id)?;
        let mut running: BTreeSet<u32> = BTreeSet::new();
        for record in reader.workers(Some(&endpoint.id), WORKERS)? {
            let gone = record.state == WorkerState::Gone;
            if !gone || known.observed.contains(&record.id) {
                running.insert(record.release);
            }
            known.workers.insert(record.id, gone.then_some(record.ended_at.unwrap_or(record.created_at)));
        }
        running.extend(observed.iter().filter(|w| w.endpoint == endpoint.id).map(|worker| worker.release));
        let kept: BTreeMap<u32, &str> = keep::kept(&endpoint, &releases, &running, rules, known.now);
        for release in &releases {
            let Some(why) = kept.get(&release.number) else { continue };
            let why = format!("{} #{} {why}", endpoint.name, release.number);
            #[cfg(feature = "docker")]
            known.keep_image(release, &why);
            known.bundles.entry(release.bundle.clone()).or_insert_with(|| why.clone());
            known.environments.entry(release.environment.clone()).or_insert(why);
        }
        known.endpoints.insert(endpoint.id.clone(), releases.iter().map(|release| release.number).collect());
        let logs = endpoint.settings.log_retention_ms;
        if logs != Settings::default().log_retention_ms {
            known
                .logs
                .insert(endpoint.id.clone(), Duration::from_millis(logs.try_into().unwrap_or_default()));
        }
        known.names.insert(endpoint.id, endpoint.name);
    }
    let is_known = |worker: &Observed| {
        known.endpoints.get(&worker.endpoint).is_some_and(|numbers| numbers.contains(&worker.release))
    };
    known.strangers = observed.iter().any(|worker| worker.ended_at.is_none() && !is_known(worker));
    Ok(known)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
