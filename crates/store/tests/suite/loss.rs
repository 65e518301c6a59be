//! Lost workers: the fence, re-queues, late answers, jobs that were given back.

use runyard_domain::job::Refusal;
use runyard_domain::{Outcome, Phase};
use runyard_store::{Command, Refused, Standing, Which};

use crate::bench::*;

conformance!(
    a_lost_job_never_returns_to_the_worker_that_lost_it,
    fenced_jobs_do_not_hide_those_behind_them,
    the_last_loss_fails_the_job,
    a_loss_that_costs_nothing_may_repeat,
    only_the_named_jobs_are_lost,
    a_loss_of_jobs_that_are_not_held_changes_nothing,
    a_late_answer_counts_once,
    a_stranger_has_no_say,
    every_attempt_streams_from_the_start,
    a_given_back_job_was_never_taken,
);

fn standing(b: &Bench, id: &str) -> Standing {
    Standing::of(&b.get(id))
}

fn a_lost_job_never_returns_to_the_worker_that_lost_it(b: &mut Bench) {
    b.submit("a");
    b.take("w1", 1);
    b.now = 2_000;
    assert_eq!(b.jobs(lose("w1", Which::All, true)), ["a"]);
    assert!(matches!(b.get("a").phase, Phase::Waiting { since } if since.0 == 2_000));
    assert_eq!(b.take("w1", 9), [""; 0]);
    assert_eq!(b.take("w2", 9), ["a"]);
    assert_eq!(b.get("a").attempt, 2);
    assert_eq!(b.reader.counts(&e("e")).unwrap().retried, 1);
}

fn fenced_jobs_do_not_hide_those_behind_them(b: &mut Bench) {
    for n in 0..5 {
        b.submit(&format!("lost-{n}"));
    }
    assert_eq!(b.take("w1", 5).len(), 5);
    assert_eq!(b.jobs(lose("w1", Which::All, false)).len(), 5);
    b.submit("next");
    b.submit_as(low(submission("low", 1)));
    assert_eq!(b.take("w1", 2), ["next", "low"]);
    assert_eq!(b.take("w2", 9), ["lost-0", "lost-1", "lost-2", "lost-3", "lost-4"]);
}

fn the_last_loss_fails_the_job(b: &mut Bench) {
    b.submit("a");
    b.take("w1", 1);
    b.jobs(lose("w1", Which::All, true));
    b.take("w2", 1);
    b.job(chunk("a", "w2", None, "1"));
    b.job(progress("a", "w2", text("2")));
    assert_eq!(b.jobs(lose("w2", Which::All, true)), ["a"]);
    let Phase::Done { outcome: Outcome::Failed { error, .. }, .. } = b.get("a").phase else { panic!() };
    assert!(error.contains("after 2 attempts"), "{error}");
    let counts = b.reader.counts(&e("e")).unwrap();
    assert_eq!((counts.failed, counts.retried, counts.running), (1, 1, 0));
    // It is over, so what it said until then stays readable.
    assert_eq!(b.stream("a", 99).0, [(0, "1".to_owned())]);
    assert_eq!(b.reader.progress(&j("a")).unwrap(), Some(text("2")));
}

fn a_loss_that_costs_nothing_may_repeat(b: &mut Bench) {
    b.submit("a");
    for n in 0..5 {
        let worker = format!("w{n}");
        assert_eq!(b.take(&worker, 1), ["a"]);
        assert_eq!(b.jobs(lose(&worker, Which::All, false)), ["a"]);
    }
    assert_eq!((b.get("a").losses, b.get("a").attempt), (0, 5));
    assert_eq!(b.reader.counts(&e("e")).unwrap().retried, 5);
}

fn only_the_named_jobs_are_lost(b: &mut Bench) {
    for id in ["a", "b", "c", "d"] {
        b.submit(id);
    }
    b.take("w1", 3);
    b.take("w2", 1);
    let named = Which::Jobs(vec![j("c"), j("a"), j("a"), j("d"), j("nobody")]);
    assert_eq!(b.jobs(lose("w1", named, true)), ["c", "a"]);
    assert_eq!(standing(b, "b"), Standing::Running);
    assert_eq!(standing(b, "d"), Standing::Running);
}

fn a_loss_of_jobs_that_are_not_held_changes_nothing(b: &mut Bench) {
    b.submit("a");
    assert_eq!(b.jobs(lose("w1", Which::All, true)), [""; 0]);
    assert_eq!(b.jobs(give_back("w1", Which::Jobs(vec![j("a")]))), [""; 0]);
    assert_eq!(standing(b, "a"), Standing::Waiting);
}

fn a_late_answer_counts_once(b: &mut Bench) {
    b.submit("a");
    b.take("w1", 1);
    b.jobs(lose("w1", Which::All, true));
    b.take("w2", 1);
    let late = b.job(finish("a", "w1", Some(text("\"late\""))));
    assert!(matches!(&late.phase, Phase::Done { worker: Some(by), .. } if *by == w("w1")));
    let second = b.refused(finish("a", "w2", Some(b.file("second"))));
    assert_eq!(second, Refused::ByState(Refusal::AlreadyDone, Box::new(late)));
    assert_eq!(b.reader.output(&j("a")).unwrap(), Some(text("\"late\"")));
    assert_eq!(b.files(), names(&[]), "the refused output is not kept");
    assert_eq!(b.reader.counts(&e("e")).unwrap().completed, 1);
}

fn a_stranger_has_no_say(b: &mut Bench) {
    b.submit("a");
    b.take("w1", 1);
    let by = |refused| matches!(refused, Refused::ByState(Refusal::NeverHeld, _));
    assert!(by(b.refused(finish("a", "w2", None))));
    assert!(by(b.refused(progress("a", "w2", text("1")))));
    assert!(by(b.refused(chunk("a", "w2", Some(1), "1"))));
    assert_eq!(b.refused(finish("nobody", "w1", None)), Refused::NoSuchJob);
    assert_eq!(b.refused(progress("nobody", "w1", text("1"))), Refused::NoSuchJob);
    assert_eq!(b.refused(chunk("nobody", "w1", None, "1")), Refused::NoSuchJob);
    assert_eq!(standing(b, "a"), Standing::Running);
}

fn every_attempt_streams_from_the_start(b: &mut Bench) {
    b.submit("a");
    b.take("w1", 1);
    b.job(chunk("a", "w1", Some(1), "1"));
    let in_file = b.file("chunk");
    b.job(Command::Chunk { job: j("a"), worker: w("w1"), number: Some(2), value: in_file });
    let in_file = b.file("progress");
    b.job(progress("a", "w1", in_file));
    b.one(delivered("a", 0));
    b.jobs(lose("w1", Which::All, true));
    assert_eq!(b.stream("a", 99), (vec![], false));
    assert_eq!(b.reader.progress(&j("a")).unwrap(), None);
    assert_eq!(b.files(), names(&[]));
    // The lost worker's output counts while nobody else holds the job, its repetitions do not.
    b.job(chunk("a", "w1", Some(2), "again"));
    b.job(chunk("a", "w1", Some(3), "late"));
    assert_eq!(b.stream("a", 99).0, [(0, "late".to_owned())]);
    b.one(delivered("a", 7));
    b.take("w2", 1);
    b.job(chunk("a", "w2", Some(1), "anew"));
    assert_eq!(b.stream("a", 99).0, [(0, "anew".to_owned())]);
    assert!(matches!(b.refused(chunk("a", "w1", Some(4), "x")), Refused::ByState(Refusal::NeverHeld, _)));
}

fn a_given_back_job_was_never_taken(b: &mut Bench) {
    let before = b.submit("a");
    b.submit("b");
    b.take("w1", 2);
    b.now += 100;
    assert_eq!(b.jobs(give_back("w1", Which::Jobs(vec![j("a")]))), ["a"]);
    assert_eq!(b.get("a"), before);
    assert_eq!(b.jobs(give_back("w1", Which::All)), ["b"]);
    assert_eq!(b.take("w1", 9), ["a", "b"], "the same worker may have it");
    let counts = b.reader.counts(&e("e")).unwrap();
    assert_eq!((counts.retried, counts.waiting, counts.running), (0, 0, 2));
}
