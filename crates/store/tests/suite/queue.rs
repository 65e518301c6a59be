//! Submission and the queue: numbers, idempotency, the order of takes, pinned tests.

use runyard_domain::{Payload, Phase, Timestamp};
use runyard_store::{Command, Reply, Submission, TAKE_BYTES};

use crate::bench::*;

conformance!(
    a_job_comes_back_as_it_was_accepted,
    numbers_rise_also_after_refused_retries_and_forgotten_jobs,
    an_idempotency_key_returns_the_first_job,
    the_same_id_is_accepted_once,
    payload_files_of_a_repeated_submission_are_removed,
    takes_follow_the_order,
    a_take_gets_no_further_job_once_its_inputs_are_large,
    tests_run_only_on_their_release,
    a_worker_before_its_tests_takes_only_those,
    a_take_marks_its_jobs,
    takes_are_exclusive,
    commands_of_one_batch_see_each_other,
);

fn a_job_comes_back_as_it_was_accepted(b: &mut Bench) {
    let mut wanted = submission("a", 7);
    wanted.job.webhook = Some("http://x/y".into());
    wanted.s3 = Some(text("sealed"));
    wanted.job.has_s3 = true;
    let job = b.submit_as(wanted.clone());
    assert_eq!(job, runyard_domain::Job { seq: 1, ..wanted.job });
    assert_eq!(b.get("a"), job);
    assert_eq!(b.reader.input(&j("a")).unwrap(), Some(wanted.input.clone()));
    assert_eq!(b.reader.s3(&j("a")).unwrap(), wanted.s3);
    assert_eq!(b.reader.output(&j("a")).unwrap(), None);
    assert_eq!(b.reader.progress(&j("a")).unwrap(), None);
    let taken = b.taken(take("w1", 1)).remove(0);
    assert_eq!((taken.input, taken.s3), (wanted.input, wanted.s3));
    assert_eq!(b.reader.job(&j("nobody")).unwrap(), None);
    assert_eq!(b.reader.input(&j("nobody")).unwrap(), None);
}

fn numbers_rise_also_after_refused_retries_and_forgotten_jobs(b: &mut Bench) {
    assert_eq!(b.submit("a").seq, 1);
    b.refused(retry("a"));
    assert_eq!(b.submit("b").seq, 2);
    b.job(cancel("b"));
    b.now += 10_000;
    assert_eq!(b.one(expire("b")), Reply::Forgotten(j("b")));
    assert_eq!(b.submit("c").seq, 3);
    b.take("w1", 1);
    b.job(fail("a", "w1"));
    assert_eq!(b.job(retry("a")).seq, 4);
    assert_eq!(b.submit("d").seq, 5);
}

fn an_idempotency_key_returns_the_first_job(b: &mut Bench) {
    b.submit_as(keyed("k", submission("a", 1)));
    b.take("w1", 1);
    let again = b.one(submit(keyed("k", submission("b", 2))));
    assert_eq!(again, Reply::Submitted { job: Box::new(b.get("a")), existing: true });
    assert_eq!(b.reader.job(&j("b")).unwrap(), None);
    let repeat = |endpoint: &str| Command::Repeat { endpoint: e(endpoint), key: "k".into() };
    assert_eq!(b.one(repeat("e")), again);
    assert_eq!(b.one(repeat("other")), Reply::Nothing);
    b.submit_as(keyed("k", of("other", submission("c", 3))));
    b.submit_as(submission("d", 3));
    b.job(finish("a", "w1", None));
    b.now += 10_000;
    assert_eq!(b.one(expire("a")), Reply::Forgotten(j("a")));
    assert_eq!(b.one(repeat("e")), Reply::Nothing);
    b.submit_as(keyed("k", submission("e", 4)));
}

fn a_take_gets_no_further_job_once_its_inputs_are_large(b: &mut Bench) {
    for id in ["a", "b", "c"] {
        let Payload::File { name, .. } = b.file(id) else { panic!("it is a file") };
        let half = Payload::File { name, len: TAKE_BYTES / 2 };
        b.submit_as(Submission { input: half, ..submission(id, 1) });
    }
    assert_eq!(b.take("w1", 9), ["a", "b"]);
    assert_eq!(b.take("w1", 9), ["c"]);
}

fn the_same_id_is_accepted_once(b: &mut Bench) {
    let first = b.submit("a");
    let again = b.one(submit(Submission { input: text("2"), ..submission("a", 9) }));
    assert_eq!(again, Reply::Submitted { job: Box::new(first), existing: true });
    assert_eq!(b.reader.input(&j("a")).unwrap(), Some(text("\"input of a\"")));
    assert_eq!(b.submit("b").seq, 2);
    assert_eq!(b.reader.counts(&e("e")).unwrap().waiting, 2);
}

fn payload_files_of_a_repeated_submission_are_removed(b: &mut Bench) {
    let first =
        Submission { input: b.file("in-1"), s3: Some(b.file("s3-1")), ..keyed("k", submission("a", 1)) };
    b.submit_as(first.clone());
    // The very same submission again: its files are those of the job.
    b.one(submit(first));
    assert_eq!(b.files(), names(&["in-1", "s3-1"]));
    b.one(submit(Submission { input: b.file("in-2"), ..keyed("k", submission("b", 1)) }));
    b.one(submit(Submission { input: b.file("in-3"), ..submission("a", 1) }));
    assert_eq!(b.files(), names(&["in-1", "s3-1"]));
}

fn takes_follow_the_order(b: &mut Bench) {
    b.submit_as(low(submission("low-1", 1)));
    b.submit("n-1");
    b.submit_as(of("other", submission("foreign", 1)));
    b.submit_as(pinned(1, low(submission("test-1", 1))));
    b.submit("n-2");
    b.submit_as(pinned(1, submission("test-2", 1)));
    b.submit_as(low(submission("low-2", 1)));
    assert_eq!(b.take("w1", 0), [""; 0]);
    assert_eq!(b.take("w1", 1), ["test-1"]);
    assert_eq!(b.take("w2", 4), ["test-2", "n-1", "n-2", "low-1"]);
    assert_eq!(b.take("w3", usize::MAX), ["low-2"]);
    assert_eq!(b.take("w3", 9), [""; 0]);
}

fn tests_run_only_on_their_release(b: &mut Bench) {
    b.submit_as(pinned(2, submission("test", 1)));
    b.submit("n");
    assert_eq!(b.take("w1", 9), ["n"]);
    let of_release_2 =
        Command::Take { endpoint: e("e"), worker: w("w2"), release: 2, pinned_only: false, max: 9, ahead: 0 };
    assert_eq!(b.taken(of_release_2)[0].job.id, j("test"));
}

fn a_worker_before_its_tests_takes_only_those(b: &mut Bench) {
    b.submit("n");
    b.submit_as(low(submission("low", 1)));
    b.submit_as(pinned(1, submission("test-1", 1)));
    b.submit_as(pinned(2, submission("test-2", 1)));
    let only =
        Command::Take { endpoint: e("e"), worker: w("w2"), release: 2, pinned_only: true, max: 9, ahead: 0 };
    let taken = b.taken(only.clone());
    assert_eq!(taken.iter().map(|t| t.job.id.as_str()).collect::<Vec<_>>(), ["test-2"]);
    assert_eq!(b.taken(only), []);
}

fn a_take_marks_its_jobs(b: &mut Bench) {
    b.submit("a");
    b.now = 1_500;
    let job = b.taken(take("w1", 1)).remove(0).job;
    let phase = Phase::Running {
        worker: w("w1"),
        release: 1,
        queued_at: Timestamp(1_000),
        started: Timestamp(1_500),
    };
    assert_eq!((&job.phase, job.attempt), (&phase, 1));
    assert_eq!(b.get("a"), job);
}

fn takes_are_exclusive(b: &mut Bench) {
    for n in 0..20 {
        b.submit(&format!("j{n}"));
    }
    let takes: Vec<Command> = (0..10).map(|n| take(&format!("w{n}"), 3)).collect();
    let mut seen = std::collections::BTreeSet::new();
    for reply in b.all(&takes) {
        let Reply::Taken(taken) = reply else { panic!("{reply:?}") };
        for t in taken {
            assert!(seen.insert(t.job.id.clone()), "{} was handed out twice", t.job.id);
        }
    }
    assert_eq!(seen.len(), 20);
}

fn commands_of_one_batch_see_each_other(b: &mut Bench) {
    let replies = b.all(&[
        submit(submission("a", 1)),
        take("w1", 1),
        chunk("a", "w1", Some(1), "1"),
        finish("a", "w1", Some(text("2"))),
        cancel("a"),
        submit(keyed("k", submission("b", 1))),
        submit(keyed("k", submission("c", 1))),
    ]);
    assert!(matches!(&replies[1], Reply::Taken(t) if t.len() == 1), "{replies:?}");
    assert!(matches!(&replies[3], Reply::Job(job) if job.is_done()), "{replies:?}");
    assert!(matches!(&replies[4], Reply::Refused(_)), "{replies:?}");
    assert!(matches!(&replies[6], Reply::Submitted { existing: true, .. }), "{replies:?}");
    assert_eq!(b.reader.output(&j("a")).unwrap(), Some(text("2")));
}
