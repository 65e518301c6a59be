//! The sampler on a clock that stands still until somebody waits: what it sees is brought every ten seconds.

use std::sync::Arc;
use std::time::Duration;

use runyard_domain::gpu::Gpu;
use runyard_domain::{Endpoint, EndpointId, Env, Settings, Timestamp};
use runyard_engine::{Engine, NewJob};
use runyard_fleet::Fleet;
use runyard_metrics::{Grain, Key, Row, Subject};
use runyard_runtime::Paths;
use runyard_runtime::fake::FakeRuntime;
use runyard_runtime::gpu::Gpus;
use runyard_store::{Blobs, MemoryStore};
use runyard_vault::{Sealer, Vault};
use tokio::time::Instant;

use super::{Latest, Options, Sampler};
use crate::listen::Connections;

/// Where the clock begins: the beginning of a minute.
const BEGIN: i64 = 1_700_000_040_000;

#[derive(Debug)]
struct Clock(Instant);

impl Env for Clock {
    fn now(&self) -> Timestamp {
        Timestamp(BEGIN + self.0.elapsed().as_millis() as i64)
    }

    fn fill(&self, bytes: &mut [u8]) {
        bytes.iter_mut().zip(0u8..).for_each(|(byte, n)| *byte = n);
    }
}

fn rows(engine: &Engine, subject: &Subject, grain: Grain) -> Vec<Row> {
    let all = engine.reader().intervals(subject, grain, Timestamp(0), Timestamp(i64::MAX));
    all.expect("they are in memory")
}

#[tokio::test(start_paused = true)]
async fn what_is_seen_is_brought_every_ten_seconds() {
    let dir = tempfile::tempdir().expect("a folder");
    let env: Arc<dyn Env> = Arc::new(Clock(Instant::now()));
    let vault = Arc::new(Vault::new(env.clone(), Sealer::new([7; 32]), vec![]));
    let blobs = Blobs::open(dir.path().join("blobs")).expect("a folder");
    let store = Box::new(MemoryStore::with_blobs(blobs.clone()));
    let options = runyard_engine::Options { store, blobs, env, vault };
    let engine = Engine::start_simulated(options, Box::new(|| Duration::ZERO)).expect("an engine");
    let fleet = Fleet::new(runyard_fleet::Options {
        engine: engine.clone(),
        runtime: Arc::new(FakeRuntime::new()),
        gpus: vec![Gpu::named("GPU")],
        cpus: 1,
        memory_gb: 1,
        volumes: dir.path().to_owned(),
        idle_drain_ms: 1_000,
    });
    for id in ["busy", "rests"] {
        let endpoint = Endpoint::new(EndpointId::new(id), id.to_owned(), engine.now(), Settings::default());
        engine.put_endpoint(endpoint).await.expect("kept");
    }
    let latest = Latest::default();
    let sampler = Sampler::new(Options {
        fleet,
        paths: Paths::new(dir.path()),
        gpus: Gpus::find(0, &[Gpu::named("GPU")]),
        connections: Connections::default(),
        latest: latest.clone(),
    });
    let sampling = tokio::spawn(sampler.run());
    let owner = engine.vault().local_caller();
    let endpoint = engine.endpoint("busy").expect("just made");
    engine.submit(&owner, NewJob::new(endpoint, "1")).await.expect("accepted");
    tokio::time::sleep(Duration::from_millis(79_500)).await;
    sampling.abort();
    let busy = Subject::Endpoint(EndpointId::new("busy"));
    let fine = rows(&engine, &busy, Grain::Fine);
    let places: Vec<i64> = fine.iter().map(|row| (row.at.0 - BEGIN) / 1_000).collect();
    assert_eq!(places, [0, 10, 20, 30, 40, 50, 60, 70]);
    let second = &fine[1].interval;
    let waiting = second.levels[&Key::QueueWaiting];
    assert_eq!((waiting.seconds, waiting.area, waiting.max), (10.0, 10.0, 1.0));
    assert!((second.levels[&Key::QueueOldest].last - 19.0).abs() < 0.001);
    assert_eq!(fine[0].interval.counts[&Key::JobsSubmitted], 1);
    let longer = rows(&engine, &busy, Grain::Minute);
    assert_eq!((longer[0].grain, longer.len()), (Grain::Minute, 3));
    assert!((longer[0].interval.levels[&Key::QueueOldest].last - 59.0).abs() < 0.001);
    assert_eq!(rows(&engine, &Subject::Endpoint(EndpointId::new("rests")), Grain::Fine), []);
    assert_eq!(rows(&engine, &Subject::Gpu(0), Grain::Fine).len(), 8);
    let server = rows(&engine, &Subject::Server, Grain::Fine);
    assert!(server.iter().all(|row| row.interval.times.contains_key(&Key::WriterCommit)), "{server:?}");
    let seen = latest.get();
    assert_eq!(seen.gpus[&0], "GPU");
    assert!((seen.levels.by_subject()[&busy][&Key::QueueOldest] - 79.0).abs() < 0.001);
    let rests = Subject::Endpoint(EndpointId::new("rests"));
    assert!((seen.levels.by_subject()[&rests][&Key::QueueWaiting] - 0.0).abs() < 0.001);
}
