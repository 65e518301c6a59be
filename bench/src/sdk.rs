//! Through the unmodified worker SDK 1.12.0: the round trip of an empty job to a worker that waits, split into
//! the SDK's share and ours; and how many short jobs one worker does a second, with one job a take and with
//! lists.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::Plan;
use crate::floors::BODY;
use crate::http::Client;
use crate::jobs;
use crate::server::{Server, auth};
use crate::stats::{Run, Turn as _};
use crate::tap::Tap;

/// After a job the SDK's take loop sleeps a second; a job that comes later finds the worker waiting.
const GAP: Duration = Duration::from_millis(1_300);

/// A handler that becomes `program` (a file of `bench/python`) under the benchmarks' Python, with this concurrency;
/// with a tap, the worker talks through it.
pub fn handler(python: &Path, program: &str, concurrency: u32, tap: Option<&str>) -> String {
    let file = format!("{}/python/{program}", env!("CARGO_MANIFEST_DIR"));
    let python = python.display().to_string();
    let through = tap.map_or(String::new(), |tap| {
        format!(
            "for name, value in list(os.environ.items()):\n    if name.startswith('RUNPOD_WEBHOOK_'):\n        \
             os.environ[name] = value.replace('http://', 'http://{tap}/')\n"
        )
    });
    format!(
        "import os\nos.environ['BENCH_CONCURRENCY'] = '{concurrency}'\n{through}\
         os.execv({python:?}, [{python:?}, '-u', {file:?}])\n"
    )
}

fn python(plan: &Plan) -> anyhow::Result<&Path> {
    plan.python.as_deref().context("no Python with the SDK was given (--python=PROGRAM)")
}

/// The row of the round trip.
pub async fn run(plan: &Plan) -> anyhow::Result<Value> {
    plan.say(&format!("sdk: {} empty jobs through SDK 1.12.0, one by one", plan.sdk_jobs));
    let tap = Tap::start().await?;
    let server = Server::start().await?;
    server.deploy("sdk", &handler(python(plan)?, "worker_sdk.py", 1, Some(&tap.host)), &[]).await?;
    let mut client = Client::connect(&server.host).await?;
    let (mut total, mut before, mut after, mut ours, mut theirs) = (vec![], vec![], vec![], vec![], vec![]);
    for turn in 0..=plan.sdk_jobs {
        tokio::time::sleep(GAP).await;
        let asked = Instant::now();
        let job = whole(&mut client).await?;
        let heard = Instant::now();
        let seen = tap.seen(&job).with_context(|| format!("the tap did not see job {job}"))?;
        let done = seen.done.context("the tap did not see the result")?;
        // The first one warms up the worker.
        if turn > 0 {
            let to_worker = seen.handed.saturating_duration_since(seen.asked.max(asked));
            let to_client = heard.saturating_duration_since(done);
            before.push(to_worker.as_micros() as u64);
            after.push(to_client.as_micros() as u64);
            total.push((heard - asked).as_micros() as u64);
            ours.push((to_worker + to_client).as_micros() as u64);
            theirs.push((heard - asked).saturating_sub(to_worker + to_client).as_micros() as u64);
        }
    }
    server.stop().await;
    let took = GAP * plan.sdk_jobs as u32;
    let row = |name: &str, micros: Vec<u64>| plan.samples.median(name, vec![Run::new(micros, took)]);
    Ok(json!({
        "row": "sdk", "jobs": plan.sdk_jobs,
        "toWorker": row("sdk.to-worker", before)?, "toClient": row("sdk.to-client", after)?,
        "total": row("sdk.total", total)?, "ours": row("sdk.ours", ours)?, "sdk": row("sdk.sdk", theirs)?,
    }))
}

async fn whole(client: &mut Client) -> anyhow::Result<String> {
    let submitted = client.send("POST", "/v2/sdk/run", &auth(), BODY).await?;
    let view: Value = serde_json::from_slice(&submitted.body)?;
    let id = view["id"].as_str().context("an id")?.to_owned();
    let read = client.send("GET", &format!("/v2/sdk/status-sync/{id}?wait=60000"), &auth(), b"").await?;
    let view: Value = serde_json::from_slice(&read.body)?;
    ensure!(view["status"] == "COMPLETED", "a job did not complete: {view}");
    Ok(id)
}

/// The row of lists against one job a take: a full queue and one worker of concurrency 1.
pub async fn prefetch(plan: &Plan) -> anyhow::Result<Value> {
    plan.say("prefetch: one worker of SDK 1.12.0 with a full queue, one job a take and lists");
    let server = Server::start().await?;
    let text = handler(python(plan)?, "worker_sdk.py", 1, None);
    server.deploy("one", &text, &["--prefetch", "off"]).await?;
    server.deploy("lists", &text, &[]).await?;
    let one = drain(&server, "one", plan.sdk_jobs / 2).await?;
    let lists = drain(&server, "lists", plan.sdk_jobs * 40).await?;
    server.stop().await;
    Ok(json!({
        "row": "prefetch",
        "one": plan.samples.median("prefetch.one", vec![one])?,
        "lists": plan.samples.median("prefetch.lists", vec![lists])?,
    }))
}

/// Submits `count` jobs at once; each latency is from there to its end.
async fn drain(server: &Server, endpoint: &str, count: usize) -> anyhow::Result<Run> {
    // Without a job before, the first one would be answered by a worker that has been waiting.
    jobs::client(server, endpoint).await?.turn().await?;
    let mut tasks = Vec::new();
    let began = Instant::now();
    for _ in 0..count {
        let mut client = jobs::client(server, endpoint).await?;
        tasks.push(tokio::spawn(async move { client.turn().await.map(|()| Instant::now()) }));
    }
    let mut micros = Vec::new();
    for task in tasks {
        micros.push((task.await?? - began).as_micros() as u64);
    }
    Ok(Run::new(micros, began.elapsed()))
}
