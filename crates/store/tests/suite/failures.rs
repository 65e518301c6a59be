//! Failures by fingerprint: counted where the job fails, once for each end, bounded, and kept longer than the jobs.

use runyard_domain::job::Answer;
use runyard_domain::reason::fingerprint::GROUPS;
use runyard_domain::{FailReason, FailureGroup, Job, Timestamp};
use runyard_store::{Command, Reply};

use crate::bench::{Bench, cancel, e, expire, finish, j, pinned, retry, submission, submit, take, w};

conformance!(
    failures_of_one_kind_are_one_group,
    limits_are_failures_and_cancels_and_tests_are_none,
    groups_outlive_their_jobs_and_go_with_their_endpoint,
    of_too_many_groups_the_last_seen_stay,
);

fn raise(id: &str, worker: &str, message: &str) -> Command {
    let reason = FailReason::HandlerException {
        kind: "ValueError".into(),
        message: message.into(),
        file: Some("handler.py".into()),
        line: Some(7),
    };
    let answer = Answer::Failure { error: message.into(), reason };
    Command::Finish { job: j(id), worker: w(worker), answer, output: None, posted: None }
}

fn groups(bench: &Bench) -> Vec<FailureGroup> {
    bench.reader.failures(&e("e")).unwrap()
}

fn failures_of_one_kind_are_one_group(bench: &mut Bench) {
    bench.now = 1_000;
    bench.all(&["a", "b", "c", "d"].map(|id| submit(submission(id, 1_000))));
    bench.one(take("w", 4));
    bench.now = 2_000;
    bench.all(&[raise("a", "w", "row 1"), raise("b", "w", "row 22"), finish("d", "w", None)]);
    bench.now = 3_000;
    // The answer that comes twice counts once.
    bench.all(&[raise("c", "w", "no rows"), raise("c", "w", "no rows"), retry("a")]);
    bench.one(take("w", 1));
    bench.one(raise("a", "w", "row 333"));
    let found = groups(bench);
    let seen: Vec<_> = found.iter().map(|g| (g.title.as_str(), g.count, g.first_at.0, g.last_at.0)).collect();
    let (rows, none) = (("ValueError: row #", 3, 2_000, 3_000), ("ValueError: no rows", 1, 3_000, 3_000));
    assert!(seen == [rows, none] || seen == [none, rows], "{seen:?}");
    let group = found.iter().find(|g| g.count == 3).unwrap();
    assert_eq!((group.first_release, group.releases[&1], group.job.as_str()), (Some(1), 3, "a"));
    assert_eq!(
        (group.code.as_str(), group.sentence.as_str()),
        ("handler_exception", "ValueError: row 333 (handler.py:7)")
    );
}

fn limits_are_failures_and_cancels_and_tests_are_none(bench: &mut Bench) {
    bench.all(&[submit(submission("a", 1_000)), submit(submission("b", 1_000))]);
    bench.one(submit(pinned(1, submission("t", 1_000))));
    bench.one(Command::Take {
        endpoint: e("e"),
        worker: w("w"),
        release: 1,
        pinned_only: true,
        max: 1,
        ahead: 0,
    });
    bench.all(&[cancel("a"), raise("t", "w", "in a test")]);
    assert_eq!(groups(bench), []);
    bench.now += 60_000;
    bench.one(expire("b"));
    let found = groups(bench);
    assert_eq!((found.len(), found[0].code.as_str(), found[0].first_release), (1, "ttl_expired", None));
}

fn groups_outlive_their_jobs_and_go_with_their_endpoint(bench: &mut Bench) {
    bench.all(&[submit(submission("a", 1_000)), take("w", 1), raise("a", "w", "x")]);
    bench.now += 20_000;
    assert!(matches!(bench.one(expire("a")), Reply::Forgotten(_)));
    assert_eq!(groups(bench).len(), 1);
    bench.all(&[submit(submission("b", 1_000)), take("w2", 1), raise("b", "w2", "y")]);
    bench.all(&[
        submit(submission("c", 1_000)),
        take("w3", 1),
        raise("c", "w3", "z"),
        Command::DropEndpoint(e("e")),
    ]);
    assert_eq!(groups(bench), []);
}

fn of_too_many_groups_the_last_seen_stay(bench: &mut Bench) {
    let name = |n: usize| {
        let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
        format!("{}{}", letter(n / 26), letter(n))
    };
    for n in 0..GROUPS + 5 {
        bench.now += 1_000;
        let id = format!("job-{n}");
        bench.all(&[submit(submission(&id, 1_000)), take("w", 1), raise(&id, "w", &name(n))]);
    }
    let titles: Vec<String> = groups(bench).into_iter().map(|group| group.title).collect();
    assert_eq!(titles.len(), GROUPS);
    assert_eq!(titles[0], format!("ValueError: {}", name(GROUPS + 4)));
    assert_eq!(titles.last(), Some(&format!("ValueError: {}", name(5))));
}

#[test]
fn groups_survive_a_restart() {
    let mut bench = Bench::sqlite();
    bench.all(&[submit(submission("a", 1_000)), take("w", 1), raise("a", "w", "row 1")]);
    let mut bench = bench.reopen();
    bench.all(&[submit(submission("b", 1_000)), take("w", 1), raise("b", "w", "row 2")]);
    assert_eq!(groups(&bench).iter().map(|group| group.count).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_lost_attempt_is_kept_with_its_job() {
    let mut bench = Bench::memory();
    bench.now = 1_000;
    bench.all(&[submit(submission("a", 1_000))]);
    bench.now = 3_000;
    bench.one(take("w", 1));
    bench.now = 5_000;
    bench.one(crate::bench::lose("w", runyard_store::Which::All, true));
    bench.now = 6_000;
    bench.one(take("w2", 1));
    bench.now = 9_000;
    bench.one(raise("a", "w2", "x"));
    bench.one(retry("a"));
    let Job { attempts, .. } = bench.get("a");
    let seen: Vec<_> = attempts
        .iter()
        .map(|a| (a.worker.as_str(), a.queued_at, a.started, a.ended, a.code.as_str()))
        .collect();
    let at = Timestamp;
    assert_eq!(
        seen,
        [
            ("w", at(1_000), at(3_000), at(5_000), "worker_lost"),
            ("w2", at(5_000), at(6_000), at(9_000), "handler_exception"),
        ]
    );
}
