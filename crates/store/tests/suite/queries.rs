//! Lists: jobs by filter and by page, live jobs, jobs that are due.

use runyard_domain::{JobId, Timestamp};
use runyard_store::{Command, Filter, Standing};

use crate::bench::*;

conformance!(
    filters_pick,
    ends_are_found_by_their_time,
    pages_follow_each_other,
    pages_have_bounds,
    live_jobs_come_by_number,
    due_jobs_come_most_overdue_first,
);

fn filters_pick(b: &mut Bench) {
    for (n, id) in ["completed", "failed", "timed-out", "cancelled", "running", "waiting"].iter().enumerate()
    {
        b.submit_as(submission(id, 1_000 + n as i64));
    }
    b.submit_as(of("other", submission("foreign", 1_002)));
    b.take("w1", 5);
    b.job(finish("completed", "w1", None));
    b.job(fail("failed", "w1"));
    b.job(cancel("cancelled"));
    b.now += 5_000;
    b.job(expire("timed-out"));
    let everything = ["waiting", "running", "cancelled", "foreign", "timed-out", "failed", "completed"];
    assert_eq!(b.listed(&Filter::default()), everything);
    let of_e = Filter { endpoint: Some(e("e")), ..Filter::default() };
    assert_eq!(b.listed(&of_e), everything.into_iter().filter(|id| *id != "foreign").collect::<Vec<_>>());
    for (standing, id) in [
        (Standing::Running, "running"),
        (Standing::Completed, "completed"),
        (Standing::Failed, "failed"),
        (Standing::Cancelled, "cancelled"),
        (Standing::TimedOut, "timed-out"),
    ] {
        assert_eq!(b.listed(&Filter { standing: Some(standing), ..Filter::default() }), [id]);
        assert_eq!(b.listed(&Filter { standing: Some(standing), ..of_e.clone() }), [id]);
    }
    let waiting = Filter { standing: Some(Standing::Waiting), ..Filter::default() };
    assert_eq!(b.listed(&waiting), ["waiting", "foreign"]);
    let since = Filter { since: Some(Timestamp(1_004)), ..of_e.clone() };
    assert_eq!(b.listed(&since), ["waiting", "running"]);
    let until = Filter { since: Some(Timestamp(1_002)), until: Some(Timestamp(1_004)), ..of_e.clone() };
    assert_eq!(b.listed(&until), ["cancelled", "timed-out"]);
    let between = Filter { since: Some(Timestamp(1_002)), before: Some(j("running")), ..of_e };
    assert_eq!(b.listed(&between), ["cancelled", "timed-out"]);
    assert_eq!(b.listed(&Filter { before: Some(j("nobody")), ..Filter::default() }), [""; 0]);
}

fn ends_are_found_by_their_time(b: &mut Bench) {
    for (n, id) in ["first", "second", "third", "runs"].iter().enumerate() {
        b.submit_as(submission(id, 1_000 + n as i64));
    }
    b.submit_as(of("other", submission("foreign", 1_010)));
    b.submit_as(pinned(1, submission("test", 1_020)));
    // Who came first ends last.
    for (id, at) in
        [("third", 2_000), ("second", 3_000), ("first", 4_000), ("foreign", 3_000), ("test", 3_000)]
    {
        b.now = at;
        b.job(cancel(id));
    }
    b.take("w1", 1);
    let between = |since: Option<i64>, until: Option<i64>| Filter {
        ended_since: since.map(Timestamp),
        ended_until: until.map(Timestamp),
        ..Filter::default()
    };
    let all = ["test", "foreign", "third", "second", "first"];
    assert_eq!(b.listed(&between(Some(0), None)), all, "the newest submission first, and none that runs");
    assert_eq!(b.listed(&between(None, Some(3_000))), ["third"]);
    assert_eq!(b.listed(&between(Some(3_000), Some(4_000))), ["test", "foreign", "second"]);
    assert_eq!(b.listed(&between(Some(4_001), None)), [""; 0]);
    let of_e = Filter { endpoint: Some(e("e")), no_tests: true, ..between(Some(3_000), None) };
    assert_eq!(b.listed(&of_e), ["second", "first"]);
    assert_eq!(
        b.listed(&Filter { standing: Some(Standing::Cancelled), ..of_e.clone() }),
        ["second", "first"]
    );
    for other in [Standing::Running, Standing::Waiting, Standing::Failed] {
        assert_eq!(b.listed(&Filter { standing: Some(other), ..of_e.clone() }), [""; 0]);
    }
    assert_eq!(b.listed(&Filter { since: Some(Timestamp(1_001)), ..of_e.clone() }), ["second"]);
    assert_eq!(b.listed(&Filter { limit: 1, ..of_e.clone() }), ["second"]);
    assert_eq!(b.listed(&Filter { before: Some(j("second")), ..of_e }), ["first"]);
    let tests_too = b.listed(&Filter { endpoint: Some(e("e")), ..Filter::default() });
    let without = b.listed(&Filter { endpoint: Some(e("e")), no_tests: true, ..Filter::default() });
    assert_eq!((tests_too.len(), without.len()), (5, 4));
    // One that is taken up again has no end.
    b.now = 5_000;
    b.job(fail("runs", "w1"));
    assert_eq!(b.listed(&between(Some(5_000), None)), ["runs"]);
    b.job(retry("runs"));
    assert_eq!(b.listed(&between(Some(5_000), None)), [""; 0]);
}

fn pages_follow_each_other(b: &mut Bench) {
    // Many in the same millisecond: the order of submission decides.
    let commands: Vec<Command> = (0..25).map(|n| submit(submission(&format!("j{n:02}"), n / 10))).collect();
    b.all(&commands);
    let mut seen: Vec<String> = vec![];
    let mut before: Option<JobId> = None;
    loop {
        let page = b.listed(&Filter { before, limit: 4, ..Filter::default() });
        let Some(last) = page.last() else { break };
        before = Some(j(last));
        assert!(page.len() == 4 || seen.len() == 24);
        seen.extend(page);
    }
    let wanted: Vec<String> = (0..25).rev().map(|n| format!("j{n:02}")).collect();
    assert_eq!(seen, wanted);
}

fn pages_have_bounds(b: &mut Bench) {
    let commands: Vec<Command> = (0..1_100).map(|n| submit(submission(&format!("j{n}"), n))).collect();
    b.all(&commands);
    let count = |limit| b.listed(&Filter { limit, ..Filter::default() }).len();
    assert_eq!((count(0), count(7), count(5_000)), (100, 7, 1_000));
}

fn live_jobs_come_by_number(b: &mut Bench) {
    for id in ["a", "b", "c", "d"] {
        b.submit(id);
    }
    b.submit_as(of("other", submission("f", 1)));
    b.take("w1", 3);
    b.job(finish("b", "w1", None));
    b.job(fail("a", "w1"));
    b.job(retry("a"));
    let live: Vec<String> = b.reader.live().unwrap().into_iter().map(|job| job.id.to_string()).collect();
    assert_eq!(live, ["c", "d", "f", "a"]);
}

fn due_jobs_come_most_overdue_first(b: &mut Bench) {
    assert_eq!(b.reader.next_due().unwrap(), None);
    b.submit_as(submission("later", 3_000));
    b.submit_as(submission("sooner", 2_000));
    b.submit_as(submission("first", 1_000));
    assert_eq!(b.reader.next_due().unwrap(), Some(Timestamp(61_000)));
    let due = |b: &Bench, now, limit| b.reader.due(Timestamp(now), limit).unwrap();
    assert_eq!(due(b, 60_999, 9), []);
    assert_eq!(due(b, 62_000, 9), [j("first"), j("sooner")]);
    assert_eq!(due(b, 99_000, 2), [j("first"), j("sooner")]);
    // Running: 5 s from the start. Done: 10 s of retention from the end.
    b.now = 4_000;
    b.take("w1", 1);
    assert_eq!(b.reader.next_due().unwrap(), Some(Timestamp(9_000)));
    b.now = 5_000;
    b.job(finish("later", "w1", None));
    assert_eq!(b.reader.next_due().unwrap(), Some(Timestamp(15_000)));
    assert_eq!(due(b, 15_000, 9), [j("later")]);
}
