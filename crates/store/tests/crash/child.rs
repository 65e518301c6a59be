//! The child: commits batch after batch and acknowledges each on standard output, one `write` per line.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command as Process, Stdio};

use runyard_domain::job::Answer;
use runyard_domain::{EndpointId, Job, JobId, Payload, Phase, Policy, Timestamp, WorkerId};
use runyard_store::{Blobs, Command, Reply, SqliteStore, Store, Submission};

/// Where the store is; set for children only.
const DIR: &str = "RUNYARD_TEST_DIR";
/// What this child's jobs are called, so that children on one store do not meet.
const ROUND: &str = "RUNYARD_TEST_ROUND";
/// After how many steps it ends by itself.
const STEPS: &str = "RUNYARD_TEST_STEPS";

/// What every line that matters starts with; the test harness prints lines of its own.
pub const ACK: &str = "ACK ";

pub fn open(dir: &Path) -> (SqliteStore, Blobs) {
    let blobs = Blobs::open(dir.join("blobs")).unwrap();
    (SqliteStore::open(&dir.join("db"), blobs.clone()).unwrap(), blobs)
}

/// The command that runs the child, to be changed by the caller (a crash point) or wrapped (strace).
pub fn arguments() -> (PathBuf, [&'static str; 5]) {
    let exe = std::env::current_exe().unwrap();
    (exe, ["child::commits_until_it_dies", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
}

pub fn prepare(process: &mut Process, dir: &Path, round: &str, steps: usize) {
    process.env(DIR, dir).env(ROUND, round).env(STEPS, steps.to_string());
    process.stdout(Stdio::piped()).stderr(Stdio::null());
}

pub fn start(dir: &Path, round: &str, steps: usize, crash_at: Option<&str>) -> (Child, Lines) {
    let (exe, args) = arguments();
    let mut process = Process::new(exe);
    prepare(process.args(args), dir, round, steps);
    if let Some(point) = crash_at {
        process.env("RUNYARD_CRASH_AT", point);
    }
    let mut child = process.spawn().unwrap();
    let lines = Lines(BufReader::new(child.stdout.take().unwrap()));
    (child, lines)
}

/// The acknowledgements of a child, until it is gone.
pub struct Lines(BufReader<ChildStdout>);

impl Iterator for Lines {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // A line without its end was not written whole; the harness may have begun the line.
            if let (Some(at), true) = (line.find(ACK), line.ends_with('\n')) {
                return Some(line[at + ACK.len()..].trim_end().to_owned());
            }
        }
    }
}

pub fn submission(id: &str, input: Payload) -> Submission {
    let job = Job {
        id: JobId::new(id),
        endpoint: EndpointId::new("e"),
        seq: 0,
        sync: false,
        submitted_at: Timestamp(1),
        submitted_by: "local".into(),
        policy: Policy { execution_timeout_ms: 0, ttl_ms: 60_000, low_priority: false },
        expires_at: Timestamp(60_000),
        requeues: 1,
        retention_ms: 1_000,
        pinned: None,
        batch: None,
        webhook: id.contains("-a").then(|| "http://h/".into()),
        has_s3: false,
        attempt: 0,
        losses: 0,
        lost_by: vec![],
        attempts: vec![],
        phase: Phase::Waiting { since: Timestamp(1) },
    };
    Submission { job, input, s3: None, idempotency_key: None }
}

/// The bytes of a job's input, also found in its output: they tell whose they are.
pub fn bytes_of(id: &str) -> String {
    format!("\"payload of {id} {}\"", ".".repeat(3_000))
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{ACK}{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Each step: a job with its input in a file and one without are submitted; both are taken; the first is
/// finished with an output in a file and has a webhook, the second is forgotten. Every step crosses every crash point.
#[test]
#[ignore = "the child of the other tests"]
fn commits_until_it_dies() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let round = std::env::var(ROUND).unwrap();
    let steps: usize = std::env::var(STEPS).unwrap().parse().unwrap();
    let (mut store, blobs) = open(Path::new(&dir));
    let worker = WorkerId::new("w");
    say("open");
    for step in 0..steps {
        let (a, b) = (format!("{round}-a{step}"), format!("{round}-b{step}"));
        let in_file = blobs.put(&format!("{a}-in"), bytes_of(&a).as_bytes()).unwrap();
        let in_file_too = blobs.put(&format!("{b}-in"), bytes_of(&b).as_bytes()).unwrap();
        let submits = [
            Command::Submit(Box::new(submission(&a, in_file))),
            Command::Submit(Box::new(submission(&b, in_file_too))),
        ];
        store.commit(Timestamp(10), &submits).unwrap();
        say(&format!("submitted {a}"));
        let endpoint = EndpointId::new("e");
        let take = Command::Take {
            endpoint,
            worker: worker.clone(),
            release: 1,
            pinned_only: false,
            max: 9,
            ahead: 0,
        };
        let replies = store.commit(Timestamp(20), &[take]).unwrap();
        let Reply::Taken(taken) = &replies[0] else { panic!("{replies:?}") };
        say(&format!("taken {a}"));
        let output = blobs.put(&format!("{a}-out"), bytes_of(&a).as_bytes()).unwrap();
        let mut finishes = vec![];
        for job in taken.iter().map(|t| &t.job.id) {
            let output = if job.as_str() == a { Some(output.clone()) } else { None };
            let (job, worker) = (job.clone(), worker.clone());
            finishes.push(Command::Finish { job, worker, answer: Answer::Success, output, posted: None });
        }
        store.commit(Timestamp(30), &finishes).unwrap();
        say(&format!("finished {a}"));
        store.commit(Timestamp(2_000), &[Command::Expire { job: JobId::new(b.as_str()) }]).unwrap();
        say(&format!("forgotten {b}"));
    }
    say("end");
}
