//! The model of the store: plain maps behind a lock, each command written the obvious way. Tests of other
//! crates run on it, and the conformance suite compares the SQLite store with it. Nothing here is durable.

mod batches;
mod commands;
mod metrics;
mod reader;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use runyard_domain::git::Connection;
use runyard_domain::registry::Registry;
use runyard_domain::{
    AuditRecord, Batch, BatchId, ConnectionId, DataKeyRecord, Delivery, Endpoint, EndpointId, Example,
    FailureGroup, Job, JobId, KeyId, KeyRecord, Member, MemberId, Payload, Release, Resource, ResourceId,
    SecretRecord, Timestamp, WorkerId, WorkerRecord,
};
use runyard_metrics::{Interval, Subject};

use crate::{Blobs, Command, Counts, Reader, Reply, Store, StoreError};

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Arc<RwLock<State>>,
    blobs: Option<Blobs>,
}

impl MemoryStore {
    /// An empty store. Payloads that lie in files stay there for ever.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store that removes files of `blobs` which it does not name any more.
    pub fn with_blobs(blobs: Blobs) -> Self {
        Self { state: Arc::default(), blobs: Some(blobs) }
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, now: Timestamp, commands: &[Command]) -> Result<Vec<Reply>, StoreError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let Some(blobs) = &self.blobs else {
            return Ok(state.apply_all(now, commands));
        };
        let mut files = state.files();
        files.extend(commands.iter().flat_map(payloads_of).filter_map(file_of));
        let replies = state.apply_all(now, commands);
        let named = state.files();
        blobs.unlink_all(files.into_iter().filter(|name| !named.contains(name)));
        Ok(replies)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(reader::MemoryReader { state: Arc::clone(&self.state) })
    }
}

/// Everything there is.
#[derive(Debug, Default)]
struct State {
    /// The highest `seq` given out.
    last_seq: u64,
    jobs: HashMap<JobId, Entry>,
    /// The outbox of webhooks, by the `seq` of the end.
    deliveries: BTreeMap<u64, Delivery>,
    /// The four counts that rise for ever; `waiting` and `running` stay 0 here.
    counts: HashMap<EndpointId, Counts>,
    /// Oldest first.
    batches: Vec<Batch>,
    /// When the clock looks at a batch again that it could not forget.
    kept_batches: HashMap<BatchId, Timestamp>,
    /// Calls about batches by scope and idempotency key.
    batch_calls: HashMap<(String, String), batches::Call>,
    endpoints: BTreeMap<EndpointId, Endpoint>,
    releases: BTreeMap<(EndpointId, u32), Release>,
    workers: BTreeMap<WorkerId, WorkerRecord>,
    keys: BTreeMap<KeyId, KeyRecord>,
    members: BTreeMap<MemberId, Member>,
    connections: BTreeMap<ConnectionId, Connection>,
    registries: BTreeMap<String, Registry>,
    resources: BTreeMap<ResourceId, Resource>,
    examples: BTreeMap<(EndpointId, String), Example>,
    secrets: BTreeMap<String, SecretRecord>,
    data_keys: BTreeMap<String, DataKeyRecord>,
    /// Oldest first.
    audit: VecDeque<AuditRecord>,
    /// What was counted and measured, by subject, seconds of the interval (0: ever), and where it begins.
    intervals: BTreeMap<(Subject, i64, Timestamp), Interval>,
    /// Failures by endpoint and fingerprint.
    failures: BTreeMap<EndpointId, BTreeMap<String, FailureGroup>>,
    /// Up to where minutes, and up to where intervals of ten minutes were made.
    made: [Timestamp; 2],
}

/// A job with all that belongs to it.
#[derive(Debug)]
struct Entry {
    job: Job,
    /// Its first `seq`: its place among all submissions, also after a retry.
    place: u64,
    idempotency_key: Option<String>,
    input: Payload,
    s3: Option<Payload>,
    output: Option<Payload>,
    progress: Option<Payload>,
    chunks: Vec<Payload>,
    /// How many chunks were delivered.
    delivered: u64,
    /// The last chunk number of each incarnation.
    numbers: HashMap<WorkerId, u64>,
}

impl Entry {
    /// Its next attempt streams from the start.
    fn clear_stream(&mut self) {
        self.progress = None;
        self.chunks.clear();
        self.delivered = 0;
    }
}

impl State {
    fn apply_all(&mut self, now: Timestamp, commands: &[Command]) -> Vec<Reply> {
        let replies = commands.iter().map(|command| self.apply(now, command)).collect();
        self.settle_batches(now);
        self.let_failures_go();
        replies
    }

    /// Until when pending deliveries keep a job.
    fn held_until(&self, job: &JobId) -> Option<Timestamp> {
        self.deliveries.values().filter(|d| d.job == *job).filter_map(Delivery::held_until).max()
    }

    /// When the clock alone changes a job.
    fn due_at(&self, job: &Job) -> Timestamp {
        job.due_while_held(self.held_until(&job.id))
    }

    /// The files that some job names.
    fn files(&self) -> BTreeSet<String> {
        let kept = |e: &Entry| -> Vec<String> {
            let single = [Some(&e.input), e.s3.as_ref(), e.output.as_ref(), e.progress.as_ref()];
            single.into_iter().flatten().chain(&e.chunks).filter_map(file_of).collect()
        };
        self.jobs.values().flat_map(kept).collect()
    }
}

fn file_of(payload: &Payload) -> Option<String> {
    match payload {
        Payload::Inline(_) => None,
        Payload::File { name, .. } => Some(name.clone()),
    }
}

fn payloads_of(command: &Command) -> Vec<&Payload> {
    match command {
        Command::Submit(s) => std::iter::once(&s.input).chain(&s.s3).collect(),
        Command::MakeBatch { requests, .. } | Command::AddToBatch { requests, .. } => {
            requests.iter().flat_map(|s| std::iter::once(&s.input).chain(&s.s3)).collect()
        }
        Command::Finish { output, .. } => output.iter().collect(),
        Command::Progress { value, .. } | Command::Chunk { value, .. } => vec![value],
        Command::Recorded { command, .. } => payloads_of(command),
        _ => vec![],
    }
}
