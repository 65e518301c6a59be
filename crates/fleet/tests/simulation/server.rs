//! One run of the server: engine, fleet and what lets them be killed. What a killed one had not committed never
//! happened, and whoever waited for its answer has none.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use runyard_domain::{FailReason, Gpu, ReleaseState, Timestamp};
use runyard_engine::Engine;
use runyard_fleet::{Fleet, Options};
use runyard_store::{Blobs, Command, MemoryStore, Reader, Reply, Store, StoreError};
use runyard_vault::{Caller, Sealer, Vault};
use tokio::task::JoinHandle;

use crate::agent::{Agent, Remote};
use crate::chance::{Chance, Signal};
use crate::witness::Witness;

/// Whether a server still is.
pub struct Life(Signal<bool>);

impl Life {
    /// Resolves when it is over.
    pub async fn over(&self) {
        self.0.until().await;
    }

    pub fn is_over(&self) -> bool {
        self.0.get()
    }
}

/// The way to a server.
#[derive(Clone)]
pub struct Reach {
    pub engine: Engine,
    pub fleet: Fleet,
    pub life: Arc<Life>,
}

/// The store, which sees no more of a server that was killed.
struct SharedStore {
    model: Arc<Mutex<MemoryStore>>,
    life: Arc<Life>,
    witness: Arc<Witness>,
}

impl Store for SharedStore {
    fn commit(&mut self, now: Timestamp, commands: &[Command]) -> Result<Vec<Reply>, StoreError> {
        if self.life.is_over() {
            let source = std::io::Error::other("the server was killed");
            return Err(StoreError::File { operation: "sync", path: "db".into(), source });
        }
        let replies = self.model.lock().unwrap().commit(now, commands)?;
        self.witness.committed(now, commands, &replies);
        Ok(replies)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.model.lock().unwrap().reader()
    }
}

/// What all servers of a simulation share.
pub struct House {
    pub model: Arc<Mutex<MemoryStore>>,
    pub witness: Arc<Witness>,
    pub agent: Arc<Agent>,
    pub blobs: Blobs,
    pub gpus: u32,
    /// The longest that a batch takes.
    pub slow_disk_ms: u64,
}

/// A running server.
pub struct Server {
    pub engine: Engine,
    pub fleet: Fleet,
    pub caller: Caller,
    pub life: Arc<Life>,
    looping: JoinHandle<()>,
}

impl Server {
    /// Starts on what is there, as `crates/server` does: takes over, then lets workers in.
    pub async fn start(house: &House) -> Self {
        let env = house.agent.env.clone();
        env.anchor();
        let life = Arc::new(Life(Signal::new(false)));
        let vault = Arc::new(Vault::new(env.clone(), Sealer::new([7; 32]), vec![]));
        let store =
            SharedStore { model: house.model.clone(), life: life.clone(), witness: house.witness.clone() };
        let (mut disk, slow) = (house.agent.chance(Chance::fork), house.slow_disk_ms);
        let options =
            runyard_engine::Options { store: Box::new(store), blobs: house.blobs.clone(), env, vault };
        let latency = Box::new(move || Duration::from_millis(disk.below(slow)));
        let engine = Engine::start_simulated(options, latency).unwrap();
        let fleet = Fleet::new(Options {
            engine: engine.clone(),
            runtime: Arc::new(Remote(house.agent.clone(), life.clone())),
            gpus: vec![Gpu::named("Fake"); house.gpus as usize],
            cpus: 4,
            memory_gb: 16,
            volumes: std::path::PathBuf::new(),
            idle_drain_ms: 10_000,
        });
        house.witness.server_starts();
        fail_interrupted(&engine).await;
        fleet.attach().await.unwrap();
        let reach = Reach { engine: engine.clone(), fleet: fleet.clone(), life: life.clone() };
        house.agent.upstream.set(Some(reach));
        let reconciler = fleet.clone();
        let looping = tokio::spawn(async move { reconciler.run().await });
        let caller = engine.vault().local_caller();
        Self { engine, fleet, caller, life, looping }
    }

    /// `kill -9`.
    pub fn kill(self, house: &House) {
        house.witness.note(|| "the server is killed".to_owned());
        self.life.0.set(true);
        house.agent.upstream.set(None);
        self.looping.abort();
    }
}

async fn fail_interrupted(engine: &Engine) {
    for endpoint in engine.endpoints() {
        for mut release in engine.reader().releases(&endpoint.id).unwrap() {
            if release.state == ReleaseState::Testing {
                let message = "the server stopped during its deploy".to_owned();
                let reason = FailReason::Environment { message, last_lines: Vec::new() };
                release.state = ReleaseState::Failed { reason };
                engine.put_release(release).await.unwrap();
            }
        }
    }
}
