//! Whole jobs through the embedded store alone: submit, take and finish, each acknowledged after its own
//! commit, with as many callers as the batch has commands of one kind.

use std::time::{Duration, Instant};

use anyhow::bail;
use runyard_domain::job::Answer;
use runyard_domain::{EndpointId, Env as _, Job, JobId, Payload, Phase, Policy, Timestamp, WorkerId};
use runyard_engine::SystemEnv;
use runyard_store::sqlite::SqliteStore;
use runyard_store::{Blobs, Command, Reply, Store as _, Submission};

use crate::stats::Run;

/// Jobs for `length`, in batches of `clients`.
pub fn run(length: Duration, clients: usize) -> anyhow::Result<Run> {
    let dir = tempfile::tempdir()?;
    std::fs::create_dir_all(dir.path().join("db"))?;
    let blobs = Blobs::open(dir.path().join("blobs"))?;
    let mut store = SqliteStore::open(&dir.path().join("db"), blobs)?;
    let (endpoint, worker) = (EndpointId::new("bench"), WorkerId::new("w"));
    let began = Instant::now();
    let mut micros = Vec::new();
    while began.elapsed() < length {
        let asked = Instant::now();
        let now = SystemEnv.now();
        let submits: Vec<Command> = (0..clients).map(|_| submit(&endpoint, now)).collect();
        store.commit(now, &submits)?;
        let take = Command::Take {
            endpoint: endpoint.clone(),
            worker: worker.clone(),
            release: 1,
            pinned_only: false,
            max: clients,
            ahead: 0,
        };
        let replies = store.commit(now, &[take])?;
        let Some(Reply::Taken(taken)) = replies.into_iter().next() else { bail!("a take has its reply") };
        let finishes: Vec<Command> = taken.into_iter().map(|t| finish(t.job.id, &worker)).collect();
        store.commit(now, &finishes)?;
        let each = asked.elapsed().as_micros() as u64;
        micros.extend(std::iter::repeat_n(each, clients));
    }
    Ok(Run::new(micros, began.elapsed()))
}

fn submit(endpoint: &EndpointId, now: Timestamp) -> Command {
    let job = Job {
        id: SystemEnv.job_id(false),
        endpoint: endpoint.clone(),
        seq: 0,
        sync: false,
        submitted_at: now,
        submitted_by: "bench".into(),
        policy: Policy { execution_timeout_ms: 600_000, ttl_ms: 86_400_000, low_priority: false },
        expires_at: now.plus(86_400_000),
        requeues: 1,
        retention_ms: 86_400_000,
        pinned: None,
        webhook: None,
        batch: None,
        has_s3: false,
        attempt: 0,
        losses: 0,
        lost_by: Vec::new(),
        attempts: Vec::new(),
        phase: Phase::Waiting { since: now },
    };
    let input = Payload::inline(&br#"{"text":"a short input of 38 bytes"}"#[..]);
    Command::Submit(Box::new(Submission { job, input, s3: None, idempotency_key: None }))
}

fn finish(job: JobId, worker: &WorkerId) -> Command {
    let output = Some(Payload::inline(&br#"{"text":"a short input of 38 bytes"}"#[..]));
    Command::Finish { job, worker: worker.clone(), answer: Answer::Success, output, posted: None }
}
