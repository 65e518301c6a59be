//! The load program behind `cargo xtask bench`: drives runyard, its peers and bare floors in the same way from
//! the same process, and prints one JSON document with the figures; every latency it measured it keeps in a
//! folder. It measures; it judges nothing.
//!
//! - [`server`] starts the real binary with stub workers that really go through agent and worker protocol.
//! - [`scale`] runs the loads that scale with clients: [`jobs`], [`submit`], [`store`], [`redis`], [`floors`].
//! - [`fanout`], [`queue`], [`endpoints`], [`start`] look at size: waiters, jobs, endpoints, memory.
//! - [`logs`] writes a log and searches it; [`capture`] has a worker print; [`measure`] keeps metrics; [`console`] opens
//!   pages in a browser.
//! - [`python`] and [`sdk`] go through Python: task queues people use today, and the unmodified worker SDK.

mod capture;
mod console;
mod endpoints;
mod fanout;
mod floors;
mod http;
mod jobs;
mod logs;
mod measure;
mod process;
mod python;
mod queue;
mod redis;
mod scale;
mod sdk;
mod server;
mod start;
mod stats;
mod store;
mod submit;
mod tap;
mod worker;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use stats::Samples;

const USAGE: &str = "usage: runyard-bench run --out=FOLDER [--quick] [--python=PROGRAM] [--only=ROW]…; \
                     started by 'cargo xtask bench'";

/// How long each row runs, and how large it is.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The length of one measured run.
    pub run: Duration,
    /// Client counts of the rows that scale.
    pub clients: Vec<usize>,
    /// Runs of each row; the median counts.
    pub rounds: usize,
    /// Jobs in the queue of the row `queue`.
    pub queued: usize,
    /// Endpoints of the row `endpoints`.
    pub endpoints: usize,
    /// Clients that wait for one job in the row `fanout`.
    pub waiting: usize,
    /// Jobs of the rows that go through the SDK one by one; each takes more than a second.
    pub sdk_jobs: usize,
    /// The text of the row `logs`, in MiB.
    pub log_mib: usize,
    /// A Python with the SDK and the peers.
    pub python: Option<PathBuf>,
    /// Where latencies are kept.
    pub samples: Samples,
}

impl Plan {
    fn new(quick: bool, python: Option<PathBuf>, samples: Samples) -> Self {
        let plan = Self {
            run: Duration::from_secs(3),
            clients: vec![1, 8, 64, 256],
            rounds: 3,
            queued: 1_000_000,
            endpoints: 10_000,
            waiting: 1_000,
            sdk_jobs: 30,
            log_mib: 1_024,
            python,
            samples,
        };
        if !quick {
            return plan;
        }
        let (run, clients) = (Duration::from_secs(2), vec![1, 64]);
        Self { run, clients, rounds: 1, queued: 50_000, endpoints: 1_000, sdk_jobs: 8, log_mib: 128, ..plan }
    }

    /// Tells whoever waits what is being measured.
    pub fn say(&self, what: &str) {
        eprintln!("… {what}");
    }
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match args.first().map(String::as_str) {
        Some("worker") => runtime.block_on(worker::run()),
        Some("echo") => runtime.block_on(floors::echo_program(args.get(1).context(USAGE)?)),
        Some("run") => {
            let value = |name: &str| args.iter().find_map(|arg| arg.strip_prefix(name));
            let samples = Samples::new(value("--out=").context(USAGE)?.as_ref())?;
            let plan =
                Plan::new(args.iter().any(|a| a == "--quick"), value("--python=").map(Into::into), samples);
            let only: Vec<&str> = args.iter().filter_map(|a| a.strip_prefix("--only=")).collect();
            let report = runtime.block_on(run(&plan, &only))?;
            println!("{}", serde_json::to_string_pretty(&report)?);
            Ok(())
        }
        _ => bail!(USAGE),
    }
}

async fn run(plan: &Plan, only: &[&str]) -> anyhow::Result<Value> {
    let wanted = |row: &str| only.is_empty() || only.contains(&row);
    let mut rows = Vec::new();
    if wanted("fdatasync") {
        plan.say("one fdatasync");
        rows.push(floors::sync(plan)?);
    }
    if scale::ROWS.into_iter().any(wanted) {
        rows.extend(scale::run(plan, wanted).await?);
    }
    if wanted("start") {
        rows.push(or_skipped("start", start::run(plan).await));
    }
    if wanted("sdk") {
        rows.push(or_skipped("sdk", sdk::run(plan).await));
    }
    if wanted("prefetch") {
        rows.push(or_skipped("prefetch", sdk::prefetch(plan).await));
    }
    if wanted("logs") {
        rows.push(or_skipped("logs", logs::run(plan)));
    }
    if wanted("capture") {
        rows.push(or_skipped("capture", capture::run(plan).await));
    }
    if wanted("measure") {
        rows.push(or_skipped("measure", measure::run(plan)));
    }
    if wanted("python") {
        rows.push(or_skipped("python", python::run(plan).await));
    }
    if wanted("fanout") {
        rows.push(or_skipped("fanout", fanout::run(plan).await));
    }
    if wanted("endpoints") {
        rows.push(or_skipped("endpoints", endpoints::run(plan).await));
    }
    if wanted("queue") {
        rows.push(or_skipped("queue", queue::run(plan).await));
    }
    if only.contains(&"console") {
        rows.push(or_skipped("console", console::run(plan).await));
    }
    Ok(json!({
        "clients": plan.clients, "rounds": plan.rounds, "runSeconds": plan.run.as_secs_f64(), "rows": rows,
    }))
}

/// What a row measured, or why it could not.
fn or_skipped(row: &str, measured: anyhow::Result<Value>) -> Value {
    measured.unwrap_or_else(|error| {
        eprintln!("  {row} is left out: {error:#}");
        json!({"row": row, "skipped": format!("{error:#}")})
    })
}
