//! Posts that wait for the server, on disk: each is appended and synced before its worker hears 200, and
//! leaves when the server has answered it.
//!
//! The file is a log of posts and of the numbers of those that are done with (`records`). Whenever nothing waits it is
//! emptied. A tail that a crash tore was never answered with 200 and is cut off.
//!
//! Some blocks beyond the file's end are its own already, so that results find room on a full disk too.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use runyard_domain::start::Seen;
use runyard_domain::{JobId, Timestamp, WorkerId};
use runyard_runtime::Observed;
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use tokio::sync::Notify;

use crate::records::{self, Entry, Record};
use crate::upstream::Outgoing;
use crate::worker::{Worker, locked};

/// How much room an empty spool has for itself, in bytes; less on a small file system.
const ROOM: u64 = 32 << 20;

/// A result, a chunk or a job's progress.
#[derive(Debug, Clone)]
pub struct Post {
    /// Whose.
    pub job: JobId,
    /// Whether it is the job's result.
    pub last: bool,
    /// The request as it goes to the server.
    pub request: Outgoing,
}

impl Post {
    /// A post of a job.
    pub fn new(job: JobId, last: bool, request: Outgoing) -> Self {
        Self { job, last, request }
    }
}

/// The posts that wait.
#[derive(Debug)]
pub struct Spool {
    file: Arc<File>,
    /// Held while the file is written.
    writing: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// Told when there is something to replay.
    pub filled: Notify,
    /// Told when a post has left.
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    end: u64,
    next: u64,
    /// Where each entry's body lies.
    waiting: BTreeMap<u64, (Entry, u64)>,
    per_worker: HashMap<WorkerId, usize>,
}

impl State {
    fn insert(&mut self, entry: Entry, body_at: u64) {
        *self.per_worker.entry(entry.worker.clone()).or_insert(0) += 1;
        self.waiting.insert(entry.number, (entry, body_at));
    }

    fn remove(&mut self, number: u64) {
        let Some((entry, _)) = self.waiting.remove(&number) else { return };
        if let Some(count) = self.per_worker.get_mut(&entry.worker) {
            *count -= 1;
            if *count == 0 {
                self.per_worker.remove(&entry.worker);
            }
        }
    }
}

impl Spool {
    /// Opens the spool in the folder `dir` and reads what an earlier agent left in it.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join("posts");
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let state = load(&file)?;
        keep_room(&file, state.end);
        // The folder too: the file's name has to survive, not only its content.
        File::open(dir)?.sync_all()?;
        Ok(Self {
            file: Arc::new(file),
            writing: tokio::sync::Mutex::new(()),
            state: Mutex::new(state),
            filled: Notify::new(),
            left: Notify::new(),
        })
    }

    /// Whether posts of a worker wait.
    pub fn holds_of(&self, worker: &WorkerId) -> bool {
        locked(&self.state).per_worker.contains_key(worker)
    }

    /// Resolves when no posts of a worker wait.
    pub async fn brought(&self, worker: &WorkerId) {
        loop {
            let left = self.left.notified();
            if !self.holds_of(worker) {
                return;
            }
            left.await;
        }
    }

    /// The jobs of a worker whose results wait.
    pub fn jobs_of(&self, worker: &WorkerId) -> Vec<JobId> {
        let state = locked(&self.state);
        if !state.per_worker.contains_key(worker) {
            return Vec::new();
        }
        let entries = state.waiting.values().map(|(entry, _)| entry);
        entries.filter(|entry| entry.last && entry.worker == *worker).map(|entry| entry.job.clone()).collect()
    }

    /// Workers of an earlier agent whose results wait: they are gone, but their jobs are not lost.
    pub fn ghosts(&self, now: Timestamp, is_known: impl Fn(&WorkerId) -> bool) -> Vec<Observed> {
        let state = locked(&self.state);
        let mut ghosts: BTreeMap<WorkerId, Observed> = BTreeMap::new();
        for (entry, _) in state.waiting.values().filter(|(entry, _)| !is_known(&entry.worker)) {
            let ghost = ghosts.entry(entry.worker.clone()).or_insert_with(|| Observed {
                id: entry.worker.clone(),
                endpoint: entry.endpoint.clone(),
                release: entry.release,
                pid: 0,
                started_at: Timestamp(0),
                ended_at: Some(now),
                exit: None,
                holds: Vec::new(),
                spooled: Vec::new(),
                phase: None,
                start: Seen::default(),
                halted: false,
            });
            if entry.last {
                ghost.spooled.push(entry.job.clone());
            }
        }
        ghosts.into_values().collect()
    }

    /// Appends a post; when this answers, it survives a power cut.
    pub async fn append(&self, worker: &Worker, post: Post) -> io::Result<()> {
        let _writing = self.writing.lock().await;
        let (number, at) = {
            let mut state = locked(&self.state);
            state.next += 1;
            (state.next, state.end)
        };
        let body = post.request.body;
        let entry = Entry {
            number,
            worker: worker.id.clone(),
            endpoint: worker.endpoint.clone(),
            release: worker.release,
            job: post.job,
            last: post.last,
            path: post.request.path,
            headers: texts(&post.request.headers),
            len: body.len() as u64,
            sum: records::sum(&body),
            line_sum: None,
        };
        let bytes = entry.line()?;
        let body_at = at + bytes.len() as u64;
        let end = body_at + entry.len + 1;
        let file = Arc::clone(&self.file);
        let written = tokio::task::spawn_blocking(move || {
            file.write_all_at(&bytes, at)?;
            file.write_all_at(&body, body_at)?;
            file.write_all_at(b"\n", body_at + body.len() as u64)?;
            file.sync_data()
        })
        .await
        .map_err(io::Error::other)?;
        if let Err(error) = written {
            // Whatever got there is not an entry; the next one is written over it.
            let _ = self.file.set_len(at);
            return Err(error);
        }
        let mut state = locked(&self.state);
        state.end = end;
        state.insert(entry, body_at);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Workers whose posts wait, in the order of their oldest.
    pub fn workers(&self) -> Vec<WorkerId> {
        let state = locked(&self.state);
        let mut workers: Vec<WorkerId> = Vec::new();
        for (entry, _) in state.waiting.values() {
            if !workers.contains(&entry.worker) {
                workers.push(entry.worker.clone());
            }
        }
        workers
    }

    /// The oldest post of a worker, with its number.
    pub fn oldest(&self, worker: &WorkerId) -> io::Result<Option<(u64, Outgoing)>> {
        let found = {
            let state = locked(&self.state);
            state.waiting.iter().find(|(_, (entry, _))| entry.worker == *worker).map(|(n, e)| (*n, e.clone()))
        };
        let Some((number, (entry, at))) = found else { return Ok(None) };
        let mut body = vec![0; entry.len as usize];
        self.file.read_exact_at(&mut body, at)?;
        let request = Outgoing {
            method: Method::POST,
            path: entry.path,
            headers: headers(&entry.headers),
            body: Bytes::from(body),
            only: None,
        };
        Ok(Some((number, request)))
    }

    /// The server has answered an entry.
    pub async fn finish(&self, number: u64) -> io::Result<()> {
        let _writing = self.writing.lock().await;
        let (empty, end) = {
            let mut state = locked(&self.state);
            state.remove(number);
            (state.waiting.is_empty(), state.end)
        };
        self.left.notify_waiters();
        if empty {
            self.file.set_len(0)?;
            locked(&self.state).end = 0;
            keep_room(&self.file, 0);
            return Ok(());
        }
        // Not synced: after a power cut the entry is sent again, which the server bears.
        let line = records::finished(number)?;
        self.file.write_all_at(&line, end)?;
        locked(&self.state).end = end + line.len() as u64;
        Ok(())
    }
}

/// Takes blocks beyond the end of the file. Where there are none, or the file system cannot do that, the spool has
/// what the disk has free when it is needed.
fn keep_room(file: &File, end: u64) {
    let Ok(system) = fstatvfs(file) else { return };
    let room = ROOM.min(system.f_blocks.saturating_mul(system.f_frsize) / 16);
    if let Err(error) = fallocate(file, FallocateFlags::KEEP_SIZE, end, room) {
        tracing::debug!(%error, "the spool has no room of its own");
    }
}

/// Reads what is whole of the file and cuts off what is torn behind it.
fn load(file: &File) -> io::Result<State> {
    let mut state = State::default();
    let end = records::read(file, |record| match record {
        Record::Entry(entry, body_at) => {
            state.next = state.next.max(entry.number);
            state.insert(*entry, body_at);
        }
        Record::Finished(number) => state.remove(number),
    })?;
    state.end = if state.waiting.is_empty() { 0 } else { end };
    file.set_len(state.end)?;
    Ok(state)
}

/// Headers as text; the worker's key is of no use to the server and stays out of the file.
fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter(|(name, _)| *name != http::header::AUTHORIZATION)
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect()
}

fn headers(texts: &[(String, String)]) -> HeaderMap {
    texts
        .iter()
        .filter_map(|(name, value)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
        })
        .collect()
}
