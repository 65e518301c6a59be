//! A worker of the crate `runpod-sdk` with the handler of `../field.py`, as far as that crate goes: it has no
//! progress, no streams, no refresh and no stop channel.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use runpod_sdk::serverless::{ServerlessWorker, WorkerJob};
use serde_json::{Value, json};

const SDK: &str = "rust-0.8.0";

#[tokio::main]
async fn main() -> Result<(), runpod_sdk::Error> {
    println!("--- worker of the crate runpod-sdk");
    ServerlessWorker::from_env()?.run(handler).await
}

async fn handler(job: WorkerJob) -> Result<Value, String> {
    let given = &job.input;
    let text = |name: &str| given[name].as_str().map(str::to_owned);
    if let Some(journal) = text("journal") {
        note(&journal, &job.id)?;
    }
    if let Some(seconds) = given["sleep"].as_f64() {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }
    if let Some(code) = given["exit"].as_i64() {
        std::process::exit(i32::try_from(code).unwrap_or(1));
    }
    // A handler of this crate cannot raise: it answers with an error, whatever went wrong.
    if let Some(error) = text("error").or_else(|| text("raise")) {
        return Err(error);
    }
    Ok(json!({ "value": given["value"], "sdk": SDK }))
}

/// One line for each execution, in one write.
fn note(journal: &str, job: &str) -> Result<(), String> {
    let worker = std::env::var("RUNPOD_POD_ID").unwrap_or_default();
    let file = OpenOptions::new().append(true).open(journal);
    let written = file.and_then(|mut file| file.write_all(format!("start {job} {worker}\n").as_bytes()));
    written.map_err(|error| format!("{journal}: {error}"))
}
