//! One closed loop of clients, what it measured, and where the raw samples are kept.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

/// One client of a load: does one operation at a time, and the next when that one is answered.
pub trait Turn: Send + 'static {
    /// One operation, from asking to its answer.
    fn turn(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// What one run measured.
#[derive(Debug, Clone)]
pub struct Run {
    /// Operations a second.
    pub rate: f64,
    /// The latency of each operation, in microseconds, in the order in which they were measured.
    pub micros: Vec<u64>,
}

impl Run {
    /// From latencies and the time that the whole run took.
    pub fn new(micros: Vec<u64>, took: Duration) -> Self {
        Self { rate: micros.len() as f64 / took.as_secs_f64(), micros }
    }

    /// Its figures: a rate, and quantiles of the latency.
    pub fn figures(&self) -> Value {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let at = |share: f64| {
            let last = sorted.len().saturating_sub(1);
            sorted.get((last as f64 * share) as usize).copied().unwrap_or(0)
        };
        json!({
            "perSecond": (self.rate * 10.0).round() / 10.0,
            "p50Us": at(0.5), "p90Us": at(0.9), "p99Us": at(0.99), "maxUs": at(1.0),
            "operations": sorted.len(),
        })
    }
}

/// Lets every client do its turns for `length`, all at the same time.
pub async fn drive<T: Turn>(length: Duration, clients: Vec<T>) -> anyhow::Result<Run> {
    let began = Instant::now();
    let until = began + length;
    let mut tasks = Vec::new();
    for mut client in clients {
        tasks.push(tokio::spawn(async move {
            let mut micros = Vec::new();
            while Instant::now() < until {
                let asked = Instant::now();
                client.turn().await?;
                micros.push(asked.elapsed().as_micros() as u64);
            }
            anyhow::Ok(micros)
        }));
    }
    let mut micros = Vec::new();
    for task in tasks {
        micros.extend(task.await??);
    }
    Ok(Run::new(micros, began.elapsed()))
}

/// The folder that keeps every latency that was measured, one file a run, one number a line, in microseconds.
#[derive(Debug, Clone)]
pub struct Samples(PathBuf);

impl Samples {
    /// In `folder`, which is made.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder.to_owned()))
    }

    /// Keeps the latencies of a run under this name.
    pub fn keep(&self, name: &str, micros: &[u64]) -> anyhow::Result<()> {
        let mut text = String::with_capacity(micros.len() * 6);
        for value in micros {
            let _ = writeln!(text, "{value}");
        }
        let file = self.0.join(format!("{name}.txt"));
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Keeps the runs of one row, and gives the figures of the one with the median rate, with the rates of all.
    pub fn median(&self, name: &str, mut runs: Vec<Run>) -> anyhow::Result<Value> {
        for (round, run) in runs.iter().enumerate() {
            self.keep(&format!("{name}.{round}"), &run.micros)?;
        }
        let rates: Vec<f64> = runs.iter().map(|run| (run.rate * 10.0).round() / 10.0).collect();
        runs.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let Some(run) = runs.get(runs.len() / 2) else { return Ok(Value::Null) };
        let mut figures = run.figures();
        figures["rates"] = json!(rates);
        Ok(figures)
    }
}
