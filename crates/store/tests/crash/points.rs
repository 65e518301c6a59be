//! Death at each named point of a commit. Each test proves that the window was hit (the child aborted, and said
//! nothing after it), and that the store it left is whole.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use runyard_domain::Job;
use runyard_store::Standing;

use crate::audit::audit;
use crate::child::start;

/// Lets a child die at `point`, in a store of its own. Returns what it had acknowledged.
fn die_at(point: &str, dir: &Path) -> Vec<String> {
    let (mut child, lines) = start(dir, "x", 3, Some(point));
    let acknowledged: Vec<String> = lines.collect();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(6), "the child was to abort at {point}: {status:?}");
    acknowledged
}

fn files(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir.join("blobs")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn ids(jobs: &[Job]) -> BTreeSet<&str> {
    jobs.iter().map(|job| job.id.as_str()).collect()
}

#[test]
fn a_child_without_a_point_reaches_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, lines) = start(dir.path(), "x", 3, Some("no-such-point"));
    let acknowledged: Vec<String> = lines.collect();
    assert!(child.wait().unwrap().success());
    assert_eq!(acknowledged.last().map(String::as_str), Some("end"));
    assert_eq!(ids(&audit(dir.path(), &acknowledged)), BTreeSet::from(["x-a0", "x-a1", "x-a2"]));
}

#[test]
fn a_file_without_a_commit_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let acknowledged = die_at("blob-written", dir.path());
    assert_eq!(acknowledged, ["open"]);
    assert_eq!(files(dir.path()), BTreeSet::from(["x-a0-in".to_owned()]), "the file was there");
    assert_eq!(audit(dir.path(), &acknowledged), []);
    assert_eq!(files(dir.path()), BTreeSet::new());
}

#[test]
fn a_batch_without_its_commit_never_was() {
    let dir = tempfile::tempdir().unwrap();
    let acknowledged = die_at("before-commit", dir.path());
    assert_eq!(acknowledged, ["open"]);
    assert_eq!(files(dir.path()).len(), 2, "both inputs were written");
    assert_eq!(audit(dir.path(), &acknowledged), []);
    assert_eq!(files(dir.path()), BTreeSet::new());
}

#[test]
fn a_committed_batch_is_there_though_nobody_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let acknowledged = die_at("after-commit", dir.path());
    assert_eq!(acknowledged, ["open"], "nobody was told");
    let jobs = audit(dir.path(), &acknowledged);
    assert_eq!(ids(&jobs), BTreeSet::from(["x-a0", "x-b0"]));
    assert!(jobs.iter().all(|job| Standing::of(job) == Standing::Waiting));
}

#[test]
fn a_file_that_lost_its_row_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let acknowledged = die_at("before-unlink", dir.path());
    assert_eq!(acknowledged.last().map(String::as_str), Some("finished x-a0"));
    assert!(files(dir.path()).contains("x-b0-in"), "the file was still there");
    let jobs = audit(dir.path(), &acknowledged);
    assert_eq!(ids(&jobs), BTreeSet::from(["x-a0"]), "the forgotten job is gone");
    assert_eq!(files(dir.path()), BTreeSet::from(["x-a0-in".to_owned(), "x-a0-out".to_owned()]));
}
