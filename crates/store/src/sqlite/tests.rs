//! Tests of what only this implementation has: what a full disk and a failed statement leave, what a query
//! costs, how long the WAL becomes.
#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::sync::atomic::{AtomicU64, Ordering};

use runyard_domain::job::Answer;
use runyard_domain::{EndpointId, Job, JobId, Payload, Phase, Policy, WorkerId};
use tempfile::TempDir;

use super::*;
use crate::{Filter, Standing, Submission};

fn open() -> (SqliteStore, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path().join("blobs")).unwrap();
    (SqliteStore::open(&dir.path().join("db"), blobs).unwrap(), dir)
}

fn submit(id: &str, input: Payload) -> Command {
    let job = Job {
        id: JobId::new(id),
        endpoint: EndpointId::new("e"),
        seq: 0,
        sync: false,
        submitted_at: Timestamp(1),
        submitted_by: "local".into(),
        policy: Policy { execution_timeout_ms: 0, ttl_ms: 60_000, low_priority: false },
        expires_at: Timestamp(60_000),
        requeues: 1,
        retention_ms: 1_000,
        pinned: None,
        batch: None,
        webhook: None,
        has_s3: false,
        attempt: 0,
        losses: 0,
        lost_by: vec![],
        attempts: vec![],
        phase: Phase::Waiting { since: Timestamp(1) },
    };
    Command::Submit(Box::new(Submission { job, input, s3: None, idempotency_key: None }))
}

fn small(id: &str) -> Command {
    submit(id, Payload::inline("1"))
}

fn take(max: usize) -> Command {
    let (endpoint, worker) = (EndpointId::new("e"), WorkerId::new("w"));
    Command::Take { endpoint, worker, release: 1, pinned_only: false, max, ahead: 0 }
}

fn finish(id: &str) -> Command {
    let (job, worker) = (JobId::new(id), WorkerId::new("w"));
    Command::Finish { job, worker, answer: Answer::Success, output: None, posted: None }
}

#[test]
fn a_full_disk_refuses_the_batch_and_nothing_else() {
    let (mut store, _dir) = open();
    store.commit(Timestamp(1), &[small("a")]).unwrap();
    let pages: i64 = store.conn.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    store.conn.pragma_update_and_check(None, "max_page_count", pages + 4, |_| Ok(())).unwrap();
    let large = Payload::inline(vec![b'1'; 200_000]);
    let full = store.commit(Timestamp(1), &[small("b"), submit("c", large)]);
    assert!(matches!(full, Err(StoreError::DiskFull)), "{full:?}");
    assert_eq!(store.reader().jobs(&Filter::default()).unwrap().len(), 1);
    let replies = store.commit(Timestamp(1), &[small("d")]).unwrap();
    let Reply::Submitted { job, .. } = &replies[0] else { panic!("{replies:?}") };
    assert_eq!(job.seq, 2, "the numbers of the refused batch were not given out");
    assert_eq!(store.reader().counts(&EndpointId::new("e")).unwrap().waiting, 2);
}

#[test]
fn a_failed_statement_takes_the_whole_batch_back() {
    let (mut store, _dir) = open();
    store.commit(Timestamp(1), &[small("a"), take(1)]).unwrap();
    store.conn.execute_batch("ALTER TABLE payloads RENAME TO elsewhere").unwrap();
    let failed = store.commit(Timestamp(1), &[finish("a"), small("b")]);
    assert!(matches!(failed, Err(StoreError::Database { operation: "add a payload", .. })), "{failed:?}");
    store.conn.execute_batch("ALTER TABLE elsewhere RENAME TO payloads").unwrap();
    let job = store.reader().job(&JobId::new("a")).unwrap().unwrap();
    assert_eq!(Standing::of(&job), Standing::Running);
    store.commit(Timestamp(1), &[finish("a"), small("b")]).unwrap();
}

#[test]
fn after_a_failure_of_the_disk_nothing_more_is_accepted() {
    let (mut store, _dir) = open();
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
    let source = rusqlite::Error::SqliteFailure(code, None);
    let error = StoreError::Database { operation: "commit a batch", source };
    store.broken = Some(Break::of(&error).unwrap());
    let refused = store.commit(Timestamp(1), &[small("a")]);
    assert!(matches!(refused, Err(StoreError::Database { operation: "commit a batch", .. })), "{refused:?}");
    assert_eq!(store.reader().jobs(&Filter::default()).unwrap(), []);
    assert!(Break::of(&StoreError::DiskFull).is_none());
}

#[test]
fn a_forgotten_job_leaves_no_row() {
    let (mut store, _dir) = open();
    let chunk = |id: &str| {
        let (job, worker, value) = (JobId::new(id), WorkerId::new("w"), Payload::inline("1"));
        Command::Chunk { job, worker, number: Some(1), value }
    };
    let keyed = |id: &str| match small(id) {
        Command::Submit(mut s) => {
            s.idempotency_key = Some(id.to_owned());
            Command::Submit(s)
        }
        other => other,
    };
    let commands = [keyed("a"), keyed("b"), take(2), chunk("a"), chunk("b"), finish("a")];
    store.commit(Timestamp(1), &commands).unwrap();
    let expire = Command::Expire { job: JobId::new("a") };
    store.commit(Timestamp(5_000), &[expire, Command::DropEndpoint(EndpointId::new("e"))]).unwrap();
    for table in ["jobs", "payloads", "streams", "chunks", "chunk_numbers", "idempotency", "counts"] {
        let count = format!("SELECT count(*) FROM {table}");
        let rows: i64 = store.conn.query_row(&count, [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0, "{table}");
    }
}

/// Counts the steps of SQLite's machine on `conn` from now on.
fn meter(conn: &Connection) -> Arc<AtomicU64> {
    let steps = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&steps);
    let count = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        false
    };
    conn.progress_handler(1, Some(count));
    steps
}

/// A store with thousands of jobs: 3,000 wait, 1,000 run, 2,000 are done.
fn crowded() -> (SqliteStore, TempDir) {
    let (mut store, dir) = open();
    let ids: Vec<String> = (0..6_000).map(|n| format!("j{n}")).collect();
    let submit_at = |n: i64, id: &str| match small(id) {
        Command::Submit(mut s) => {
            s.job.submitted_at = Timestamp(n / 50);
            Command::Submit(s)
        }
        other => other,
    };
    let submits: Vec<Command> = (0..).zip(&ids).map(|(n, id)| submit_at(n, id)).collect();
    let finishes: Vec<Command> = ids[..2_000].iter().map(|id| finish(id)).collect();
    store.commit(Timestamp(1), &submits).unwrap();
    store.commit(Timestamp(2), &[take(3_000)]).unwrap();
    store.commit(Timestamp(3), &finishes).unwrap();
    (store, dir)
}

/// No clock: what the hot paths cost must not depend on how many jobs there are. A scan would take tens of
/// thousands of steps.
#[test]
fn no_hot_path_reads_more_than_it_needs() {
    let (mut store, _dir) = crowded();
    let steps = meter(&store.conn);
    let reader = store.reader();
    let first = JobId::new("j0");
    let expire = Command::Expire { job: first.clone() };
    for command in [take(1), finish("j2500"), small("new"), expire] {
        steps.store(0, Ordering::Relaxed);
        store.commit(Timestamp(5_000), std::slice::from_ref(&command)).unwrap();
        let spent = steps.load(Ordering::Relaxed);
        assert!((1..1_000).contains(&spent), "{command:?} costs {spent} steps");
    }

    let steps = store.readers.with(|conn| Ok(meter(conn))).unwrap();
    let ask = |what: &str, question: &dyn Fn()| {
        steps.store(0, Ordering::Relaxed);
        question();
        let spent = steps.load(Ordering::Relaxed);
        assert!((1..1_000).contains(&spent), "{what} costs {spent} steps");
    };
    let endpoint = EndpointId::new("e");
    let of_e = || Filter { endpoint: Some(endpoint.clone()), limit: 10, ..Filter::default() };
    let failed = Filter { standing: Some(Standing::Failed), ..of_e() };
    let page = Filter { before: Some(JobId::new("j3000")), ..of_e() };
    let late = Filter { since: Some(Timestamp(2)), endpoint: None, ..of_e() };
    ask("job", &|| drop(reader.job(&JobId::new("j5")).unwrap()));
    ask("input", &|| drop(reader.input(&JobId::new("j5")).unwrap()));
    ask("undelivered", &|| drop(reader.undelivered(&JobId::new("j5"), 9).unwrap()));
    ask("counts", &|| assert!(reader.counts(&endpoint).unwrap().waiting > 0));
    ask("due", &|| drop(reader.due(Timestamp(9_000), 10).unwrap()));
    ask("due, none", &|| drop(reader.due(Timestamp(0), 10).unwrap()));
    ask("next_due", &|| assert!(reader.next_due().unwrap().is_some()));
    ask("jobs", &|| drop(reader.jobs(&Filter { limit: 10, ..Filter::default() }).unwrap()));
    ask("jobs of an endpoint", &|| drop(reader.jobs(&of_e()).unwrap()));
    ask("failed jobs of an endpoint", &|| drop(reader.jobs(&failed).unwrap()));
    ask("the next page", &|| drop(reader.jobs(&page).unwrap()));
    let early = Filter { until: Some(Timestamp(2)), ..of_e() };
    ask("jobs until", &|| drop(reader.jobs(&early).unwrap()));
    let none = Filter { ended_since: Some(Timestamp(6_000)), endpoint: None, ..of_e() };
    let ended = Filter { ended_since: Some(Timestamp(4)), ..of_e() };
    ask("jobs that ended since, none", &|| assert!(reader.jobs(&none).unwrap().is_empty()));
    ask("jobs that ended since", &|| assert!(!reader.jobs(&ended).unwrap().is_empty()));
    ask("jobs since", &|| drop(reader.jobs(&late).unwrap()));
}

#[test]
fn the_log_is_started_anew_when_it_has_become_long() {
    let (mut store, dir) = open();
    let wal = dir.path().join("db/runyard.db-wal");
    assert_eq!(std::fs::metadata(&wal).unwrap().len() as usize, WAL_BYTES, "grown at the start");
    let large = Payload::inline(vec![b'1'; 200_000]);
    let (mut longest, mut restarts, mut last) = (0, 0, 0);
    for n in 0..600 {
        store.commit(Timestamp(1), &[submit(&format!("j{n}"), large.clone())]).unwrap();
        restarts += u32::from(WAL_PAGES.get() < last);
        last = WAL_PAGES.get();
        longest = longest.max(last);
    }
    // 600 × 200 kB are about 30,000 pages.
    assert!(restarts > 0, "the log was never started anew");
    assert!(longest < 20_000, "the log had {longest} pages");
    assert_eq!(store.reader().live().unwrap().len(), 600);
}
