//! Acknowledged means synced: the child runs under strace, and in the order of its system calls every
//! acknowledgement must come after a sync of everything that was written to the WAL and to payload files.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command as Process;

use crate::child::{ACK, arguments, prepare};

/// Why this cannot run here, where it cannot.
fn obstacle() -> Option<&'static str> {
    match Process::new("strace").args(["-f", "-o", "/dev/null", "true"]).output() {
        Err(_) => Some("strace is not installed (Debian: apt-get install strace)"),
        Ok(output) if !output.status.success() => Some("strace may not trace processes here"),
        Ok(_) => None,
    }
}

/// Whether a test that needs strace cannot run here, and may be left out.
pub fn is_skipped() -> bool {
    let Some(why) = obstacle() else { return false };
    assert!(std::env::var_os("RUNYARD_REQUIRE_ALL").is_none_or(|v| v != "1"), "cannot be skipped: {why}");
    println!("SKIPPED: {why}");
    true
}

#[test]
fn an_acknowledgement_comes_after_the_sync() {
    if is_skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let (exe, args) = arguments();
    let mut strace = Process::new("strace");
    // -y names the file behind each descriptor; one thread writes, so the order in the trace is its order.
    strace.args(["-f", "-y", "-s", "64", "-e", "trace=write,pwrite64,pwritev,fsync,fdatasync,rename"]);
    strace.arg("-o").arg(&trace).arg(exe).args(args);
    prepare(&mut strace, dir.path(), "x", 5);
    let output = strace.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    check(&trace);
}

/// Follows the calls: per file, whether something was written and not synced since.
fn check(trace: &Path) {
    let text = std::fs::read_to_string(trace).unwrap();
    let mut dirty: BTreeMap<String, bool> = BTreeMap::new();
    let (mut acknowledged, mut commits, mut wal_writes_since) = (0, 0, 0);
    for line in text.lines() {
        if line.contains(ACK) && line.contains(" write(1") {
            let unsynced: Vec<&String> = dirty.iter().filter(|(_, dirty)| **dirty).map(|(f, _)| f).collect();
            assert_eq!(unsynced, [""; 0], "written and not synced before: {line}");
            acknowledged += 1;
            commits += i32::from(wal_writes_since > 0);
            wal_writes_since = 0;
            continue;
        }
        if line.contains(" rename(") && line.contains("/blobs/") {
            // The new name is in the folder, so the folder must be synced too.
            dirty.insert("blobs".to_owned(), true);
            continue;
        }
        let Some((call, file)) = call(line) else { continue };
        let file = if file.ends_with("/blobs") { "blobs" } else { file };
        let durable = file.ends_with("/runyard.db-wal") || file.contains("/blobs/") || file == "blobs";
        match call {
            "write" | "pwrite64" | "pwritev" if durable => {
                wal_writes_since += i32::from(file.ends_with("-wal"));
                dirty.insert(file.to_owned(), true);
            }
            "fsync" | "fdatasync" if durable => {
                assert!(line.ends_with("= 0"), "a sync that did not succeed at once: {line}");
                dirty.insert(file.to_owned(), false);
            }
            _ => {}
        }
    }
    // Five steps of four commits, and the lines at the start and the end.
    assert_eq!((acknowledged, commits), (22, 21), "the trace does not show what the child did");
    assert!(dirty.len() > 10, "payload files were seen: {dirty:?}");
}

/// The name of the call in `1234 pwrite64(5</path/file>, …) = 4096` and the file behind its descriptor.
fn call(line: &str) -> Option<(&str, &str)> {
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    let (name, arguments) = rest.split_once('(')?;
    let file = arguments.split_once('<')?.1.split_once('>')?.0;
    Some((name, file))
}
