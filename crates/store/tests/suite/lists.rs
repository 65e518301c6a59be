//! Lists: what a worker holds beyond what it starts at once, how it comes to it, and how it is called back.

use runyard_domain::job::Refusal;
use runyard_domain::{Phase, Timestamp};
use runyard_store::{AHEAD_BYTES, Command, Filter, Refused, Standing, Submission, Which};

use crate::bench::*;

conformance!(
    what_is_ahead_is_held_and_still_waits_for_its_client,
    a_job_begins_once_and_at_its_holder,
    only_normal_priority_is_held,
    inputs_of_held_jobs_stay_within_their_bytes,
    a_call_back_takes_only_what_has_not_started,
    a_lost_list_spends_the_running_job_only,
    a_purge_ends_held_jobs_too,
    a_held_job_streams_for_nobody_before_it_begins_anew,
);

fn take_list(worker: &str, max: usize, ahead: usize) -> Command {
    Command::Take { endpoint: e("e"), worker: w(worker), release: 1, pinned_only: false, max, ahead }
}

fn begin(id: &str, worker: &str) -> Command {
    Command::Begin { job: j(id), worker: w(worker) }
}

fn listed(b: &mut Bench, worker: &str, count: usize) -> Vec<String> {
    let ids: Vec<String> = (0..count).map(|n| format!("{worker}-{n}")).collect();
    for id in &ids {
        b.submit(id);
    }
    let taken = b.taken(take_list(worker, 1, 9));
    assert_eq!(taken.iter().map(|t| t.job.id.to_string()).collect::<Vec<_>>(), ids);
    ids
}

fn what_is_ahead_is_held_and_still_waits_for_its_client(b: &mut Bench) {
    let ids = listed(b, "w1", 3);
    b.submit("next");
    let held = b.get(&ids[1]);
    let phase =
        Phase::Held { worker: w("w1"), release: 1, queued_at: Timestamp(1_000), handed: Timestamp(b.now) };
    assert_eq!((&held.phase, held.attempt), (&phase, 0));
    assert_eq!(Standing::of(&held), Standing::Waiting);
    let counts = b.reader.counts(&e("e")).unwrap();
    assert_eq!((counts.waiting, counts.running), (3, 1));
    let waiting = Filter { standing: Some(Standing::Waiting), ..Filter::default() };
    assert_eq!(b.listed(&waiting), ["next", &ids[2], &ids[1]]);
    let page = Filter { before: Some(j("next")), limit: 1, endpoint: Some(e("e")), ..waiting };
    assert_eq!(b.listed(&page), [ids[2].as_str()]);
    assert_eq!(b.reader.live().unwrap().len(), 4);
    assert_eq!(b.take("w2", 9), ["next"], "leases are exclusive");
}

fn a_job_begins_once_and_at_its_holder(b: &mut Bench) {
    let ids = listed(b, "w1", 2);
    let of_another = b.refused(begin(&ids[1], "w2"));
    assert!(matches!(of_another, Refused::ByState(Refusal::NotHeld, _)));
    b.now = 4_000;
    b.all(&[finish(&ids[0], "w1", None), begin(&ids[1], "w1")]);
    let Phase::Running { started, queued_at, .. } = b.get(&ids[1]).phase else { panic!() };
    assert_eq!((started, queued_at), (Timestamp(4_000), Timestamp(1_000)));
    assert!(matches!(b.refused(begin(&ids[1], "w1")), Refused::ByState(Refusal::NotHeld, _)));
    assert_eq!(b.reader.due(Timestamp(9_000), 9).unwrap(), [j(&ids[1])], "its execution timeout runs");
    let counts = b.reader.counts(&e("e")).unwrap();
    assert_eq!((counts.waiting, counts.running, counts.completed), (0, 1, 1));
}

fn only_normal_priority_is_held(b: &mut Bench) {
    b.submit_as(pinned(1, submission("test", 1)));
    b.submit_as(pinned(1, submission("test-2", 1)));
    b.submit("a");
    b.submit("b");
    b.submit_as(low(submission("low", 1)));
    let taken = b.taken(take_list("w1", 1, 9));
    let ids: Vec<&str> = taken.iter().map(|t| t.job.id.as_str()).collect();
    assert_eq!(ids, ["test", "a", "b"]);
    assert_eq!(b.take("w2", 9), ["test-2", "low"]);
    b.submit("c");
    let taken = b.taken(take_list("w3", 3, 9));
    assert!(taken.iter().all(|t| !t.job.is_held()), "what it asked for it starts");
}

fn inputs_of_held_jobs_stay_within_their_bytes(b: &mut Bench) {
    let half = "x".repeat(AHEAD_BYTES as usize / 2);
    for id in ["a", "b", "c", "d"] {
        b.submit_as(Submission { input: text(&half), ..submission(id, 1) });
    }
    assert_eq!(b.taken(take_list("w1", 1, 9)).len(), 3, "one to start, two halves ahead");
    assert_eq!(b.take("w2", 9), ["d"]);
}

fn a_call_back_takes_only_what_has_not_started(b: &mut Bench) {
    let ids = listed(b, "w1", 4);
    listed(b, "w2", 2);
    b.now = 7_000;
    b.all(&[finish(&ids[0], "w1", None), begin(&ids[1], "w1")]);
    assert_eq!(b.jobs(Command::CallBack { worker: w("w1") }), ids[2..]);
    assert_eq!(b.get(&ids[2]).phase, Phase::Waiting { since: Timestamp(1_000) });
    assert!(matches!(b.get(&ids[1]).phase, Phase::Running { .. }));
    assert_eq!(b.take("w1", 9), [""; 0], "it may run them all the same");
    assert_eq!(b.take("w3", 9), ids[2..]);
    assert_eq!(b.reader.counts(&e("e")).unwrap().retried, 0);
    let late = b.job(finish(&ids[2], "w1", Some(text("1"))));
    assert!(late.is_done(), "its answer counts if it is the first");
    assert!(matches!(b.refused(finish(&ids[2], "w3", None)), Refused::ByState(Refusal::AlreadyDone, _)));
}

fn a_lost_list_spends_the_running_job_only(b: &mut Bench) {
    let ids = listed(b, "w1", 3);
    assert_eq!(b.jobs(lose("w1", Which::All, true)), ids);
    let losses: Vec<_> = ids.iter().map(|id| (b.get(id).attempt, b.get(id).losses)).collect();
    assert_eq!(losses, [(1, 1), (0, 0), (0, 0)]);
    assert_eq!(b.reader.counts(&e("e")).unwrap().retried, 1);
    assert_eq!(b.take("w2", 9), ids);
}

fn a_purge_ends_held_jobs_too(b: &mut Bench) {
    let ids = listed(b, "w1", 3);
    b.submit("next");
    let purge = Command::Purge { endpoint: e("e"), by: "purge by me".into() };
    assert_eq!(b.jobs(purge), [ids[1].as_str(), &ids[2], "next"]);
    let counts = b.reader.counts(&e("e")).unwrap();
    assert_eq!((counts.waiting, counts.running, counts.cancelled), (0, 1, 3));
}

fn a_held_job_streams_for_nobody_before_it_begins_anew(b: &mut Bench) {
    let ids = listed(b, "w1", 2);
    b.job(chunk(&ids[1], "w1", Some(1), "1"));
    assert_eq!(b.stream(&ids[1], 99).0.len(), 1);
    b.jobs(give_back("w1", Which::All));
    assert!(b.stream(&ids[1], 99).0.is_empty());
    assert_eq!(b.take("w1", 9), ids);
}

#[test]
fn lists_come_back_after_a_restart() {
    let mut b = Bench::sqlite();
    let ids = listed(&mut b, "w1", 3);
    let before: Vec<_> = ids.iter().map(|id| b.get(id)).collect();
    let mut b = b.reopen();
    assert_eq!(ids.iter().map(|id| b.get(id)).collect::<Vec<_>>(), before);
    b.all(&[finish(&ids[0], "w1", None), begin(&ids[1], "w1")]);
    assert!(matches!(b.get(&ids[1]).phase, Phase::Running { .. }));
    assert_eq!(b.jobs(Command::CallBack { worker: w("w1") }), [ids[2].as_str()]);
}
