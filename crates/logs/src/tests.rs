//! Writing, searching and following, with crashes in between.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::io::Write;

use runyard_domain::{EndpointId, JobId, Timestamp, WorkerId};

use crate::{
    Level, MAX_LINE, Origin, Pattern, Query, Reader, Record, Running, Source, Writer, remove_endpoint,
};

mod counts;
mod packed;

fn origin(worker: &str) -> Origin {
    Origin { endpoint: EndpointId::new("ep"), worker: Some(WorkerId::new(worker)), release: 3 }
}

fn query() -> Query {
    Query::new(EndpointId::new("ep"))
}

fn all(dir: &std::path::Path) -> Vec<Record> {
    Reader::open(dir).query(&Query { limit: usize::MAX, ..query() }).unwrap()
}

fn messages(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.message.as_str()).collect()
}

#[test]
fn chunks_become_lines_and_partial_lines_wait() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), origin("w1")).unwrap();
    assert_eq!(writer.write(Timestamp(1000), Source::Stdout, b"one\ntw", &[]).unwrap(), 1);
    assert_eq!(writer.write(Timestamp(1010), Source::Stderr, b"error: x\n\n", &[]).unwrap(), 2);
    assert_eq!(writer.write(Timestamp(1050), Source::Stdout, b"o\nthree", &[]).unwrap(), 1);
    assert_eq!(writer.due(), Some(Timestamp(1250)));
    assert!(!writer.tick(Timestamp(1249), &[]).unwrap());
    assert!(writer.tick(Timestamp(1250), &[]).unwrap());
    assert_eq!(writer.due(), None);
    writer.write(Timestamp(1300), Source::Stdout, b" and more\n", &[]).unwrap();
    let records = all(dir.path());
    assert_eq!(messages(&records), ["one", "error: x", "", "two", "three", " and more"]);
    assert_eq!(records.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(
        records.iter().map(|r| r.partial).collect::<Vec<_>>(),
        [false, false, false, false, true, false]
    );
    assert_eq!(records[1].level, Some(Level::Error));
    assert_eq!(writer.last_lines().len(), 6);
}

#[test]
fn every_byte_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), origin("w1")).unwrap();
    let mut bytes: Vec<u8> = (0..=255).collect();
    bytes.extend("é".repeat(MAX_LINE).as_bytes());
    bytes.push(b'\n');
    bytes.extend(b"end without line feed");
    for chunk in bytes.chunks(1013) {
        writer.write(Timestamp(1), Source::Stdout, chunk, &[]).unwrap();
    }
    writer.close(Timestamp(1), &[]).unwrap();
    let mut back = Vec::new();
    for record in all(dir.path()) {
        assert!(record.bytes().len() <= MAX_LINE);
        back.extend_from_slice(&record.bytes());
        if !record.partial {
            back.push(b'\n');
        }
    }
    assert_eq!(back, bytes);
}

#[test]
fn only_the_last_lines_are_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), origin("w1")).unwrap();
    for n in 0..30 {
        writer.write(Timestamp(1), Source::Stdout, format!("{n}\n").as_bytes(), &[]).unwrap();
    }
    writer.note(Timestamp(2), Source::System, Level::Info, None, "exited with code 0").unwrap();
    let last = writer.last_lines();
    assert_eq!((last.len(), last[0].as_str(), last[19].as_str()), (20, "10", "29"));
}

#[test]
fn a_torn_line_is_skipped_and_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), origin("w1")).unwrap();
    writer.write(Timestamp(1), Source::Stdout, b"one\n", &[]).unwrap();
    let path = writer.path();
    drop(writer);
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"at\":1,\"se").unwrap();
    assert_eq!(messages(&all(dir.path())), ["one"]);
    let mut writer = Writer::open(dir.path(), origin("w1")).unwrap();
    writer.write(Timestamp(2), Source::Stdout, b"two\n", &[]).unwrap();
    let records = all(dir.path());
    assert_eq!(messages(&records), ["one", "two"]);
    assert_eq!(records[1].seq, 2);
}

#[test]
fn a_line_is_of_the_job_in_which_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), origin("w1")).unwrap();
    let (one, two): (Running, Running) = (JobId::new("one-u1").into(), JobId::new("two-u1").into());
    let ended = Running { by_name: true, ..one.clone() };
    let mut write = |at, bytes: &[u8], running: &[Running]| {
        writer.write(Timestamp(at), Source::Stdout, bytes, running).unwrap();
        writer.tick(Timestamp(at + 1), running).unwrap();
    };
    write(1, b"begun", std::slice::from_ref(&one));
    write(2, b" and ended, begun", std::slice::from_ref(&ended));
    write(3, b" still\nwhole\nidle", &[ended.clone(), two.clone()]);
    write(4, b" line\nbefore", &[]);
    write(5, b" the job\nleft", std::slice::from_ref(&two));
    writer.tick(Timestamp(1_000), &[Running { by_name: true, ..two.clone() }]).unwrap();
    let found = all(dir.path());
    let of = |message: &str| found.iter().find(|record| record.message == message).unwrap().job.clone();
    assert_eq!(of("begun and ended, begun still"), Some(one.job));
    assert_eq!(of("whole"), Some(two.job.clone()));
    assert_eq!(of("idle line"), Some(two.job.clone()), "it began while that ran");
    assert_eq!(of("before the job"), Some(two.job.clone()), "nobody ran when it began");
    assert_eq!(of("left"), Some(two.job), "it waited for an end that did not come");
}

#[test]
fn queries_filter_and_merge() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = Writer::open(dir.path(), origin("w1")).unwrap();
    let mut two = Writer::open(dir.path(), origin("w2")).unwrap();
    let build = Origin { worker: None, ..origin("") };
    let mut build = Writer::open(dir.path(), build).unwrap();
    let job = JobId::new("j-u1");
    for n in 0..100i64 {
        let runs = Running { attempt: Some(2), ..job.clone().into() };
        let running = if n == 7 { vec![runs] } else { Vec::new() };
        one.write(Timestamp(2 * n), Source::Stdout, format!("A{n}\n").as_bytes(), &running).unwrap();
        two.write(Timestamp(2 * n + 1), Source::Stdout, format!("[error] b{n}\n").as_bytes(), &[]).unwrap();
    }
    build.write(Timestamp(5), Source::Build, b"Installing\n", &[]).unwrap();
    let reader = Reader::open(dir.path());
    let found =
        |query: &Query| reader.query(query).unwrap().into_iter().map(|r| r.message).collect::<Vec<_>>();
    assert_eq!(found(&Query { limit: 3, ..query() }), ["[error] b98", "A99", "[error] b99"]);
    assert_eq!(found(&Query { worker: Some(WorkerId::new("w1")), limit: 2, ..query() }), ["A98", "A99"]);
    assert_eq!(found(&Query { job: Some(job), ..query() }), ["A7"]);
    assert_eq!(found(&Query { pattern: Some(Pattern::text("a42").unwrap()), ..query() }), ["A42"]);
    assert_eq!(found(&Query { level: Some(Level::Warn), limit: 1, ..query() }), ["[error] b99"]);
    assert_eq!(found(&Query { since: Some(Timestamp(198)), ..query() }), ["A99", "[error] b99"]);
    assert_eq!(found(&Query { build: Some(3), ..query() }), ["Installing"]);
    assert_eq!(all(dir.path()).len(), 200);
    remove_endpoint(dir.path(), &EndpointId::new("ep")).unwrap();
    remove_endpoint(dir.path(), &EndpointId::new("ep")).unwrap();
    assert!(all(dir.path()).is_empty());
}

#[test]
fn a_tail_sees_the_backlog_then_each_record_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = Writer::open(dir.path(), origin("w1")).unwrap();
    one.write(Timestamp(1), Source::Stdout, b"1\n2\n3\n", &[]).unwrap();
    let mut tail = Reader::open(dir.path()).follow(Query { limit: 2, ..query() });
    assert_eq!(messages(&tail.poll().unwrap().records), ["2", "3"]);
    assert!(tail.poll().unwrap().records.is_empty());
    let mut two = Writer::open(dir.path(), origin("w2")).unwrap();
    two.write(Timestamp(3), Source::Stdout, b"5\n", &[]).unwrap();
    one.write(Timestamp(2), Source::Stdout, b"4\n", &[]).unwrap();
    fs::OpenOptions::new().append(true).open(one.path()).unwrap().write_all(b"{\"at\"").unwrap();
    assert_eq!(messages(&tail.poll().unwrap().records), ["4", "5"]);
    assert!(tail.poll().unwrap().records.is_empty());
}

#[test]
fn secret_values_reach_no_file_however_they_come() {
    let dir = tempfile::tempdir().unwrap();
    let secret = "tr0ub4dor&3".to_owned();
    let writer = Writer::open(dir.path(), origin("w1")).unwrap();
    let mut writer = writer.masking(std::slice::from_ref(&secret));
    // Across reads, in a line that is cut, at every place around the cut, and without an end.
    let mut printed = format!("token {secret}\n");
    for gap in 0..40 {
        let _ = writeln!(printed, "{}{secret}", "x".repeat(MAX_LINE - 20 + gap));
    }
    let _ = write!(printed, "{}{secret}", "y".repeat(2 * MAX_LINE - 5));
    for chunk in printed.as_bytes().chunks(1013) {
        writer.write(Timestamp(1), Source::Stdout, chunk, &[]).unwrap();
    }
    writer.close(Timestamp(1), &[]).unwrap();
    let mut back = String::new();
    for record in all(dir.path()) {
        assert!(record.message.len() <= MAX_LINE);
        back.push_str(&record.message);
    }
    assert_eq!(back.matches("••••").count(), 42);
    assert!(!back.contains("tr0ub") && !back.contains("dor&3"), "a piece of it was written");
    assert!(writer.last_lines().iter().all(|line| !line.contains("tr0ub")));
}

fn sdk(job: Option<&str>, message: &str) -> String {
    format!(
        "{{\"requestId\": {}, \"message\": {}, \"level\": \"ERROR\"}}\n",
        serde_json::json!(job),
        serde_json::json!(message)
    )
}

#[test]
fn the_report_of_an_exception_is_of_the_job_that_was_named_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), origin("w1")).unwrap();
    let both: Vec<Running> = ["a-u1", "b-u1"].map(|job| JobId::new(job).into()).to_vec();
    let report = sdk(None, "{\n    \"error_type\": \"ValueError\"\n...TRUNCATED 99 CHARACTERS...\n}");
    let other = sdk(None, "Jobs in progress: 2");
    let text =
        [sdk(Some("b-u1"), "Captured Handler Exception"), report.clone(), other, report.clone()].concat();
    writer.write(Timestamp(1), Source::Stdout, text.as_bytes(), &both).unwrap();
    writer.write(Timestamp(2), Source::Stdout, report.as_bytes(), &both[..1]).unwrap();
    let whose = |record: &Record| (record.job.as_ref().map(ToString::to_string), record.inferred);
    let (a, b) = (Some("a-u1".to_owned()), Some("b-u1".to_owned()));
    let found: Vec<_> = all(dir.path()).iter().map(whose).collect();
    assert_eq!(found, [(b.clone(), false), (b, true), (None, false), (None, false), (a, true)]);
}

#[test]
fn a_result_that_was_never_sent_is_told_once_the_sdk_is_through_with_its_job() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), origin("w1")).unwrap();
    let held: Vec<Running> = ["a-u1", "b-u1"].map(|job| JobId::new(job).into()).to_vec();
    let mut print = |line: String| {
        writer.write(Timestamp(1), Source::Stdout, line.as_bytes(), &held).unwrap();
        writer.unsent()
    };
    let unsent = "Error while returning job result. | Object of type set is not JSON serializable";
    assert_eq!(print(sdk(Some("a-u1"), "Finished.")), []);
    assert_eq!(print(sdk(Some("a-u1"), unsent)), []);
    assert_eq!(print(sdk(Some("other"), unsent)), [], "of a job that is not its own");
    assert_eq!(print(format!("a-u1 {unsent}\n")), [], "a handler may print what it likes");
    assert_eq!(print(sdk(Some("b-u1"), "Finished.")), []);
    let why = "Object of type set is not JSON serializable".to_owned();
    assert_eq!(print(sdk(Some("a-u1"), "Finished.")), [(JobId::new("a-u1"), why)]);
    assert_eq!(print(sdk(Some("a-u1"), "Finished.")), []);
}
