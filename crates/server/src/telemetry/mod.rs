//! Looks every two seconds at what the endpoints, the GPUs, the workers and this server do, keeps the last look for
//! `/metrics` ([`Latest`]), and every ten seconds brings what it saw to the store. What is counted is not its concern:
//! the store does that with what it counts.

mod endpoints;
mod latest;
mod machine;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runyard_domain::{Timestamp, WorkerRecord};
use runyard_engine::{Engine, EngineError};
use runyard_fleet::Fleet;
use runyard_metrics::{Grain, Interval, Key, Subject};
use runyard_runtime::gpu::{Gpus, Load, Reading};
use runyard_runtime::stats::Stats;
use runyard_runtime::{Paths, Runtime};
use tokio::task::JoinHandle;

use crate::config::count_gpus;
use crate::listen::Connections;
pub use latest::Latest;
use latest::Levels;
use machine::Machine;

/// The pause between two looks, in milliseconds.
const PAUSE_MS: i64 = 2_000;

/// Where in each pause a look is: the last one of ten seconds is a second before their end.
const OFFSET_MS: i64 = 1_000;

/// A look stands for no longer than this, in seconds: the machine may have slept.
const LONGEST: f64 = 10.0;

/// How many endpoints, and how many workers, are measured at most. More are counted as left out.
const MOST: usize = 500;

/// How many times ten seconds pass between two looks at the logs.
const LOGS_EVERY: u32 = 6;

/// What is looked at.
pub(crate) struct Options {
    pub(crate) fleet: Fleet,
    pub(crate) paths: Paths,
    pub(crate) gpus: Gpus,
    pub(crate) connections: Connections,
    pub(crate) latest: Latest,
}

/// Who looks.
pub(crate) struct Sampler {
    engine: Engine,
    fleet: Fleet,
    runtime: Arc<dyn Runtime>,
    connections: Connections,
    latest: Latest,
    machine: Arc<Mutex<Machine>>,
    /// What was seen and not brought yet.
    seen: BTreeMap<Subject, Interval>,
    /// What was seen last of what is looked at every ten seconds.
    slow: Levels,
    /// The measuring of workers, which takes a second.
    workers: Option<JoinHandle<Vec<Stats>>>,
    looked_at: Timestamp,
    brought: u32,
}

impl Sampler {
    pub(crate) fn new(options: Options) -> Self {
        let Options { fleet, paths, gpus, connections, latest } = options;
        let (engine, runtime) = (fleet.engine().clone(), fleet.runtime().clone());
        let machine = Arc::new(Mutex::new(Machine::new(paths, gpus)));
        Self {
            looked_at: engine.now(),
            engine,
            fleet,
            runtime,
            connections,
            latest,
            machine,
            seen: BTreeMap::new(),
            slow: Levels::default(),
            workers: None,
            brought: 0,
        }
    }

    /// One that looks at the GPUs that there really are, or at those that the fleet was told of.
    pub(crate) fn of(fleet: &Fleet, paths: &Paths, connections: &Connections, latest: Latest) -> Self {
        let gpus = Gpus::find(count_gpus(), fleet.gpus());
        let (fleet, paths, connections) = (fleet.clone(), paths.clone(), connections.clone());
        Self::new(Options { fleet, paths, gpus, connections, latest })
    }

    /// Looks until the server ends.
    pub(crate) async fn run(mut self) {
        loop {
            let into = (self.engine.now().0 - OFFSET_MS).rem_euclid(PAUSE_MS);
            tokio::time::sleep(Duration::from_millis((PAUSE_MS - into) as u64)).await;
            self.turn().await;
        }
    }

    /// One look; the last of ten seconds brings what was seen to the store.
    async fn turn(&mut self) {
        let now = self.engine.now();
        let seconds = (now.since(self.looked_at) as f64 / 1_000.0).min(LONGEST);
        let is_last = now.0.rem_euclid(Grain::Fine.ms()) >= Grain::Fine.ms() - OFFSET_MS;
        let is_late = Grain::Fine.start(now) > Grain::Fine.start(self.looked_at) && !self.seen.is_empty();
        self.looked_at = now;
        let records = self.fleet.workers();
        let readings = self.read_gpus(&records, seconds).await;
        let fast = self.look(&records, &readings, now);
        note(&mut self.seen, &fast, seconds);
        if is_last || is_late {
            self.look_slowly(&records).await;
            self.bring().await;
        }
        let names = readings.into_iter().filter_map(|gpu| Some((gpu.index, gpu.name?))).collect();
        self.latest.set(fast.with(&self.slow), names);
    }

    async fn read_gpus(&self, records: &[WorkerRecord], seconds: f64) -> Vec<Reading> {
        let mut loads: BTreeMap<u32, Load> = BTreeMap::new();
        for record in records.iter().filter(|record| !record.gpus.is_empty()) {
            let busy = self.engine.leases(&record.id).iter().any(|lease| lease.started);
            for gpu in &record.gpus {
                let load = loads.entry(*gpu).or_default();
                *load = Load { held: true, busy: load.busy || busy };
            }
        }
        self.with_machine(move |machine| {
            machine.gpus.read(|gpu| loads.get(&gpu).copied().unwrap_or_default(), seconds)
        })
        .await
    }

    /// What is looked at every ten seconds: workers, this server, now and then the logs.
    async fn look_slowly(&mut self, records: &[WorkerRecord]) {
        let mut slow = Levels::default();
        if let Some(measuring) = self.workers.take_if(|measuring| measuring.is_finished()) {
            endpoints::workers(&mut slow, &measuring.await.unwrap_or_default(), MOST);
        }
        if self.workers.is_none() && !records.is_empty() {
            let runtime = self.runtime.clone();
            self.workers = Some(tokio::spawn(async move { runtime.stats().await.unwrap_or_default() }));
        }
        let looks_at_logs = self.brought.is_multiple_of(LOGS_EVERY);
        self.brought = self.brought.wrapping_add(1);
        let endpoints = self.engine.endpoints();
        let ids: Vec<_> = endpoints.iter().take(MOST).map(|endpoint| endpoint.id.clone()).collect();
        let measured = self.with_machine(move |machine| {
            if looks_at_logs {
                machine.look_at_logs(&ids);
            }
            machine.levels()
        });
        let measured = measured.await;
        let mut slow = slow.with(&measured);
        slow.put(&Subject::Server, Key::ServerConnections, self.connections.count() as f64);
        slow.put(&Subject::Server, Key::DiskFull, f64::from(u8::from(self.engine.is_disk_full())));
        let left_out = endpoints.len().saturating_sub(MOST) + records.len().saturating_sub(MOST);
        slow.put(&Subject::Server, Key::LeftOut, left_out as f64);
        note(&mut self.seen, &slow, Grain::Fine.seconds() as f64);
        self.slow = slow;
    }

    /// Brings what was seen to the store. Endpoints at rest are left out.
    async fn bring(&mut self) {
        let mut seen = std::mem::take(&mut self.seen);
        let load = self.engine.take_writer_load();
        let server = seen.entry(Subject::Server).or_default();
        server.count(Key::WriterCommands, load.commands);
        server.times.entry(Key::WriterCommit).or_default().merge(&load.commits);
        seen.retain(|subject, interval| !is_at_rest(subject, interval));
        let server = seen.get(&Subject::Server).map(Interval::rising).unwrap_or_default();
        if let Err(error) = self.engine.measure(seen.into_iter().collect()).await {
            // Of a full disk the log says enough elsewhere.
            if !matches!(error, EngineError::DiskFull) {
                tracing::warn!(%error, "what was measured over ten seconds is not kept");
            }
            // What rises comes with the next.
            self.seen.insert(Subject::Server, server);
        }
    }

    async fn with_machine<T: Default + Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Machine) -> T + Send + 'static,
    ) -> T {
        let machine = self.machine.clone();
        let asked = tokio::task::spawn_blocking(move || {
            ask(&mut machine.lock().unwrap_or_else(PoisonError::into_inner))
        });
        asked.await.unwrap_or_default()
    }
}

/// Notes levels that stand for so many seconds.
fn note(seen: &mut BTreeMap<Subject, Interval>, levels: &Levels, seconds: f64) {
    for (subject, key, value) in levels.all() {
        seen.entry(subject.clone()).or_default().level(key, value, seconds);
    }
}

/// Whether an endpoint did nothing: only its logs lie there.
fn is_at_rest(subject: &Subject, interval: &Interval) -> bool {
    let does = |(key, level): (&Key, &runyard_metrics::Level)| *key != Key::LogBytes && level.max > 0.0;
    matches!(subject, Subject::Endpoint(_)) && !interval.levels.iter().any(does)
}
