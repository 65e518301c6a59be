//! A worker's life: output from its first byte, how it ends, what it leaves behind.

use std::fs;

use runyard_domain::WorkerId;
use runyard_logs::{Level, Source};
use runyard_runtime::{Runtime as _, Stop};

use crate::harness::{Harness, lives, until, within};

#[tokio::test]
async fn everything_is_kept_also_of_a_worker_that_dies_at_once() {
    let h = Harness::new().await;
    h.sh("w1", "echo first; echo second >&2; printf 'no line feed'; exit 3").await;
    let exit = h.exit("w1").await;
    assert_eq!((exit.code, exit.signal, exit.out_of_memory), (Some(3), None, false));
    let mut lines = exit.last_lines.clone();
    lines.sort();
    assert_eq!(lines, ["first", "no line feed", "second"]);
    let records = h.records();
    assert_eq!(records[0].source, Source::System);
    assert!(records[0].message.starts_with("started process "), "{}", records[0].message);
    let last = records.last().unwrap();
    assert_eq!((last.message.as_str(), last.level), ("exited with code 3", Some(Level::Error)));
    let second = records.iter().find(|record| record.message == "second").unwrap();
    assert_eq!((second.source, second.level), (Source::Stderr, None));
}

#[tokio::test]
async fn much_output_is_kept_whole() {
    let h = Harness::new().await;
    h.sh("w1", "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done").await;
    assert_eq!(h.exit("w1").await.code, Some(0));
    let lines = h.printed("w1");
    assert_eq!(lines.len(), 20_002);
    assert!((0..20_000).all(|n| lines[n + 1] == format!("line {n}")));
}

#[tokio::test]
async fn a_line_without_an_end_is_shown_while_the_worker_waits() {
    let h = Harness::new().await;
    h.sh("w1", "printf 'password: '; exec sleep 1000").await;
    h.line("w1", "password: ").await;
}

#[tokio::test]
async fn a_missing_program_is_told_in_the_log() {
    let h = Harness::new().await;
    h.start(h.spec("w1", &["/nowhere/python"])).await;
    let exit = h.exit("w1").await;
    assert_eq!(exit.code, Some(127));
    assert!(exit.last_lines[0].contains("cannot run /nowhere/python"), "{:?}", exit.last_lines);
}

#[tokio::test]
async fn signals_are_told() {
    let h = Harness::new().await;
    h.sh("w1", "kill -SEGV $$").await;
    assert_eq!(h.exit("w1").await.signal, Some(11));
    h.sh("w2", "kill -KILL $$").await;
    let exit = h.exit("w2").await;
    assert_eq!((exit.signal, exit.out_of_memory), (Some(9), false));
}

#[tokio::test]
async fn nothing_outlives_the_main_process() {
    let h = Harness::new().await;
    // A child, one in a session of its own, and one that also lost its parent.
    let script = "sleep 1000 & echo child $!
        setsid sh -c 'echo alone $$; exec sleep 1000' &
        setsid sh -c 'setsid sh -c \"echo orphan \\$\\$; exec sleep 1000\" & exit 0' &
        wait %3; while ! [ -e $TMPDIR/go ]; do sleep 0.01; done; exit 1";
    h.sh("w1", script).await;
    let mut pids = Vec::new();
    for name in ["child ", "alone ", "orphan "] {
        pids.push(h.line("w1", name).await.parse::<u32>().unwrap());
    }
    assert!(pids.iter().all(|pid| lives(*pid)));
    fs::write(h.paths.work().join("w1/tmp/go"), "").unwrap();
    assert_eq!(h.exit("w1").await.code, Some(1));
    assert!(pids.iter().all(|pid| !lives(*pid)), "{pids:?}");
}

#[tokio::test]
async fn term_asks_and_kill_ends() {
    let h = Harness::new().await;
    h.sh("w1", "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done").await;
    h.line("w1", "ready").await;
    within("a stop", h.runtime.stop(&WorkerId::new("w1"), Stop::Term)).await.unwrap();
    let exit = h.exit("w1").await;
    assert_eq!((exit.code, exit.last_lines.last().map(String::as_str)), (Some(0), Some("bye")));

    h.sh("w2", "trap '' TERM; echo ready; while :; do sleep 0.01; done").await;
    h.line("w2", "ready").await;
    within("a stop", h.runtime.stop(&WorkerId::new("w2"), Stop::Kill)).await.unwrap();
    assert_eq!(h.exit("w2").await.signal, Some(9));
    assert!(h.printed("w2").last().unwrap().starts_with("was killed by signal 9 (SIGKILL), as asked"));
    within("a stop", h.runtime.stop(&WorkerId::new("w2"), Stop::Kill)).await.unwrap();
    within("a stop", h.runtime.stop(&WorkerId::new("unknown"), Stop::Kill)).await.unwrap();
}

#[tokio::test]
async fn forget_drops_the_worker_and_its_folder() {
    let h = Harness::new().await;
    let id = WorkerId::new("w1");
    h.sh("w1", "echo ready; read x < /dev/zero").await;
    let work = h.paths.work().join("w1");
    assert!(work.is_dir());
    assert!(h.runtime.forget(&id).await.is_err());
    assert!(h.runtime.start(h.spec("w1", &["/bin/true"])).await.is_err());
    h.runtime.stop(&id, Stop::Kill).await.unwrap();
    h.exit("w1").await;
    h.runtime.forget(&id).await.unwrap();
    assert!(h.observed("w1").await.is_none());
    assert!(!work.exists());
    h.runtime.forget(&id).await.unwrap();
}

#[tokio::test]
async fn the_environment_is_the_specs_and_little_else() {
    let h = Harness::new().await;
    let mut spec = h.spec("w1", &["/usr/bin/env"]);
    spec.env.insert("MODEL".to_owned(), "tiny $ID".to_owned());
    spec.limits.threads = 3;
    h.start(spec).await;
    h.exit("w1").await;
    let lines = h.printed("w1");
    let has = |line: &str| lines.iter().any(|printed| printed == line);
    let work = h.paths.work().join("w1").display().to_string();
    assert!(has("MODEL=tiny $ID") && has("OMP_NUM_THREADS=3") && has("PYTHONUNBUFFERED=1"), "{lines:?}");
    assert!(has(&format!("HOME={work}")) && has(&format!("TMPDIR={work}/tmp")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("RUNYARD_INCARNATION=w1:")));
    assert!(has("USER=runyard") && !lines.iter().any(|line| line.starts_with("CARGO")), "{lines:?}");
}

#[tokio::test]
async fn a_worker_starts_in_a_folder_of_its_own_and_limits_hold() {
    let h = Harness::new().await;
    let mut spec = h.spec("w1", &["/bin/sh", "-c", "pwd; ulimit -n; ulimit -c"]);
    spec.limits.open_files = 100;
    h.start(spec).await;
    let exit = h.exit("w1").await;
    let start = h.paths.work().join("w1/cwd").display().to_string();
    assert_eq!(exit.last_lines[..3], [start.as_str(), "100", "0"]);
}

/// What a handler does that reads and writes by relative paths, as it may on RunPod.
const WRITES: &str = "cat weights/model.txt && echo new > out.txt && cat out.txt && mkdir made && ls -A \
    && cat .hidden && if echo other > handler.py; then echo changed; fi 2> /dev/null";

#[tokio::test]
async fn relative_writes_stay_beside_the_code() {
    let h = Harness::new().await;
    fs::create_dir(h.code.join("weights")).unwrap();
    for (file, text) in [("weights/model.txt", "weights\n"), (".hidden", "dot\n"), ("handler.py", "code\n")] {
        fs::write(h.code.join(file), text).unwrap();
    }
    for id in ["w1", "w2"] {
        // The second does not see what the first one wrote.
        h.sh(id, WRITES).await;
        let exit = h.exit(id).await;
        let lines = exit.last_lines.join(" ");
        assert_eq!(lines, "weights new .hidden handler.py made out.txt weights dot", "{exit:?}");
    }
    let mut left: Vec<_> = fs::read_dir(&h.code).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".hidden", "handler.py", "weights"]);
    assert_eq!(fs::read_to_string(h.code.join("handler.py")).unwrap(), "code\n");
}

#[tokio::test]
async fn code_that_runs_in_place_writes_there() {
    let h = Harness::new().await;
    let project = h.paths.data.parent().unwrap().join("project");
    fs::create_dir(&project).unwrap();
    let mut spec = h.spec("w1", &["/bin/sh", "-c", "pwd; echo new > out.txt; echo no > ../beside"]);
    spec.code_dir = project.display().to_string();
    spec.in_place = true;
    h.start(spec).await;
    let exit = h.exit("w1").await;
    assert_eq!(exit.last_lines[0], project.display().to_string(), "{exit:?}");
    assert_eq!(fs::read_to_string(project.join("out.txt")).unwrap(), "new\n", "{exit:?}");
    let line = h.runtime.boundary().await.unwrap();
    assert!(line.starts_with("not a boundary") || !project.with_file_name("beside").exists());
}

#[tokio::test]
async fn shutting_down_ends_workers_and_agent() {
    let h = Harness::new().await;
    let worker = h.sh("w1", "trap '' TERM; while :; do sleep 0.01; done").await;
    let agent = h.agent_pid().await;
    within("the shutdown", h.runtime.shut_down()).await.unwrap();
    assert!(!lives(worker));
    until("the agent's end", || !lives(agent)).await;
    assert!(h.printed("w1").last().unwrap().starts_with("was killed by signal 9 (SIGKILL), as asked"));
}
