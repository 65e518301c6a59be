//! The real clock and the operating system's randomness: the one place that may call them.
//!
//! The clock begins at the wall clock and goes on by the time since boot, suspension included. When the wall clock is
//! set, it follows that by a tenth of the time that passes, so that no limit ends at once and none is put off for
//! hours (`docs/decisions/0009-clocks-and-sleep.md`).

use std::sync::{Mutex, PoisonError};

use rand::RngCore as _;
use runyard_domain::{Env, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// What production runs on. All of a process share one clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEnv;

static STEADY: Steady = Steady(Mutex::new(None));

/// Of the time that passes, the part by which the clock may go faster or slower to follow the wall clock.
const FOLLOW: i64 = 10;

/// A clock that does not jump.
#[derive(Debug)]
struct Steady(Mutex<Option<Reading>>);

/// What it said last, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Reading {
    since_boot: i64,
    said: i64,
}

impl Steady {
    /// The time, from the wall clock and the time since boot, all in nanoseconds.
    fn read(&self, wall: impl FnOnce() -> i64, since_boot: impl FnOnce() -> i64) -> i64 {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock, or a later reading could be the smaller one.
        let (wall, since_boot) = (wall(), since_boot());
        let said = match *last {
            None => wall,
            Some(last) => {
                let passed = since_boot.saturating_sub(last.since_boot).max(0);
                let expected = last.said.saturating_add(passed);
                let most = passed / FOLLOW;
                expected.saturating_add(wall.saturating_sub(expected).clamp(-most, most))
            }
        };
        *last = Some(Reading { since_boot, said });
        said
    }
}

fn since_boot() -> i64 {
    read(ClockId::Boottime)
}

fn read(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

#[expect(clippy::disallowed_methods, reason = "this is the place where time comes from")]
fn wall() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

impl Env for SystemEnv {
    fn now(&self) -> Timestamp {
        Timestamp(STEADY.read(wall, since_boot) / 1_000_000)
    }

    fn wall(&self) -> Timestamp {
        Timestamp(wall() / 1_000_000)
    }

    fn awake(&self) -> Timestamp {
        Timestamp(read(ClockId::Monotonic) / 1_000_000)
    }

    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;
    const HOUR: i64 = 3_600 * S;

    #[test]
    fn it_goes_with_the_wall_clock_and_through_a_sleep() {
        let steady = Steady(Mutex::new(None));
        assert_eq!(steady.read(|| 100 * S, || 7 * S), 100 * S);
        assert_eq!(steady.read(|| 101 * S, || 8 * S), 101 * S);
        assert_eq!(steady.read(|| 101 * S + 3 * HOUR, || 8 * S + 3 * HOUR), 101 * S + 3 * HOUR);
    }

    #[test]
    fn a_wall_clock_that_is_set_is_followed_slowly_and_reached() {
        for jump in [5 * HOUR, -5 * HOUR] {
            let steady = Steady(Mutex::new(None));
            let (start, mut last) = (1_000 * HOUR, 1_000 * HOUR);
            steady.read(|| start, || 0);
            for second in 1..=60 * 3_600 {
                let now = steady.read(|| start + jump + second * S, || second * S);
                let step = now - last;
                assert!((S - S / FOLLOW..=S + S / FOLLOW).contains(&step), "{step} ns in a second");
                last = now;
            }
            assert_eq!(last, start + jump + 60 * HOUR, "it has caught up");
        }
    }
}
