//! Who is too slow. Waiting makes a debt of time, bytes pay it off at the lowest rate that is allowed, and who owes
//! more than the patience is given up. So a pause is forgiven, a trickle is not.

use std::time::Duration;

/// The account of one sender or reader.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    patience: Duration,
    rate: u64,
    debt: Duration,
}

impl Pace {
    /// Nothing owed yet. With a `rate` (bytes a second) of 0 any byte pays everything.
    pub fn new(patience: Duration, rate: u64) -> Self {
        Self { patience, rate, debt: Duration::ZERO }
    }

    /// How long the next wait may be.
    pub fn left(&self) -> Duration {
        self.patience.saturating_sub(self.debt)
    }

    /// After a wait of this length so many bytes moved.
    pub fn moved(&mut self, waited: Duration, bytes: usize) {
        let owed = self.debt.saturating_add(waited);
        self.debt = match self.rate {
            0 => Duration::ZERO,
            rate => owed.saturating_sub(Duration::from_secs_f64(bytes as f64 / rate as f64)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_steady_sender_above_the_rate_never_runs_out() {
        let mut pace = Pace::new(30 * SECOND, 500);
        for _ in 0..10_000 {
            pace.moved(SECOND, 501);
        }
        assert_eq!(pace.left(), 30 * SECOND);
    }

    #[test]
    fn a_trickle_runs_out_and_a_pause_is_forgiven() {
        let mut pace = Pace::new(30 * SECOND, 500);
        pace.moved(29 * SECOND, 1);
        assert!(pace.left() < SECOND + SECOND / 100);
        pace.moved(Duration::ZERO, 15_000);
        assert_eq!(pace.left(), 30 * SECOND, "30 s worth of bytes came at once");
        let mut any = Pace::new(30 * SECOND, 0);
        any.moved(29 * SECOND, 1);
        assert_eq!(any.left(), 30 * SECOND);
    }
}
