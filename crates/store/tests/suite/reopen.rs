//! The SQLite store over a restart: everything comes back, numbers go on, and nothing is left behind.

use std::fs;

use runyard_domain::Timestamp;
use runyard_domain::worker::WorkerState;
use runyard_store::{Blobs, Command, Filter, Reply, SqliteStore, Store, StoreError, Submission};

use crate::bench::*;

#[test]
fn everything_comes_back() {
    let mut b = Bench::sqlite();
    let input = b.file("input");
    b.all(&[
        Command::PutEndpoint(Box::new(endpoint("e", "mine"))),
        Command::PutRelease(Box::new(release("e", 1))),
        Command::PutWorker(Box::new(worker("w1", "e", 1, WorkerState::Ready))),
        Command::PutKey(Box::new(key_record("k", 1))),
        submit(Submission {
            input: input.clone(),
            s3: Some(text("sealed")),
            ..keyed("k", submission("a", 1))
        }),
        submit(submission("b", 2)),
        submit(submission("c", 3)),
        take("w1", 2),
        chunk("b", "w1", Some(1), "1"),
        chunk("b", "w1", Some(2), "2"),
        delivered("b", 0),
        progress("b", "w1", text("7")),
        finish("a", "w1", Some(text("8"))),
    ]);
    let before = b.reader.jobs(&Filter::default()).unwrap();
    let counts = b.reader.counts(&e("e")).unwrap();
    let mut b = b.reopen();
    assert_eq!(b.reader.jobs(&Filter::default()).unwrap(), before);
    assert_eq!(b.reader.counts(&e("e")).unwrap(), counts);
    assert_eq!(b.reader.live().unwrap().len(), 2);
    assert_eq!(b.reader.input(&j("a")).unwrap(), Some(input.clone()));
    assert_eq!(b.text(&input), "\"in input\"");
    assert_eq!(b.reader.s3(&j("a")).unwrap(), Some(text("sealed")));
    assert_eq!(b.reader.output(&j("a")).unwrap(), Some(text("8")));
    assert_eq!(b.reader.progress(&j("b")).unwrap(), Some(text("7")));
    assert_eq!(b.stream("b", 99).0, [(1, "2".to_owned())]);
    assert_eq!(b.reader.endpoints().unwrap(), [endpoint("e", "mine")]);
    assert_eq!(b.reader.releases(&e("e")).unwrap(), [release("e", 1)]);
    assert_eq!(b.reader.workers(None, 9).unwrap(), [worker("w1", "e", 1, WorkerState::Ready)]);
    assert_eq!(b.reader.keys().unwrap(), [key_record("k", 1)]);
    // And it goes on where it stopped.
    b.job(chunk("b", "w1", Some(2), "2"));
    assert_eq!(b.stream("b", 99).0.len(), 1);
    let again = b.one(submit(keyed("k", submission("x", 9))));
    assert!(matches!(again, Reply::Submitted { existing: true, .. }));
    assert_eq!(b.take("w2", 9), ["c"]);
}

#[test]
fn deliveries_come_back_as_they_were() {
    let mut b = Bench::sqlite();
    for id in ["heard", "tried", "new"] {
        b.submit_as(webhook("http://h/", submission(id, 1)));
        b.job(cancel(id));
    }
    let delivery = |b: &Bench, id: &str| b.reader.deliveries(&j(id)).unwrap().remove(0);
    b.one(tried(&delivery(&b, "heard").id, 1_000, 200, None));
    b.one(tried(&delivery(&b, "tried").id, 1_000, 500, Some(Timestamp(6_000))));
    let before = ["heard", "tried", "new"].map(|id| delivery(&b, id));
    let b = b.reopen();
    assert_eq!(["heard", "tried", "new"].map(|id| delivery(&b, id)), before);
    assert_eq!(b.reader.pending_deliveries(&[], 9).unwrap(), [before[2].clone(), before[1].clone()]);
    assert_eq!(
        b.reader.next_due().unwrap(),
        Some(Timestamp(11_000)),
        "the job of the delivery that was heard"
    );
}

#[test]
fn the_first_schema_is_brought_up_to_date() {
    let mut b = Bench::sqlite();
    b.submit_as(webhook("http://h/", submission("ended", 1)));
    b.submit_as(webhook("http://h/", submission("lives", 1)));
    b.job(cancel("ended"));
    let path = b.dir.path().join("db/runyard.db");
    let Bench { store, reader, blobs, now, dir } = b;
    drop((store, reader));
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(
        "DROP TABLE deliveries; DROP INDEX jobs_held; DROP INDEX jobs_of_batch; DROP INDEX jobs_of_batch_standing;
         DROP INDEX jobs_ended; ALTER TABLE jobs DROP COLUMN ended_at;
         ALTER TABLE jobs DROP COLUMN batch; DROP TABLE batches; DROP TABLE batch_calls; DROP TABLE connections;
         DROP TABLE registries; DROP TABLE resources; DROP TABLE secrets; DROP TABLE data_keys; DROP TABLE audit;
         DROP TABLE members; DROP TABLE metrics; DROP TABLE failures; DROP TABLE examples;
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(old);
    let store = SqliteStore::open(&dir.path().join("db"), blobs.clone()).unwrap();
    let mut b = Bench { reader: store.reader(), store: Box::new(store), blobs, now, dir };
    assert_eq!(b.listed(&Filter::default()).len(), 2);
    let ended = Filter { ended_since: Some(Timestamp(b.now)), ..Filter::default() };
    assert_eq!(b.listed(&ended), ["ended"], "what had ended is found by its end");
    b.job(cancel("lives"));
    let pending = b.reader.pending_deliveries(&[], 9).unwrap();
    assert_eq!(pending.iter().map(|d| d.job.as_str()).collect::<Vec<_>>(), ["lives"]);
    let made = batch("b", "e", b.now);
    let requests = vec![request("x", &made, b.now, text("1"))];
    b.one(Command::MakeBatch { batch: Box::new(made), requests, idempotency_key: None });
    assert_eq!(b.reader.batch_jobs(&runyard_domain::BatchId::new("b"), 0, 9).unwrap().len(), 1);
}

#[test]
fn numbers_never_go_back() {
    let mut b = Bench::sqlite();
    b.submit("a");
    b.submit("b");
    b.job(cancel("b"));
    b.now += 10_000;
    assert_eq!(b.one(expire("b")), Reply::Forgotten(j("b")));
    let mut b = b.reopen();
    assert_eq!(b.submit("c").seq, 3);
    b.take("w1", 1);
    b.job(fail("a", "w1"));
    assert_eq!(b.job(retry("a")).seq, 4);
    let mut b = b.reopen();
    assert_eq!(b.submit("d").seq, 5);
}

#[test]
fn files_that_were_never_committed_are_swept() {
    let mut b = Bench::sqlite();
    let input = b.file("named");
    b.submit_as(Submission { input, ..submission("a", 1) });
    b.file("orphan");
    let b = b.reopen();
    assert_eq!(b.files(), names(&["named"]));
}

#[test]
fn a_store_is_open_once() {
    let b = Bench::sqlite();
    let second = SqliteStore::open(&b.dir.path().join("db"), b.blobs.clone());
    assert!(matches!(second, Err(StoreError::File { operation: "lock", .. })), "{second:?}");
    b.reopen();
}

#[test]
fn a_closed_store_leaves_only_its_database() {
    let mut b = Bench::sqlite();
    b.submit("a");
    assert_eq!(b.get("a").id, j("a"));
    let Bench { store, reader: _kept, dir, .. } = b;
    drop(store);
    let mut left: Vec<String> = fs::read_dir(dir.path().join("db"))
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["runyard.db", "store.lock"]);
}

#[test]
fn a_reader_sees_every_finished_batch_from_any_thread() {
    let mut b = Bench::sqlite();
    for n in 0..20 {
        let id = format!("j{n}");
        b.submit(&id);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| assert!(b.reader.job(&j(&id)).unwrap().is_some()));
            }
        });
    }
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path().join("blobs")).unwrap();
    fs::create_dir(dir.path().join("db")).unwrap();
    let path = dir.path().join("db/runyard.db");
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.execute_batch("PRAGMA user_version = 99; CREATE TABLE future (x);").unwrap();
    drop(newer);
    let before = fs::read(&path).unwrap();
    let opened = SqliteStore::open(&dir.path().join("db"), blobs);
    assert!(matches!(opened, Err(StoreError::Newer { found: 99, known: 14 })), "{opened:?}");
    assert_eq!(fs::read(&path).unwrap(), before);
}
