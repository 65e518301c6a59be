//! Counts over time: every line once, by level, and how far they went where there is too much.

use std::fmt::Write as _;

use runyard_domain::{JobId, Timestamp, WorkerId};

use super::{origin, query};
use crate::{Counts, Level, Pattern, Query, Reader, Running, Source, Writer};

#[test]
fn every_line_of_the_time_is_counted_once_by_its_level() {
    let dir = tempfile::tempdir().unwrap();
    for worker in ["w1", "w2"] {
        let mut writer = Writer::open(dir.path(), origin(worker)).unwrap();
        for (at, text) in
            [(999, "too early\n"), (1_000, "ERROR: a\n"), (1_500, "plain\n"), (2_999, "[warning] b\n")]
        {
            writer.write(Timestamp(at), Source::Stdout, text.as_bytes(), &[]).unwrap();
        }
        writer.write(Timestamp(3_000), Source::Stdout, b"too late\n", &[]).unwrap();
        writer.close(Timestamp(3_000), &[]).unwrap();
    }
    let mut counts = Counts::new(Timestamp(1_000), 1_000, 2);
    Reader::open(dir.path()).count(&query(), &mut counts, 1 << 20).unwrap();
    assert_eq!(counts.steps, [[0, 2, 0, 2], [0, 0, 2, 0]]);
    assert_eq!((counts.lines(), counts.counted_since), (6, None));
    let mut grave = Counts::new(Timestamp(1_000), 1_000, 2);
    let errors = Query { level: Some(Level::Error), limit: 1, ..query() };
    Reader::open(dir.path()).count(&errors, &mut grave, 1 << 20).unwrap();
    assert_eq!(grave.lines(), 2, "the limit of lines is none of counts");
}

#[test]
fn what_is_too_much_is_told_and_the_newest_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), origin("w1")).unwrap();
    let mut text = String::new();
    for at in 0..8_000 {
        text.clear();
        writeln!(text, "{at} {}", "x".repeat(400)).unwrap();
        writer.write(Timestamp(at), Source::Stdout, text.as_bytes(), &[]).unwrap();
    }
    writer.close(Timestamp(8_000), &[]).unwrap();
    let mut counts = Counts::new(Timestamp(0), 1_000, 8);
    let left = Reader::open(dir.path()).count(&query(), &mut counts, 1 << 20).unwrap();
    let since = counts.counted_since.unwrap();
    assert!(left == 0 && since > Timestamp(0) && since < Timestamp(8_000), "{since:?}");
    assert_eq!(counts.lines() as i64, 8_000 - since.0 + 1, "one of the millisecond before is counted, too");
    assert_eq!(counts.steps[7], [0, 1_000, 0, 0]);
}

#[test]
fn packed_lines_are_counted_as_a_search_finds_them() {
    let dir = tempfile::tempdir().unwrap();
    for worker in ["w1", "w2"] {
        let mut writer = Writer::open(dir.path(), origin(worker)).unwrap();
        for first in (0..24_000).step_by(100) {
            let level = ["DEBUG: ", "", "WARNING: ", "ERROR: "];
            let line = |n: usize| format!("{}step {n} of a run that prints much\n", level[n % 7 % 4]);
            let text: String = (first..first + 100).map(line).collect();
            let source = if first % 600 == 0 { Source::Stderr } else { Source::Stdout };
            let job =
                Running { job: JobId::new(format!("job-{}", first / 8_000)), attempt: None, by_name: false };
            writer.write(Timestamp(first as i64), source, text.as_bytes(), &[job]).unwrap();
        }
        writer.finish().unwrap();
    }
    let reader = Reader::open(dir.path());
    let text = |text: &str| Some(Pattern::text(text).unwrap());
    let asked = [
        query(),
        Query { level: Some(Level::Warn), ..query() },
        Query { source: Some(Source::Stderr), ..query() },
        Query { job: Some(JobId::new("job-1")), ..query() },
        Query { worker: Some(WorkerId::new("w2")), level: Some(Level::Error), ..query() },
        Query { release: Some(4), ..query() },
        Query { pattern: text("step 12345 "), ..query() },
        Query { numbers: vec![500..=600], ..query() },
    ];
    // Steps that hold many blocks, and steps of which a block fills many.
    for (since, step_ms, steps) in [(0, 100_000, 3), (-5, 40_000, 2), (0, 500, 100), (7_777, 11, 60)] {
        for query in &asked {
            let mut counts = Counts::new(Timestamp(since), step_ms, steps);
            reader.count(query, &mut counts, u64::MAX).unwrap();
            let mut expected = Counts::new(Timestamp(since), step_ms, steps);
            let until = Some(expected.until().plus(-1));
            let all = Query { since: Some(Timestamp(since)), until, limit: usize::MAX, ..query.clone() };
            for record in reader.query(&all).unwrap() {
                let place = (record.at.0 - since) / step_ms;
                expected.steps[place as usize][record.gravity() as usize] += 1;
            }
            assert_eq!(counts, expected, "{query:?}");
        }
    }
    let mut whole = Counts::new(Timestamp(0), 100_000, 1);
    assert_eq!(reader.count(&query(), &mut whole, 1).unwrap(), 1, "nothing is read of what the heads say");
    assert_eq!((whole.lines(), whole.counted_since), (48_000, None));
}
