//! Latencies and rates of one run, and the median of several.

use std::time::Duration;

use serde_json::{Value, json};

/// What one run measured.
#[derive(Debug, Clone)]
pub struct Run {
    /// Operations a second.
    pub rate: f64,
    /// The latency of each operation, in microseconds, sorted.
    pub micros: Vec<u64>,
}

impl Run {
    /// From latencies in any order and the time that the whole run took.
    pub fn new(mut micros: Vec<u64>, took: Duration) -> Self {
        micros.sort_unstable();
        Self { rate: micros.len() as f64 / took.as_secs_f64(), micros }
    }

    fn at(&self, share: f64) -> u64 {
        let last = self.micros.len().saturating_sub(1);
        self.micros.get((last as f64 * share) as usize).copied().unwrap_or(0)
    }
}

/// The run with the median rate as JSON, with the rates of all.
pub fn median(mut runs: Vec<Run>) -> Value {
    let rates: Vec<f64> = runs.iter().map(|r| r.rate.round()).collect();
    runs.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let Some(run) = runs.get(runs.len() / 2) else { return Value::Null };
    json!({
        "perSecond": run.rate.round(),
        "p50Us": run.at(0.5), "p90Us": run.at(0.9), "p99Us": run.at(0.99), "maxUs": run.at(1.0),
        "operations": run.micros.len(), "rates": rates,
    })
}
