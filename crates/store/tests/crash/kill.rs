//! `kill -9` at random moments, again and again on one store.

use std::hash::{BuildHasher, RandomState};
use std::os::unix::process::ExitStatusExt;

use crate::audit::audit;
use crate::child::start;

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    // The moment of the kill is random by itself; this spreads it over the life of a child.
    let seed = RandomState::new();
    let mut acknowledged: Vec<String> = vec![];
    for round in 0..10u64 {
        let (mut child, mut lines) = start(dir.path(), &format!("r{round}"), usize::MAX, None);
        let until = 1 + seed.hash_one(round) % 150;
        for _ in 0..until {
            acknowledged.push(lines.next().expect("the child goes on until it is killed"));
        }
        child.kill().unwrap();
        // What it still said is in the pipe and counts.
        acknowledged.extend(lines);
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        audit(dir.path(), &acknowledged);
    }
    assert!(acknowledged.iter().any(|line| line.starts_with("finished")));
}
