//! Logs that were packed: nothing is missing and nothing is twice, whatever was killed in between.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::{Condition, Sealer};

/// Lines that make several files: 8 MiB of records.
const MANY: u64 = 40_000;

fn line(n: u64) -> String {
    match n % 4 {
        0 => format!("\u{1b}[31mstep {n}\u{1b}[0m of a run, loss {:.4}\n", n as f64 / 7.0),
        1 => format!("{{\"level\": \"warning\", \"message\": \"slow\", \"ms\": {n}}}\n"),
        2 => format!("10%\r50%\rdone {n}\r\n"),
        _ => format!("[error] request {n} failed\n"),
    }
}

/// Writes lines in the pieces that a pipe gives.
fn print(writer: &mut Writer, numbers: std::ops::Range<u64>) {
    for first in numbers.clone().step_by(500) {
        let text: String = (first..(first + 500).min(numbers.end)).map(line).collect();
        let job =
            Running { job: JobId::new(format!("job-{}", first / 10_000)), attempt: Some(3), by_name: false };
        writer.write(Timestamp(first as i64), Source::Stdout, text.as_bytes(), &[job]).unwrap();
    }
}

fn files(dir: &Path, end: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir.join("ep")).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(end));
    files.sort();
    files
}

fn printed(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in all(dir) {
        bytes.extend_from_slice(&record.bytes());
        bytes.push(b'\n');
    }
    bytes
}

fn expected(numbers: std::ops::Range<u64>) -> Vec<u8> {
    numbers.map(line).collect::<String>().into_bytes()
}

#[test]
fn full_files_are_packed_and_every_byte_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), origin("w1")).unwrap();
    print(&mut writer, 0..MANY);
    assert!(writer.path().is_file() && !files(dir.path(), ".seg").is_empty());
    assert_eq!(printed(dir.path()), expected(0..MANY));
    writer.finish().unwrap();
    assert!(!writer.path().exists() && files(dir.path(), ".part").is_empty());
    let size: u64 = files(dir.path(), ".seg").iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(size * 3 < expected(0..MANY).len() as u64, "{size} bytes are not packed");
    assert_eq!(printed(dir.path()), expected(0..MANY));
    let records = all(dir.path());
    assert!(records.iter().map(|record| record.seq).eq(1..=MANY));
    assert!(records.iter().all(|record| record.release == 3 && record.attempt == Some(3) && record.inferred));
    // A writer that goes on after the end goes on with its numbers.
    let mut again = Writer::open(dir.path(), origin("w1")).unwrap();
    print(&mut again, MANY..MANY + 1);
    assert_eq!(all(dir.path()).last().unwrap().seq, MANY + 1);
}

#[test]
fn a_search_finds_the_same_in_packed_and_in_fresh_logs() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), origin("w1")).unwrap();
    print(&mut writer, 0..MANY);
    let with = |change: &dyn Fn(&mut Query)| {
        let mut query = Query { limit: usize::MAX, ..query() };
        change(&mut query);
        let found = Reader::open(dir.path()).query(&query).unwrap();
        found.into_iter().map(|record| record.seq - 1).collect::<Vec<_>>()
    };
    let numbers = |of: &dyn Fn(u64) -> bool| (0..MANY).filter(|n| of(*n)).collect::<Vec<_>>();
    for _ in 0..2 {
        let text = |text: &str| Some(Pattern::text(text).unwrap());
        assert_eq!(with(&|q| q.pattern = text("REQUEST 12343 failed")), [12_343]);
        assert_eq!(with(&|q| q.pattern = text("step 400 of")), [400], "what stood between escapes");
        assert_eq!(with(&|q| q.pattern = text("50%")), [0; 0], "what a progress bar overwrote");
        assert_eq!(with(&|q| q.pattern = text("99999999")), [0; 0]);
        let regex = |text: &str| Some(Pattern::regex(text).unwrap());
        assert_eq!(with(&|q| q.pattern = regex(r"^done \d*98$")), numbers(&|n| n % 4 == 2 && n % 100 == 98));
        assert_eq!(with(&|q| q.level = Some(Level::Error)), numbers(&|n| n % 4 == 3));
        assert_eq!(with(&|q| q.level = Some(Level::Warn)), numbers(&|n| n % 2 == 1));
        assert_eq!(with(&|q| q.conditions = vec![Condition::parse("ms>39990").unwrap()]), [39_993, 39_997]);
        assert_eq!(with(&|q| q.job = Some(JobId::new("job-1"))), numbers(&|n| n / 10_000 == 1));
        assert_eq!(with(&|q| q.job = Some(JobId::new("job-7"))), [0; 0]);
        assert_eq!(with(&|q| q.release = Some(2)), [0; 0]);
        assert_eq!(with(&|q| q.source = Some(Source::Stderr)), [0; 0]);
        assert_eq!(with(&|q| q.numbers = vec![7..=8, 9..=9]), [6, 7, 8]);
        let range = with(&|q| (q.since, q.until) = (Some(Timestamp(500)), Some(Timestamp(1_000))));
        assert_eq!(range, numbers(&|n| (500..1_500).contains(&n)));
        assert_eq!(with(&|q| q.limit = 3), [MANY - 3, MANY - 2, MANY - 1]);
        writer.finish().unwrap();
    }
}

#[test]
fn a_search_goes_on_step_by_step_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    for worker in ["w1", "w2"] {
        print(&mut Writer::open(dir.path(), origin(worker)).unwrap(), 0..MANY);
    }
    let mut search = Reader::open(dir.path()).search(&Query { limit: usize::MAX, ..query() }).unwrap();
    let (mut records, mut done, mut steps) = (Vec::new(), 0, 0);
    loop {
        let step = search.step().unwrap();
        assert!(step.done >= done && step.done <= step.total, "{} of {}", step.done, step.total);
        (done, steps) = (step.done, steps + 1);
        records.extend(step.records);
        if step.is_last {
            assert_eq!(step.done, step.total);
            break;
        }
    }
    assert!(steps > 4, "{steps} steps");
    assert_eq!(records.len() as u64, 2 * MANY);
    assert!(records.is_sorted_by(|a, b| (a.at, &a.worker, a.seq) > (b.at, &b.worker, b.seq)));
}

#[test]
fn lines_around_a_line_are_those_of_its_worker() {
    let dir = tempfile::tempdir().unwrap();
    for worker in ["w1", "w2"] {
        print(&mut Writer::open(dir.path(), origin(worker)).unwrap(), 0..MANY);
    }
    let reader = Reader::open(dir.path());
    let worker = Some(WorkerId::new("w1"));
    let pattern = Some(Pattern::regex(r"request (3|7|20003) failed").unwrap());
    let query = Query { worker: worker.clone(), pattern, ..query() };
    let found = reader.query(&query).unwrap();
    let shown = reader.around(&query, &found, 2).unwrap();
    let told: Vec<_> = shown.iter().map(|shown| (shown.record.seq - 1, shown.is_context)).collect();
    let wanted = [1, 2, 3, 4, 5, 6, 7, 8, 9, 20_001, 20_002, 20_003, 20_004, 20_005];
    assert_eq!(told, wanted.map(|n| (n, ![3, 7, 20_003].contains(&n))));
    assert!(shown.iter().all(|shown| shown.record.worker == worker));
}

#[test]
fn whatever_is_killed_while_it_packs_nothing_is_lost_or_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), origin("w1")).unwrap();
    print(&mut writer, 0..MANY);
    let live = fs::read(writer.path()).unwrap();
    let first: Record = serde_json::from_slice(live.split(|b| *b == b'\n').next().unwrap()).unwrap();
    drop(writer);
    // The file was put aside, and its process killed before it was packed.
    let part = dir.path().join(format!("ep/w1.{:012}.part", first.seq));
    fs::rename(dir.path().join("ep/w1.jsonl"), &part).unwrap();
    assert_eq!(printed(dir.path()), expected(0..MANY));
    // A half of its block was written.
    let segment = files(dir.path(), ".seg").pop().unwrap();
    let whole = fs::read(&segment).unwrap();
    fs::write(&segment, [&whole[..], &whole[..500]].concat()).unwrap();
    assert_eq!(printed(dir.path()), expected(0..MANY));
    // All of it was, and the file was not yet removed.
    let sealer = Sealer::start().unwrap();
    sealer.left_behind(dir.path());
    wait_for(|| !part.exists());
    assert_eq!(fs::read(&segment).unwrap()[..whole.len()], whole, "what was torn is cut off");
    fs::write(&part, &live).unwrap();
    assert_eq!(printed(dir.path()), expected(0..MANY));
    let size = fs::metadata(&segment).unwrap().len();
    sealer.left_behind(dir.path());
    wait_for(|| !part.exists());
    assert_eq!(fs::metadata(&segment).unwrap().len(), size, "nothing is packed twice");
    assert_eq!(printed(dir.path()), expected(0..MANY));
}

/// The thread may come to it only when the first workers print already.
#[test]
fn what_is_left_behind_is_none_of_who_came_since() {
    let dir = tempfile::tempdir().unwrap();
    let mut gone = Writer::open(dir.path(), origin("w1")).unwrap();
    gone.write(Timestamp(1), Source::Stdout, b"of before\n", &[]).unwrap();
    drop(gone);
    let left = crate::seal::left_behind(dir.path()).unwrap();
    let mut writer = Writer::open(dir.path(), origin("w2")).unwrap();
    writer.write(Timestamp(2), Source::Stdout, b"one\n", &[]).unwrap();
    crate::seal::seal_left_behind(&left).unwrap();
    writer.write(Timestamp(3), Source::Stdout, b"two\n", &[]).unwrap();
    writer.finish().unwrap();
    let found = Reader::open(dir.path()).query(&Query::new(EndpointId::new("ep"))).unwrap();
    assert_eq!(
        found.iter().map(|record| record.message.as_str()).collect::<Vec<_>>(),
        ["of before", "one", "two"]
    );
    assert!(files(dir.path(), ".part").is_empty(), "all is packed");
}

fn wait_for(done: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not happen");
}

#[test]
fn a_damaged_block_is_told_and_the_others_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), origin("w1")).unwrap();
    print(&mut writer, 0..MANY);
    writer.finish().unwrap();
    let segment = files(dir.path(), ".seg").pop().unwrap();
    let whole = fs::read(&segment).unwrap();
    let starts: Vec<usize> = (0..whole.len() - 4).filter(|at| &whole[*at..*at + 4] == b"RYL1").collect();
    assert!(starts.len() > 2);
    // In what is packed: the head says how many lines are missing.
    let mut damaged = whole.clone();
    damaged[starts[2] - 9] ^= 1;
    fs::write(&segment, &damaged).unwrap();
    let records = all(dir.path());
    let gaps: Vec<u64> = records.iter().filter_map(|record| record.gap).collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!(records.len() as u64 - 1 + gaps[0], MANY);
    // In a head: the block is passed over, the next ones are found.
    damaged = whole.clone();
    damaged[starts[1] + 30] ^= 1;
    fs::write(&segment, &damaged).unwrap();
    let records = all(dir.path());
    assert!((records.len() as u64) < MANY && records.last().unwrap().seq == MANY && records[0].seq == 1);
}

#[test]
fn a_tail_follows_through_files_that_are_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), origin("w1")).unwrap();
    print(&mut writer, 0..10);
    let mut tail = Reader::open(dir.path()).follow(Query { limit: 2, ..query() });
    assert_eq!(tail.poll().unwrap().records.len(), 2);
    let (mut next, mut from) = (10, 10);
    while files(dir.path(), ".seg").len() + next as usize / 20_000 < 3 {
        print(&mut writer, from..from + 2_500);
        from += 2_500;
        for record in tail.poll().unwrap().records {
            assert_eq!((record.seq, record.gap), (next + 1, None));
            next += 1;
        }
        assert_eq!(next, from);
    }
    // Far more than is followed: what is left out is counted.
    print(&mut writer, from..from + MANY);
    let records = tail.poll().unwrap().records;
    let gap = records[0].gap.expect("a record for what is left out");
    assert_eq!(records[1].seq, from + gap + 1);
    assert_eq!(gap + records.len() as u64 - 1, MANY);
    // Its end, too, and what ended between two looks.
    print(&mut writer, 0..3);
    writer.finish().unwrap();
    let mut brief = Writer::open(dir.path(), origin("w2")).unwrap();
    brief.write(Timestamp(1), Source::Stdout, b"brief\n", &[]).unwrap();
    brief.finish().unwrap();
    let records = tail.poll().unwrap().records;
    assert_eq!(records.iter().filter(|record| record.message == "brief").count(), 1);
    assert_eq!(records.len(), 4);
    assert!(tail.poll().unwrap().records.is_empty());
}

#[test]
fn a_progress_bar_is_one_record_in_two_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), origin("w1")).unwrap();
    for n in 0..30 {
        let state = format!("\r{n}%");
        writer.write(Timestamp(n * 100), Source::Stderr, state.as_bytes(), &[]).unwrap();
        if writer.due().is_some_and(|due| due <= Timestamp(n * 100)) {
            writer.tick(Timestamp(n * 100), &[]).unwrap();
        }
    }
    writer.write(Timestamp(3_100), Source::Stderr, b"\r100%\n", &[]).unwrap();
    let records = all(dir.path());
    let shown: Vec<_> = records.iter().map(|record| (record.shown().into_owned(), record.folded())).collect();
    assert_eq!(shown, [("20%".to_owned(), 20), ("100%".to_owned(), 9)]);
    let exact: String = records.iter().map(|record| record.message.as_str()).collect();
    assert_eq!(exact.matches('\r').count(), 31, "every state is kept");
}
