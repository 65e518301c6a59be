//! What a job says: outputs, progress, chunks and the delivered cursor; payloads in files.

use runyard_domain::job::{Answer, Refusal};
use runyard_domain::{Phase, Timestamp};
use runyard_store::{Command, Refused};

use crate::bench::*;

conformance!(
    an_output_is_kept_with_success_and_failure,
    how_long_an_answer_was_on_its_way_is_kept,
    the_latest_progress_counts,
    chunks_are_numbered_without_gaps,
    repeated_chunks_change_nothing,
    the_cursor_only_moves_forward,
    chunks_come_in_pages_by_size,
    files_are_removed_when_they_are_replaced_or_refused,
    nothing_is_said_after_the_end,
    bytes_come_back_as_they_came,
);

fn how_long_an_answer_was_on_its_way_is_kept(b: &mut Bench) {
    for id in ["a", "b", "c"] {
        b.submit(id);
    }
    b.take("w1", 3);
    let begun = b.now;
    b.now += 700;
    let mut upload = |id: &str, posted: Option<i64>| {
        let posted = posted.map(Timestamp);
        let answer = Answer::Success;
        b.job(Command::Finish { job: j(id), worker: w("w1"), answer, output: None, posted });
        let job = b.reader.job(&j(id)).unwrap().unwrap();
        let Phase::Done { upload_ms, .. } = job.phase else { panic!("{job:?}") };
        upload_ms
    };
    assert_eq!(upload("a", Some(begun + 650)), Some(50));
    assert_eq!(upload("b", Some(begun - 9_000)), Some(700), "no longer than it ran");
    assert_eq!(upload("c", None), None);
}

fn an_output_is_kept_with_success_and_failure(b: &mut Bench) {
    b.submit("a");
    b.submit("b");
    b.submit("c");
    b.take("w1", 3);
    b.job(finish("a", "w1", Some(text("{\"x\":1}"))));
    assert_eq!(b.reader.output(&j("a")).unwrap(), Some(text("{\"x\":1}")));
    let Command::Finish { job, worker, answer, .. } = fail("b", "w1") else { unreachable!() };
    b.job(Command::Finish { job, worker, answer, output: Some(text("[]")), posted: None });
    assert_eq!(b.reader.output(&j("b")).unwrap(), Some(text("[]")));
    b.job(finish("c", "w1", None));
    assert_eq!(b.reader.output(&j("c")).unwrap(), None);
}

fn the_latest_progress_counts(b: &mut Bench) {
    b.submit("a");
    b.take("w1", 1);
    for value in ["1", "2", "\"three\""] {
        b.job(progress("a", "w1", text(value)));
        assert_eq!(b.reader.progress(&j("a")).unwrap(), Some(text(value)));
    }
}

fn chunks_are_numbered_without_gaps(b: &mut Bench) {
    b.submit("a");
    b.take("w1", 1);
    b.all(&[
        chunk("a", "w1", Some(5), "x"),
        chunk("a", "w1", Some(9), "y"),
        chunk("a", "w1", None, "z"),
        chunk("a", "w1", None, "z"),
    ]);
    let wanted = [(0, "x"), (1, "y"), (2, "z"), (3, "z")].map(|(n, s)| (n, s.to_owned()));
    assert_eq!(b.stream("a", 99), (wanted.to_vec(), false));
}

fn repeated_chunks_change_nothing(b: &mut Bench) {
    b.submit("a");
    b.take("w1", 1);
    let job = b.job(chunk("a", "w1", Some(2), "x"));
    let file = b.file("again");
    let again = Command::Chunk { job: j("a"), worker: w("w1"), number: Some(2), value: file };
    assert_eq!(b.job(again), job);
    assert_eq!(b.job(chunk("a", "w1", Some(1), "older")), job);
    assert_eq!(b.files(), names(&[]));
    assert_eq!(b.stream("a", 99).0.len(), 1);
    let done = b.job(finish("a", "w1", None));
    assert_eq!(b.job(chunk("a", "w1", Some(2), "x")), done, "a repetition, also after the end");
}

fn the_cursor_only_moves_forward(b: &mut Bench) {
    b.submit("a");
    b.take("w1", 1);
    for n in 0..4 {
        b.job(chunk("a", "w1", None, &n.to_string()));
    }
    b.one(delivered("a", 1));
    assert_eq!(b.stream("a", 99).0, [(2, "2".to_owned()), (3, "3".to_owned())]);
    b.one(delivered("a", 0));
    assert_eq!(b.stream("a", 99).0.len(), 2);
    b.one(delivered("a", u64::MAX));
    assert_eq!(b.stream("a", 99), (vec![], false));
    b.job(chunk("a", "w1", None, "4"));
    assert_eq!(b.stream("a", 99).0, [(4, "4".to_owned())]);
    b.one(delivered("nobody", 1));
    assert_eq!(b.stream("nobody", 99), (vec![], false));
}

fn chunks_come_in_pages_by_size(b: &mut Bench) {
    b.submit("a");
    b.take("w1", 1);
    for value in ["aaaaaaaa", "bb", "cc", "dd"] {
        b.job(chunk("a", "w1", None, value));
    }
    let page = |b: &Bench, max| {
        let (chunks, more) = b.stream("a", max);
        (chunks.len(), more)
    };
    assert_eq!(page(b, 0), (1, true));
    assert_eq!(page(b, 9), (1, true));
    assert_eq!(page(b, 10), (2, true));
    assert_eq!(page(b, 13), (3, true));
    assert_eq!(page(b, 14), (4, false));
    b.one(delivered("a", 2));
    assert_eq!(page(b, 0), (1, false));
}

fn files_are_removed_when_they_are_replaced_or_refused(b: &mut Bench) {
    b.submit("a");
    b.take("w1", 1);
    let first = b.file("p1");
    b.job(progress("a", "w1", first));
    let second = b.file("p2");
    b.job(progress("a", "w1", second.clone()));
    assert_eq!(b.files(), names(&["p2"]));
    assert_eq!(b.text(&second), "\"in p2\"");
    let stranger = b.file("p3");
    b.refused(progress("a", "w2", stranger));
    let unknown = b.file("p4");
    b.refused(progress("nobody", "w1", unknown));
    let unknown = b.file("o1");
    b.refused(finish("nobody", "w1", Some(unknown)));
    let stranger = b.file("c1");
    b.refused(Command::Chunk { job: j("a"), worker: w("w2"), number: None, value: stranger });
    assert_eq!(b.files(), names(&["p2"]));
    let output = b.file("o2");
    b.job(finish("a", "w1", Some(output)));
    assert_eq!(b.files(), names(&["o2", "p2"]));
}

fn nothing_is_said_after_the_end(b: &mut Bench) {
    b.submit("a");
    b.take("w1", 1);
    b.job(finish("a", "w1", None));
    let done = |refused| matches!(refused, Refused::ByState(Refusal::AlreadyDone, _));
    assert!(done(b.refused(progress("a", "w1", text("1")))));
    assert!(done(b.refused(chunk("a", "w1", Some(1), "1"))));
    assert!(done(b.refused(finish("a", "w1", None))));
}

fn bytes_come_back_as_they_came(b: &mut Bench) {
    let odd = "{ \"é\\u0000\" : 1e400,\n\t\"\" :[ ] }";
    let mut submission = submission("a", 1);
    submission.input = text(odd);
    b.submit_as(submission);
    assert_eq!(b.taken(take("w1", 1))[0].input, text(odd));
    b.job(finish("a", "w1", Some(text(""))));
    assert_eq!(b.reader.output(&j("a")).unwrap(), Some(text("")));
}
