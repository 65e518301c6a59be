//! Search in logs: a worker's text is written and packed as the agent does it, then searched with nothing of it in
//! memory. Beside it `zgrep` over the same text compressed by gzip, and `grep` over the text as it is.

use std::cell::Cell;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use runyard_domain::{EndpointId, Timestamp, WorkerId};
use runyard_logs::{Counts, Level, Origin, Pattern, Query, Reader, Source, Writer};
use rustix::fs::{Advice, fadvise};
use serde_json::{Value, json};

use crate::Plan;
use crate::process::Usage;

/// Bytes that a pipe gives at once.
const CHUNK: usize = 64 * 1024;
/// Workers of the log of many, and the lines of each.
const WORKERS: usize = 500;
const LINES: usize = 40;
/// Steps of a histogram.
const STEPS: usize = 60;
/// What is looked for: a name, a pattern of `grep -E`, and whether it is a plain text.
const SEARCHES: [(&str, &str, bool); 5] = [
    ("a text that stands in one line", "request 7654321 of tenant", true),
    ("a text that is not there", "segmentation fault", true),
    ("three bytes, in one line of 500", "zqx", true),
    ("a text in one line of six", "connection reset by peer", true),
    ("a regular expression", "took [0-9]+\\.99[0-9]s$", false),
];

/// The row.
pub fn run(plan: &Plan) -> anyhow::Result<Value> {
    plan.say(&format!("logs: a search in {} MiB", plan.log_mib));
    let dir = tempfile::tempdir()?;
    let (plain, zipped) = (dir.path().join("plain.log"), dir.path().join("plain.log.gz"));
    let (took, lines) = write(dir.path(), &plain, plan.log_mib << 20)?;
    let status = Command::new("gzip").arg("--keep").arg(&plain).status().context("gzip cannot be run")?;
    ensure!(status.success(), "gzip failed");
    let folder = dir.path().join("ep");
    let mut searches = Vec::new();
    for (name, pattern, is_text) in SEARCHES {
        let wanted = if is_text { Pattern::text(pattern)? } else { Pattern::regex(pattern)? };
        let query = Query { pattern: Some(wanted), limit: usize::MAX, ..Query::new(EndpointId::new("ep")) };
        let kind = if is_text { "-iF" } else { "-E" };
        let files = files(&folder)?;
        let first = Cell::new(0.0);
        let mut ours = median(plan.rounds, &files, || {
            let (found, began) = ours(dir.path(), &query)?;
            first.set(began);
            Ok(found)
        })?;
        ours["firstS"] = json!(first.get());
        searches.push(json!({
            "name": name,
            "ours": ours,
            "zgrep": median(plan.rounds, std::slice::from_ref(&zipped), || peer("zgrep", kind, pattern, &zipped))?,
            "grep": median(plan.rounds, std::slice::from_ref(&plain), || peer("grep", kind, pattern, &plain))?,
        }));
    }
    let packed_files = files(&folder)?;
    let all = Query { limit: 300, ..Query::new(EndpointId::new("ep")) };
    let one = json!({
        "newest": median(plan.rounds, &packed_files, || newest(dir.path(), &all))?,
        "counts": median(plan.rounds, &packed_files, || counts(dir.path(), &all, lines))?,
    });
    let many = many(plan)?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let packed =
        files(&folder)?.iter().map(|path| Ok(fs::metadata(path)?.len())).sum::<anyhow::Result<u64>>()?;
    Ok(json!({
        "row": "logs", "mib": plan.log_mib, "searches": searches,
        "one": one, "many": many,
        "writtenMibPerSecond": plan.log_mib as f64 / took.as_secs_f64(),
        "writtenLinesPerSecond": lines as f64 / took.as_secs_f64(),
        "onDiskMib": {"ours": mib(packed), "filters": mib(Reader::open(dir.path()).overhead(&EndpointId::new("ep"))?),
            "gzip": mib(fs::metadata(&zipped)?.len())},
    }))
}

/// Writes about so many bytes of log lines as a worker's log and as a plain file; answers how long the log took, and how
/// many lines there are, each a millisecond after the one before.
fn write(dir: &Path, plain: &Path, bytes: usize) -> anyhow::Result<(Duration, u64)> {
    let origin = Origin { endpoint: EndpointId::new("ep"), worker: Some(WorkerId::new("w")), release: 1 };
    let mut log = Writer::open(dir, origin)?;
    let mut file = BufWriter::new(File::create(plain)?);
    let (mut text, mut dice, mut written, mut number, mut took) =
        (String::new(), 0x9e37_79b9_7f4a_7c15_u64, 0, 0_u64, Duration::ZERO);
    while written < bytes {
        text.clear();
        while text.len() < CHUNK {
            line(&mut text, &mut dice, number)?;
            number += 1;
        }
        if written == 0 {
            text.push_str("request 7654321 of tenant acme was refused\n");
        }
        file.write_all(text.as_bytes())?;
        let began = Instant::now();
        log.write(Timestamp(number as i64), Source::Stdout, text.as_bytes(), &[])?;
        took += began.elapsed();
        written += text.len();
    }
    let began = Instant::now();
    log.finish()?;
    file.into_inner()?.sync_all()?;
    Ok((took + began.elapsed(), number))
}

/// A line as workers print them: ids, numbers, words.
fn line(text: &mut String, dice: &mut u64, number: u64) -> anyhow::Result<()> {
    let mut roll = || {
        *dice ^= *dice << 13;
        *dice ^= *dice >> 7;
        *dice ^= *dice << 17;
        *dice
    };
    let (a, b) = (roll(), roll());
    match a % 6 {
        _ if number.is_multiple_of(500) => {
            writeln!(text, "cache zqx-{:04x} was evicted after {} hits", a as u16, b % 500)?;
        }
        0 => writeln!(
            text,
            r#"{{"requestId": "{:08x}-{:04x}-4{:03x}-{b:016x}-u1", "message": "Started.", "level": "INFO"}}"#,
            a as u32,
            b as u16,
            a >> 20 & 0xfff
        )?,
        1 => writeln!(
            text,
            "2026-11-21 10:{:02}:{:02},{:03} - handler - INFO - step {} of 50, loss {:.5}",
            a >> 8 & 31,
            b & 31,
            b >> 7 & 511,
            b % 50,
            (b % 100_000) as f64 / 1e5
        )?,
        2 => writeln!(
            text,
            "[error] upload {} failed after {} ms: connection reset by peer",
            b % 1_000_000,
            a >> 9 & 0xfff
        )?,
        3 => writeln!(
            text,
            "INFO:     10.0.{}.{}:{} - \"POST /generate HTTP/1.1\" 200 OK",
            a >> 8 & 255,
            b & 255,
            b >> 8 & 0xffff
        )?,
        4 => writeln!(
            text,
            "prompt_len={} new_tokens={} seed={} cache_hit={} took {:.3}s",
            b & 0xfff,
            a >> 8 & 0x3ff,
            b >> 13,
            a & 64 == 0,
            (b % 9_999) as f64 / 1e3
        )?,
        _ => writeln!(text, "  File \"/app/handler.py\", line {}, in generate", b % 400)?,
    }
    Ok(())
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

/// The median of some cold searches, and the processor time of this program for one.
fn median(
    rounds: usize,
    files: &[PathBuf],
    search: impl Fn() -> anyhow::Result<usize>,
) -> anyhow::Result<Value> {
    let (mut times, mut found, cpu) = (Vec::new(), 0, Usage::own().cpu_s);
    for _ in 0..rounds {
        for path in files {
            let file = File::open(path)?;
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
        let began = Instant::now();
        found = search()?;
        times.push(began.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let cpu = (Usage::own().cpu_s - cpu) / rounds as f64;
    Ok(json!({"s": times[times.len() / 2], "cpuS": cpu, "found": found}))
}

/// All that a search finds, and after how many seconds it had something.
fn ours(dir: &Path, query: &Query) -> anyhow::Result<(usize, f64)> {
    let began = Instant::now();
    let mut search = Reader::open(dir).search(query)?;
    let (mut found, mut first) = (0, None);
    loop {
        let step = search.step()?;
        found += step.records.len();
        if found > 0 {
            first.get_or_insert_with(|| began.elapsed().as_secs_f64());
        }
        if step.is_last {
            return Ok((found, first.unwrap_or_default()));
        }
    }
}

fn newest(dir: &Path, query: &Query) -> anyhow::Result<usize> {
    Ok(Reader::open(dir).query(query)?.len())
}

/// All lines over time, in steps of one length.
fn counts(dir: &Path, query: &Query, lines: u64) -> anyhow::Result<usize> {
    let mut counts = Counts::new(Timestamp(0), lines as i64 / STEPS as i64 + 1, STEPS);
    Reader::open(dir).count(query, &mut counts, u64::MAX)?;
    Ok(counts.lines() as usize)
}

/// Many workers that printed little, nothing of it packed: what a page of logs asks of them.
fn many(plan: &Plan) -> anyhow::Result<Value> {
    let dir = tempfile::tempdir()?;
    let (mut dice, mut text) = (0x9e37_79b9_7f4a_7c15_u64, String::new());
    for worker in 0..WORKERS {
        let id = Some(WorkerId::new(format!("w{worker}")));
        let origin = Origin { endpoint: EndpointId::new("ep"), worker: id, release: 1 };
        let mut log = Writer::open(dir.path(), origin)?;
        for number in 0..LINES {
            text.clear();
            line(&mut text, &mut dice, number as u64 + 1)?;
            log.write(Timestamp((number * WORKERS + worker) as i64), Source::Stdout, text.as_bytes(), &[])?;
        }
    }
    let files = files(&dir.path().join("ep"))?;
    let all = Query { limit: 300, ..Query::new(EndpointId::new("ep")) };
    let errors = Query { level: Some(Level::Error), ..all.clone() };
    let lines = (WORKERS * LINES) as u64;
    Ok(json!({
        "workers": WORKERS, "lines": lines,
        "newest": median(plan.rounds, &files, || newest(dir.path(), &all))?,
        "errors": median(plan.rounds, &files, || newest(dir.path(), &errors))?,
        "counts": median(plan.rounds, &files, || counts(dir.path(), &all, lines))?,
    }))
}

fn peer(program: &str, kind: &str, pattern: &str, file: &Path) -> anyhow::Result<usize> {
    let mut command = Command::new(program);
    command.arg("-c").arg(kind).arg("--").arg(pattern).arg(file).stderr(Stdio::null());
    let out = command.output().with_context(|| format!("{program} cannot be run"))?;
    let count = String::from_utf8_lossy(&out.stdout);
    count.trim().parse().with_context(|| format!("{program} said {count:?}"))
}
