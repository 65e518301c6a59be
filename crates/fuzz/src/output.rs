//! What workers print: lines, records, and what people see of them.

use std::fs;

use runyard_domain::{EndpointId, JobId, Timestamp, WorkerId};
use runyard_logs::{Condition, MAX_LINE, Origin, Pattern, Query, Reader, Source, Writer, plain};

use crate::text;

// The command line is a program and no library: its two rules are taken as they stand.
#[path = "../../cli/src/client/path.rs"]
#[allow(dead_code)]
mod cli_path;
#[path = "../../cli/src/output/text.rs"]
#[allow(dead_code)]
mod cli_text;

/// A line names at most a job of its worker.
pub fn log_line(data: &[u8]) {
    let line = text(data);
    let running = [JobId::new("a-u1"), JobId::new("b-u1")];
    let (_, job) = runyard_logs::probe::line(&line, &running);
    if let Some(job) = job {
        assert!(line.contains(job.as_str()), "{job} does not stand in the line");
        assert!(running.contains(&job), "{job} is none of the worker's");
    }
    let (_, only) = runyard_logs::probe::line(&line, &running[..1]);
    assert!(only.is_none_or(|job| job == running[0]));
}

/// Every byte that was printed is kept, however it was cut into pieces, and is found again.
pub fn log_output(data: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder");
    let origin = Origin { endpoint: EndpointId::new("ep"), worker: Some(WorkerId::new("w")), release: 1 };
    let mut writer = Writer::open(dir.path(), origin).expect("a log opens");
    for piece in data.chunks(1 + usize::from(*data.first().unwrap_or(&0))) {
        writer.write(Timestamp(1), Source::Stdout, piece, &[]).expect("written");
    }
    writer.close(Timestamp(2), &[]).expect("written");
    let query = Query { limit: usize::MAX, ..Query::new(EndpointId::new("ep")) };
    let records = Reader::open(dir.path()).query(&query).expect("readable");
    let mut printed = Vec::new();
    for record in &records {
        assert!(record.message.len() <= 3 * MAX_LINE);
        printed.extend_from_slice(&record.bytes());
        if !record.partial {
            printed.push(b'\n');
        }
    }
    assert_eq!(printed, data);
}

/// A segment is read whatever is in it, and what can be read of a block is the same after it was packed again.
pub fn log_segment(data: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("ep")).expect("made");
    fs::write(dir.path().join("ep/w.000000000001.seg"), data).expect("written");
    let query = Query { limit: 10_000, ..Query::new(EndpointId::new("ep")) };
    let records = Reader::open(dir.path()).query(&query).expect("readable");
    assert!(records.is_sorted_by_key(|record| record.at));
    let Some((lengths, body)) = data.split_first_chunk::<4>() else { return };
    let length = |at: usize| u32::from(u16::from_le_bytes([lengths[at], lengths[at + 1]]));
    let Some(records) = runyard_logs::probe::body(body, length(0), length(2)) else { return };
    let shown: usize = records.iter().map(|record| record.shown().len()).sum();
    assert!(shown <= 3 * data.len());
    if !records.is_empty() {
        assert_eq!(runyard_logs::probe::repacked(&records), Some(records));
    }
}

/// Parameters of a search are taken or refused in one line of words; what is taken finds itself.
pub fn log_query(data: &[u8]) {
    let text = text(data);
    let pairs: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect();
    if let Some(why) = runyard_manage::probe::log_refusal(&pairs) {
        assert!(!why.is_empty() && !why.contains(['\n', '\0']) && why.len() < 8_000, "{why:?}");
    }
    for (name, value) in &pairs {
        if let ("q", Ok(pattern)) = (name.as_str(), Pattern::text(value)) {
            assert!(pattern.is_in(&format!("<{value}>")), "{value:?} is not found");
        }
        if let ("where", Ok(condition)) = (name.as_str(), Condition::parse(value)) {
            assert!(!condition.is_met_by("no JSON"));
            condition.is_met_by(&text);
        }
    }
}

/// What people see moves no cursor, and what is plain stays as it is.
pub fn plain_text(data: &[u8]) {
    let shown = plain(&text(data));
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{shown:?}");
    assert_eq!(plain(&shown), shown);
}

/// The same on the command line's side, where a line is also one line and bounded; and what users type is one step
/// of a path.
pub fn cli_text(data: &[u8]) {
    let text = text(data);
    let clean = cli_text::clean(&text);
    assert!(!clean.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{clean:?}");
    assert_eq!(cli_text::clean(&clean), clean);
    let line = cli_text::line(&text, 20);
    assert!(line.chars().count() <= 20 && !line.contains(['\n', '\t']), "{line:?}");
    let path = cli_path::api(&[&text, "x"]);
    assert_eq!(path.split('/').count(), 5, "{path}");
    let uri: http::Uri = path.parse().expect("an escaped path is one");
    assert_eq!((uri.path(), uri.query()), (path.as_str(), None));
    assert!(!path.contains("/../") && !path.contains("/./"), "{path}");
}
