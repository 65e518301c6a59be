//! How jobs end and go: cancel, purge, retry, limits of time, retention, and the end of an endpoint.

use runyard_domain::job::Refusal;
use runyard_domain::worker::WorkerState;
use runyard_domain::{FailReason, Outcome, Phase, Timestamp};
use runyard_store::{Command, Counts, Filter, Refused, Reply, Standing, Submission, Which};

use crate::bench::*;

conformance!(
    cancel_ends_waiting_and_running_jobs,
    purge_ends_the_queue_and_nothing_else,
    retry_starts_from_nothing_at_the_end_of_the_queue,
    only_failed_and_timed_out_jobs_are_retried,
    time_limits_end_jobs,
    a_new_time_to_live_counts_from_now,
    a_job_is_forgotten_after_its_retention,
    counts_follow_every_move,
    tests_are_not_counted,
    a_dropped_endpoint_leaves_nothing,
);

fn outcome(b: &Bench, id: &str) -> Outcome {
    let Phase::Done { outcome, .. } = b.get(id).phase else { panic!("{id} is not done") };
    outcome
}

fn cancel_ends_waiting_and_running_jobs(b: &mut Bench) {
    b.submit("a");
    b.submit("b");
    b.take("w1", 1);
    b.job(cancel("a"));
    b.job(cancel("b"));
    assert_eq!(outcome(b, "a"), Outcome::Cancelled { by: "me".into() });
    assert_eq!(outcome(b, "b"), Outcome::Cancelled { by: "me".into() });
    assert!(matches!(b.refused(cancel("a")), Refused::ByState(Refusal::AlreadyDone, _)));
    assert_eq!(b.refused(cancel("nobody")), Refused::NoSuchJob);
    assert!(matches!(b.refused(finish("a", "w1", None)), Refused::ByState(Refusal::AlreadyDone, _)));
    assert_eq!(b.take("w2", 9), [""; 0]);
}

fn purge_ends_the_queue_and_nothing_else(b: &mut Bench) {
    b.submit("running");
    b.take("w1", 1);
    b.submit_as(low(submission("low", 1)));
    b.submit("n");
    b.submit_as(pinned(3, submission("test", 1)));
    b.submit_as(of("other", submission("foreign", 1)));
    let purge = Command::Purge { endpoint: e("e"), by: "purge by me".into() };
    assert_eq!(b.jobs(purge.clone()), ["low", "n", "test"]);
    assert_eq!(outcome(b, "low"), Outcome::Cancelled { by: "purge by me".into() });
    assert_eq!(Standing::of(&b.get("running")), Standing::Running);
    assert_eq!(Standing::of(&b.get("foreign")), Standing::Waiting);
    assert_eq!(b.jobs(purge), [""; 0]);
}

fn retry_starts_from_nothing_at_the_end_of_the_queue(b: &mut Bench) {
    b.submit("a");
    b.take("w1", 1);
    b.submit("b");
    b.job(chunk("a", "w1", Some(1), "1"));
    let file = b.file("progress");
    b.job(progress("a", "w1", file));
    let Command::Finish { job, worker, answer, .. } = fail("a", "w1") else { unreachable!() };
    let output = b.file("output");
    b.job(Command::Finish { job, worker, answer, output: Some(output), posted: None });
    b.one(delivered("a", 0));
    b.now = 9_000;
    let again = b.job(retry("a"));
    assert_eq!((again.seq, again.expires_at, again.attempt), (3, Timestamp(69_000), 1));
    assert_eq!(again.phase, Phase::Waiting { since: Timestamp(9_000) });
    assert_eq!(b.get("a"), again);
    assert_eq!(b.reader.output(&j("a")).unwrap(), None);
    assert_eq!(b.reader.progress(&j("a")).unwrap(), None);
    assert_eq!(b.stream("a", 99), (vec![], false));
    assert_eq!(b.files(), names(&[]));
    assert_eq!(b.reader.input(&j("a")).unwrap(), Some(text("\"input of a\"")));
    assert_eq!(b.take("w2", 9), ["b", "a"]);
    b.job(chunk("a", "w2", Some(1), "2"));
    assert_eq!(b.stream("a", 99).0, [(0, "2".to_owned())]);
    assert_eq!(b.listed(&Filter::default()), ["b", "a"], "its place among submissions stays");
}

fn only_failed_and_timed_out_jobs_are_retried(b: &mut Bench) {
    for id in ["completed", "cancelled", "failed", "timed-out", "running", "waiting"] {
        b.submit(id);
    }
    b.take("w1", 5);
    b.job(finish("completed", "w1", None));
    b.job(cancel("cancelled"));
    b.job(fail("failed", "w1"));
    b.now += 5_000;
    b.job(expire("timed-out"));
    for id in ["completed", "cancelled", "running", "waiting"] {
        assert!(matches!(b.refused(retry(id)), Refused::ByState(Refusal::NotRetryable, _)), "{id}");
    }
    b.job(retry("failed"));
    b.job(retry("timed-out"));
    assert_eq!(b.refused(retry("nobody")), Refused::NoSuchJob);
    assert_eq!(b.reader.counts(&e("e")).unwrap().retried, 2);
}

fn time_limits_end_jobs(b: &mut Bench) {
    b.submit("waits");
    b.submit("runs");
    assert!(matches!(b.refused(expire("waits")), Refused::ByState(Refusal::NotDue, _)));
    assert_eq!(b.refused(expire("nobody")), Refused::NoSuchJob);
    b.now = 56_500;
    b.take("w1", 1);
    b.now = 60_999;
    assert!(matches!(b.refused(expire("waits")), Refused::ByState(Refusal::NotDue, _)));
    b.now = 61_000;
    b.job(expire("waits"));
    b.job(expire("runs"));
    let Outcome::TimedOut { reason } = outcome(b, "waits") else { panic!() };
    assert_eq!(reason, FailReason::TtlExpired { ttl_ms: 60_000, queued_ms: 55_500, ran_ms: 4_500 });
    let mut quick = submission("quick", 61_000);
    quick.job.policy.execution_timeout_ms = 0;
    b.submit_as(quick);
    b.submit("slow");
    b.take("w1", 2);
    b.now = 66_000;
    assert!(matches!(b.refused(expire("quick")), Refused::ByState(Refusal::NotDue, _)));
    b.job(expire("slow"));
    let Outcome::TimedOut { reason } = outcome(b, "slow") else { panic!() };
    assert_eq!(reason, FailReason::ExecutionTimeout { limit_ms: 5_000 });
}

fn a_new_time_to_live_counts_from_now(b: &mut Bench) {
    b.submit("a");
    b.now = 2_000;
    let job = b.job(Command::SetTtl { job: j("a"), ttl_ms: 30_000 });
    assert_eq!((job.expires_at, job.policy.ttl_ms), (Timestamp(32_000), 30_000));
    assert_eq!(b.reader.next_due().unwrap(), Some(Timestamp(32_000)));
    b.job(cancel("a"));
    let late = b.refused(Command::SetTtl { job: j("a"), ttl_ms: 1 });
    assert!(matches!(late, Refused::ByState(Refusal::AlreadyDone, _)));
}

fn a_job_is_forgotten_after_its_retention(b: &mut Bench) {
    let input = b.file("input");
    let s3 = Some(b.file("s3"));
    b.submit_as(Submission { input, s3, ..keyed("k", submission("a", 1_000)) });
    b.submit("other");
    b.take("w1", 1);
    let (value, output) = (b.file("chunk"), b.file("output"));
    b.job(Command::Chunk { job: j("a"), worker: w("w1"), number: Some(1), value });
    let value = b.file("progress");
    b.job(progress("a", "w1", value));
    b.job(finish("a", "w1", Some(output)));
    assert_eq!(b.files().len(), 5);
    b.now = 10_999;
    assert!(matches!(b.refused(expire("a")), Refused::ByState(Refusal::AlreadyDone, _)));
    b.now = 11_000;
    assert_eq!(b.reader.due(Timestamp(b.now), 9).unwrap(), [j("a")]);
    assert_eq!(b.one(expire("a")), Reply::Forgotten(j("a")));
    assert_eq!(b.refused(expire("a")), Refused::NoSuchJob);
    assert_eq!(b.reader.job(&j("a")).unwrap(), None);
    assert_eq!(b.reader.input(&j("a")).unwrap(), None);
    assert_eq!(b.reader.output(&j("a")).unwrap(), None);
    assert_eq!(b.stream("a", 99), (vec![], false));
    assert_eq!(b.files(), names(&[]));
    assert_eq!(b.listed(&Filter::default()), ["other"]);
    assert_eq!(b.reader.counts(&e("e")).unwrap().completed, 1, "what happened stays counted");
}

fn counts_follow_every_move(b: &mut Bench) {
    let counts = |b: &Bench| b.reader.counts(&e("e")).unwrap();
    assert_eq!(counts(b), Counts::default());
    for id in ["a", "b", "c", "d"] {
        b.submit(id);
    }
    assert_eq!(counts(b), Counts { waiting: 4, ..Counts::default() });
    b.take("w1", 3);
    assert_eq!(counts(b), Counts { waiting: 1, running: 3, ..Counts::default() });
    b.job(finish("a", "w1", None));
    b.job(fail("b", "w1"));
    b.jobs(lose("w1", Which::All, true));
    assert_eq!(counts(b), Counts { completed: 1, failed: 1, retried: 1, waiting: 2, ..Counts::default() });
    b.job(cancel("d"));
    b.job(retry("b"));
    b.now = 70_000;
    b.job(expire("c"));
    let now = Counts { completed: 1, failed: 2, retried: 2, cancelled: 1, waiting: 1, running: 0 };
    assert_eq!(counts(b), now);
    assert_eq!(b.reader.counts(&e("other")).unwrap(), Counts::default());
}

fn tests_are_not_counted(b: &mut Bench) {
    for id in ["a", "b", "c", "d"] {
        b.submit_as(pinned(1, submission(id, 1)));
    }
    b.take("w1", 3);
    b.job(finish("a", "w1", None));
    b.job(fail("b", "w1"));
    b.job(retry("b"));
    b.jobs(lose("w1", Which::All, true));
    b.job(cancel("d"));
    assert_eq!(b.reader.counts(&e("e")).unwrap(), Counts::default());
}

fn a_dropped_endpoint_leaves_nothing(b: &mut Bench) {
    let input = b.file("input");
    b.all(&[
        Command::PutEndpoint(Box::new(endpoint("e", "mine"))),
        Command::PutEndpoint(Box::new(endpoint("other", "yours"))),
        Command::PutRelease(Box::new(release("e", 1))),
        Command::PutRelease(Box::new(release("other", 1))),
        Command::PutWorker(Box::new(worker("w1", "e", 1, WorkerState::Ready))),
        Command::PutWorker(Box::new(worker("w2", "other", 1, WorkerState::Ready))),
        submit(Submission { input, ..keyed("k", submission("a", 1)) }),
        submit(submission("b", 1)),
        submit(of("other", submission("c", 1))),
        take("w1", 1),
        chunk("a", "w1", Some(1), "1"),
        finish("a", "w1", Some(text("1"))),
    ]);
    assert_eq!(b.one(Command::DropEndpoint(e("e"))), Reply::Nothing);
    assert_eq!(b.reader.endpoints().unwrap(), [endpoint("other", "yours")]);
    assert_eq!(b.reader.releases(&e("e")).unwrap(), []);
    assert_eq!(b.reader.releases(&e("other")).unwrap().len(), 1);
    assert_eq!(b.reader.workers(None, 9).unwrap().len(), 1);
    assert_eq!(b.reader.worker(&w("w1")).unwrap(), None);
    assert_eq!(b.listed(&Filter::default()), ["c"]);
    assert_eq!(b.reader.output(&j("a")).unwrap(), None);
    assert_eq!(b.reader.counts(&e("e")).unwrap(), Counts::default());
    assert_eq!(b.reader.counts(&e("other")).unwrap().waiting, 1);
    assert_eq!(b.files(), names(&[]));
    // Ids and keys are free again, numbers are not.
    assert_eq!(b.submit_as(keyed("k", submission("a", 1))).seq, 4);
    assert_eq!(b.reader.counts(&e("e")).unwrap().waiting, 1);
}
