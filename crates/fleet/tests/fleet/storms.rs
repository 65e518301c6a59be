//! Workers that fail in every way, from a seed: starts stay bounded, and when the workers recover every job ends.
//! `RUNYARD_SEED=n` runs one seed again.

use std::collections::HashMap;

use runyard_domain::worker::WorkerState;
use runyard_domain::{Settings, WorkerId};
use runyard_runtime::{RuntimeError, Whose};

use crate::stage::*;

struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// What becomes of a worker, decided when it is first seen.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    FailsToStart,
    NeverAsks,
    CrashesWithItsJob,
    Works,
}

async fn run(seed: u64) {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
    let settings = Settings {
        workers_min: chance.below(2) as u32,
        workers_max: 1 + chance.below(3) as u32 + 1,
        start_timeout_s: 5,
        requeues: 1,
        ..Settings::default()
    };
    let max = settings.workers_max as usize;
    let stage = Stage::new(settings).await;
    let mut fates: HashMap<WorkerId, Fate> = HashMap::new();
    let mut jobs = vec![];
    let rounds = 120;
    for round in 0..rounds {
        if chance.below(6) == 0 {
            jobs.push(stage.submit().await);
        }
        if chance.below(20) == 0 {
            let error = RuntimeError {
                operation: "start".into(),
                message: "no".into(),
                whose: Whose::Engine,
                retryable: true,
            };
            stage.runtime.fail_start(error);
        }
        if chance.below(60) == 0 {
            stage.runtime.lose_agent();
            stage.settle().await;
        }
        for worker in stage.runtime.running() {
            let fate = *fates.entry(worker.clone()).or_insert_with(|| match chance.below(5) {
                0 => Fate::FailsToStart,
                1 => Fate::NeverAsks,
                2 => Fate::CrashesWithItsJob,
                _ => Fate::Works,
            });
            match fate {
                Fate::NeverAsks => {}
                Fate::FailsToStart => stage.exit(&worker, exited(1, "no")).await,
                Fate::CrashesWithItsJob => {
                    stage.take(&worker).await;
                    stage.exit(&worker, exited(1, "boom")).await;
                }
                Fate::Works => {
                    for job in stage.take(&worker).await {
                        stage.finish(&worker, &job).await;
                    }
                }
            }
        }
        stage.leap(500).await;
        let active = stage.fleet.workers().iter().filter(|w| w.state != WorkerState::Draining).count();
        assert!(active <= max, "round {round}: {active} workers");
        let bound = max + 2 + round + jobs.len();
        assert!(stage.starts() <= bound, "round {round}: {} starts", stage.starts());
    }
    // From now on every worker works.
    for _ in 0..2_000 {
        for worker in stage.runtime.running() {
            for job in stage.take(&worker).await {
                stage.finish(&worker, &job).await;
            }
        }
        stage.leap(3_000).await;
        if jobs.iter().all(|job| stage.job(job).is_done()) {
            return;
        }
    }
    let left: Vec<_> = jobs.iter().map(|job| stage.job(job)).filter(|job| !job.is_done()).collect();
    let why: Vec<_> = left.iter().map(|job| stage.fleet.waiting(job)).collect();
    panic!("jobs are left: {left:?}: {why:?}");
}

#[test]
fn workers_that_fail_in_every_way_cause_no_storm_and_lose_no_job() {
    let seeds = match std::env::var("RUNYARD_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..25,
    };
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let runtime = runtime.unwrap();
        let ran = std::panic::catch_unwind(|| runtime.block_on(run(seed)));
        assert!(ran.is_ok(), "seed {seed} failed: RUNYARD_SEED={seed} runs it again");
    }
}
