//! A program with the crate `runpod-sdk`: `rust-client CASE` prints what it saw as one line of JSON. The server is
//! named by `RUNPOD_API_URL` and the key by `RUNPOD_API_KEY`, which the crate reads itself.
//!
//! A job of this crate is a future: it submits and polls while it is awaited. Its other operations need it to be
//! submitted, so [`submitted`] drives it until it has an id.

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use runpod_sdk::RunpodConfig;
use runpod_sdk::serverless::{JobStatus, ServerlessEndpoint, ServerlessJob};
use serde_json::{Value, json};

type Seen = Result<Value, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let case = std::env::args().nth(1).ok_or("which case?")?;
    let seen = match case.as_str() {
        "run" => run().await?,
        "stream" => stream().await?,
        "cancel" => cancel().await?,
        "queue" => queue().await?,
        "errors" => errors().await?,
        other => return Err(format!("no such case: {other}").into()),
    };
    println!("{seen}");
    Ok(())
}

fn endpoint(name: &str) -> Result<ServerlessEndpoint, Box<dyn Error>> {
    Ok(ServerlessEndpoint::new(name, RunpodConfig::from_env()?.build_client()?))
}

async fn submitted(name: &str, input: Value) -> Result<Pin<Box<ServerlessJob>>, Box<dyn Error>> {
    let mut job = Box::pin(endpoint(name)?.run(&input)?);
    let driven = poll_fn(|context| {
        let polled = job.as_mut().poll(context);
        if job.job_id().is_some() || polled.is_ready() { Poll::Ready(()) } else { Poll::Pending }
    });
    driven.await;
    Ok(job)
}

/// Waits for one of these states.
async fn until(job: &ServerlessJob, wanted: &[JobStatus]) -> Result<JobStatus, Box<dyn Error>> {
    loop {
        let status = job.status().await?;
        if wanted.contains(&status) {
            return Ok(status);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn run() -> Seen {
    let tasks = endpoint("tasks")?;
    let now: Value = tasks.run_now(&json!({"n": [1, 2.5, null]})).await?;
    let awaited = tasks.run(&json!({"sleep": 0.7, "n": 2}))?.await?;
    let job = submitted("tasks", json!({"n": 3})).await?;
    let status = until(&job, &[JobStatus::Completed]).await?;
    let output: Value = job.output().await?;
    Ok(json!({"now": now, "awaited": awaited, "status": status, "output": output}))
}

async fn stream() -> Seen {
    let job = submitted("vllm", json!({"prompt": "a b c", "every": 0.2})).await?;
    let mut pieces = Vec::new();
    loop {
        let (status, chunks) = job.stream().await?;
        let ended = status.is_final() && chunks.is_empty();
        pieces.extend(chunks.into_iter().map(|chunk| chunk.output));
        if ended {
            return Ok(json!({"status": status, "pieces": pieces}));
        }
    }
}

async fn cancel() -> Seen {
    let running = submitted("tasks", json!({"sleep": 60})).await?;
    until(&running, &[JobStatus::InProgress]).await?;
    running.cancel().await?;
    let waiting = submitted("parked", json!({})).await?;
    let before = waiting.status().await?;
    waiting.cancel().await?;
    Ok(json!({"running": running.status().await?, "before": before, "waiting": waiting.status().await?}))
}

async fn queue() -> Seen {
    let parked = endpoint("parked")?;
    parked.purge_queue().await?;
    let job = submitted("parked", json!({"n": 1})).await?;
    let full = parked.health().await?;
    parked.purge_queue().await?;
    let empty = parked.health().await?;
    Ok(json!({"full": full, "empty": empty, "status": job.status().await?}))
}

async fn errors() -> Seen {
    let failed = endpoint("tasks")?.run(&json!({"fail": "not today"}))?.await;
    let nowhere = endpoint("nowhere")?.run(&json!({}))?.await;
    let client = RunpodConfig::builder()
        .with_api_key("nobody")
        .with_api_url(std::env::var("RUNPOD_API_URL")?)
        .build()?
        .build_client()?;
    let stranger = ServerlessEndpoint::new("tasks", client);
    let texts =
        [failed.err(), nowhere.err(), stranger.run(&json!({}))?.await.err(), stranger.health().await.err()];
    Ok(json!(texts.map(|error| error.map(|error| with_causes(&error)))))
}

/// An error with what caused it.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
