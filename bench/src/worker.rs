//! A stub worker: speaks the worker protocol as fast as it can, started by the agent like any other. It asks
//! for batches, answers each job with its input, and ends when it is told.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::http::Client;

/// Jobs in one take.
const BATCH: usize = 32;

/// Connections of one worker that ask for jobs.
const LANES: usize = 4;

#[derive(Clone)]
struct Urls {
    host: String,
    take: String,
    done: String,
}

/// Runs until it is killed.
pub async fn run() -> anyhow::Result<()> {
    let id = std::env::var("RUNPOD_POD_ID").context("RUNPOD_POD_ID")?;
    let (host, take) = split(&std::env::var("RUNPOD_WEBHOOK_GET_JOB").context("RUNPOD_WEBHOOK_GET_JOB")?)?;
    let (_, done) =
        split(&std::env::var("RUNPOD_WEBHOOK_POST_OUTPUT").context("RUNPOD_WEBHOOK_POST_OUTPUT")?)?;
    let urls = Urls {
        host,
        take: take.replace("/job-take/", "/job-take-batch/").replace("$ID", &id),
        done: done.replace("$RUNPOD_POD_ID", &id),
    };
    let lanes: Vec<_> = (0..LANES).map(|_| tokio::spawn(lane(urls.clone()))).collect();
    for lane in lanes {
        lane.await??;
    }
    Ok(())
}

fn split(url: &str) -> anyhow::Result<(String, String)> {
    let rest = url.strip_prefix("http://").context("an http URL")?;
    let (host, path) = rest.split_once('/').context("a URL with a path")?;
    Ok((host.to_owned(), format!("/{path}")))
}

#[derive(Debug)]
struct Job {
    id: String,
    input: String,
}

fn jobs(body: &[u8]) -> anyhow::Result<Vec<Job>> {
    let list: Vec<std::collections::HashMap<String, Box<RawValue>>> = serde_json::from_slice(body)?;
    list.into_iter()
        .map(|job| {
            let id: Value = serde_json::from_str(job.get("id").context("an id")?.get())?;
            let input = job.get("input").context("an input")?.get().to_owned();
            Ok(Job { id: id.as_str().context("a text")?.to_owned(), input })
        })
        .collect()
}

async fn lane(urls: Urls) -> anyhow::Result<()> {
    let mut takes = Client::connect(&urls.host).await?;
    // One connection per answer in flight, so that the answers of a batch are committed together. Made when it is
    // needed: one that stays silent is closed.
    let mut posts = Vec::new();
    let take = format!("{}&batch_size={BATCH}&job_in_progress=1", urls.take);
    loop {
        let answer = takes.send("GET", &take, "user-agent: bench\r\n", b"").await?;
        if answer.status != 200 {
            continue;
        }
        let mut running = Vec::new();
        for job in jobs(&answer.body)? {
            let mut post = match posts.pop() {
                Some(post) => post,
                None => Client::connect(&urls.host).await?,
            };
            let path = format!("{}&isStream=false", urls.done.replace("$ID", &job.id));
            running.push(tokio::spawn(async move {
                let body = format!("{{\"output\":{}}}", job.input);
                let answer = post.send("POST", &path, "", body.as_bytes()).await?;
                ensure!(answer.status == 200, "a result was not taken: {}", answer.status);
                Ok(post)
            }));
        }
        for post in running {
            posts.push(post.await??);
        }
    }
}
