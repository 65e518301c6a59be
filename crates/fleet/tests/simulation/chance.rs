//! Where a simulation's numbers and its time come from: a generator that gives the same numbers for the same
//! seed, and a wall clock that goes with tokio's paused one and can be set. And a value that can be waited for
//! (tokio's `watch` wakes in an order of chance).

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use runyard_domain::{Env, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

/// A small generator of numbers.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Something from `from` to `to` milliseconds, short ones more often.
    pub fn pause(&mut self, from: u64, to: u64) -> Duration {
        let most = 1 + self.below(to - from + 1);
        Duration::from_millis(from + self.below(most))
    }

    /// A generator of its own for somebody else.
    pub fn fork(&mut self) -> Self {
        Self::new(self.next())
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.below(from.len() as u64) as usize) }
    }
}

/// Clock, ids and randomness of a simulation.
#[derive(Debug)]
pub struct SimEnv {
    begun: Instant,
    set: AtomicI64,
    to_come: AtomicI64,
    random: Mutex<Chance>,
}

impl SimEnv {
    pub fn new(seed: u64) -> Self {
        let random = Mutex::new(Chance::new(seed ^ 0x5eed));
        Self { begun: Instant::now(), set: AtomicI64::new(1_000_000_000), to_come: AtomicI64::new(0), random }
    }

    /// Somebody sets the wall clock. A running server does not go by it.
    pub fn jump(&self, ms: i64) {
        self.to_come.fetch_add(ms, Ordering::SeqCst);
    }

    /// A server starts, and takes its time from the wall clock.
    pub fn anchor(&self) {
        self.set.fetch_add(self.to_come.swap(0, Ordering::SeqCst), Ordering::SeqCst);
    }

    /// How long the simulation has lasted, whatever the wall clock says.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

impl Env for SimEnv {
    fn now(&self) -> Timestamp {
        Timestamp(self.set.load(Ordering::SeqCst) + self.begun.elapsed().as_millis() as i64)
    }

    fn awake(&self) -> Timestamp {
        Timestamp(self.begun.elapsed().as_millis() as i64)
    }

    fn wall(&self) -> Timestamp {
        self.now().plus(self.to_come.load(Ordering::SeqCst))
    }

    fn fill(&self, bytes: &mut [u8]) {
        let mut random = self.random.lock().unwrap();
        bytes.fill_with(|| random.below(256) as u8);
    }
}

/// A value that can be waited for.
#[derive(Debug, Default)]
pub struct Signal<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Clone> Signal<T> {
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Notify::new() }
    }

    pub fn get(&self) -> T {
        self.value.lock().unwrap().clone()
    }

    pub fn set(&self, value: T) {
        *self.value.lock().unwrap() = value;
        self.changed.notify_waiters();
    }

    /// Resolves at the next change.
    pub async fn change(&self) {
        self.changed.notified().await;
    }
}

impl Signal<bool> {
    /// Resolves when it is so.
    pub async fn until(&self) {
        loop {
            let changed = self.changed.notified();
            if self.get() {
                return;
            }
            changed.await;
        }
    }
}
