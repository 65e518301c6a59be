//! Engine, fleet and agent together, from a seed: workers that die, hang in start, stall, forget, answer late or twice
//! or never ask; servers that are killed and come back; agents that are killed; releases good and bad; scale, cancels,
//! timeouts, purges, wall clocks that are set, endpoints that go. Everything happens on one thread and time goes on
//! when all rest, so the same seed gives the same history. `RUNYARD_SEED=n` runs one of them again.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod agent;
mod chance;
mod requests;
mod server;
mod story;
mod witness;
mod worker;

use std::ops::Range;
use std::panic::AssertUnwindSafe;

use runyard_store::Blobs;

use crate::story::Story;

/// Runs one seed to its end; the number stands for all that happened.
fn simulate(seed: u64, blobs: &Blobs) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.unwrap();
    let story = async { Story::begin(seed, blobs.clone()).await.tell().await };
    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(story)));
    ran.unwrap_or_else(|_| panic!("seed {seed} failed: RUNYARD_SEED={seed} runs it again"))
}

fn simulate_all(seeds: Range<u64>) {
    let files = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(files.path()).unwrap();
    let seeds = match std::env::var("RUNYARD_SEED") {
        Ok(seed) => seed.parse().map(|seed| seed..seed + 1).unwrap(),
        Err(_) => seeds,
    };
    for seed in seeds {
        simulate(seed, &blobs);
    }
}

// In parts, so that they run beside each other.
#[test]
fn all_comes_to_rest_part_1() {
    simulate_all(0..250);
}

#[test]
fn all_comes_to_rest_part_2() {
    simulate_all(250..500);
}

#[test]
fn all_comes_to_rest_part_3() {
    simulate_all(500..750);
}

#[test]
fn all_comes_to_rest_part_4() {
    simulate_all(750..1_000);
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let files = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(files.path()).unwrap();
    for seed in 0..10 {
        assert_eq!(simulate(seed, &blobs), simulate(seed, &blobs), "seed {seed}");
    }
    assert_ne!(simulate(0, &blobs), simulate(1, &blobs));
}
