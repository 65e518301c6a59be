//! Counts over time: every line once, by level, and how far they went where there is too much.

use std::fmt::Write as _;

use runyard_domain::Timestamp;

use super::{origin, query};
use crate::{Counts, Level, Query, Reader, Source, Writer};

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
