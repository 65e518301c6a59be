//! A quota that is used up: strace has the child's writes refused with EDQUOT, as a file system would that counts what
//! an owner has. The batch is refused as on a full disk, and the store goes on when there is room again.

use std::path::Path;
use std::process::{Command as Process, Stdio};

use runyard_domain::{JobId, Payload, Timestamp};
use runyard_store::{Command, Filter, Store as _, StoreError};

use crate::child::{open, submission};
use crate::sync::is_skipped;

/// Where the child's store is.
const DIR: &str = "RUNYARD_TEST_QUOTA_DIR";

fn submit(id: &str) -> [Command; 1] {
    [Command::Submit(Box::new(submission(id, Payload::inline("1"))))]
}

#[test]
fn a_quota_that_is_used_up_is_a_full_disk() {
    if is_skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).0.commit(Timestamp(1), &submit("before")).unwrap();
    let mut strace = Process::new("strace");
    strace.args(["-f", "-o", "/dev/null"]);
    for file in ["runyard.db-wal", "probe"] {
        strace.arg("-P").arg(dir.path().join("db").join(file));
    }
    // The database writes with the first of them, the probe with the other.
    strace.args(["-e", "inject=pwrite64:error=EDQUOT:when=1..2", "-e", "inject=write:error=EDQUOT"]);
    strace.arg(std::env::current_exe().unwrap());
    strace.args(["quota::meets_its_quota", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    let output = strace.env(DIR, dir.path()).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("refused twice"), "the writes were not refused: {said}");
}

#[test]
#[ignore = "the child of the other test"]
fn meets_its_quota() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let (mut store, _) = open(Path::new(&dir));
    for id in ["a", "b"] {
        let full = store.commit(Timestamp(2), &submit(id));
        assert!(matches!(full, Err(StoreError::DiskFull)), "{full:?}");
    }
    println!("refused twice");
    store.commit(Timestamp(3), &submit("c")).unwrap();
    let jobs = store.reader().jobs(&Filter::default()).unwrap();
    let ids: Vec<_> = jobs.into_iter().map(|job| job.id).collect();
    assert_eq!(ids, ["c", "before"].map(JobId::new));
}
