//! Batches: drafts that nobody takes, their release, their end with their last job, and their retention.

use runyard_domain::batch::{Batch, BatchEnd, BatchState, DRAFT_MS, MAX_ACTIVE};
use runyard_domain::{BatchCounts, BatchId, BatchRefusal, Job, Timestamp};
use runyard_store::{BATCH_SLICE, BatchChange, Command, Filter, Reply, Standing};

use crate::bench::*;

conformance!(
    a_draft_waits_runs_and_ends,
    an_addition_is_all_or_nothing_and_happens_once,
    batches_run_behind_other_jobs,
    a_cancel_ends_every_request,
    a_retry_takes_a_batch_up_again,
    results_stay_as_long_as_the_batch,
    requests_leave_drafts_only,
    an_endpoint_has_so_many_active_batches,
    an_abandoned_draft_is_cancelled,
    a_dropped_endpoint_takes_its_batches_along,
    a_large_batch_moves_in_slices_and_the_clock_goes_on_with_it,
);

fn id(name: &str) -> BatchId {
    BatchId::new(name)
}

fn make(b: &mut Bench, name: &str, jobs: &[&str]) -> (Batch, Vec<String>) {
    let made = batch(name, "e", b.now);
    let requests = jobs.iter().map(|job| request(job, &made, b.now, b.file(job))).collect();
    changed(b.one(Command::MakeBatch { batch: Box::new(made), requests, idempotency_key: None }))
}

fn add(b: &Bench, name: &str, jobs: &[&str], key: Option<&str>) -> Command {
    let to = batch(name, "e", b.now);
    let requests = jobs.iter().map(|job| request(job, &to, b.now, b.file(job))).collect();
    Command::AddToBatch { batch: id(name), requests, idempotency_key: key.map(str::to_owned) }
}

fn cancel_batch(name: &str) -> Command {
    Command::CancelBatch { batch: id(name), by: "me".into() }
}

fn changed(reply: Reply) -> (Batch, Vec<String>) {
    match reply {
        Reply::Batch { batch, jobs, .. } => (*batch, ids(&jobs)),
        other => panic!("{other:?}"),
    }
}

fn refusal(reply: Reply) -> BatchRefusal {
    match reply {
        Reply::BatchRefused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn ids(jobs: &[Job]) -> Vec<String> {
    jobs.iter().map(|job| job.id.to_string()).collect()
}

fn look(b: &Bench, name: &str) -> (BatchState, BatchCounts) {
    let (batch, counts) = b.reader.batch(&id(name)).unwrap().unwrap();
    (batch.state, counts)
}

fn ended(at: i64, how: BatchEnd) -> BatchState {
    BatchState::Ended { at: Timestamp(at), how }
}

fn a_draft_waits_runs_and_ends(b: &mut Bench) {
    b.now = 100;
    assert_eq!(make(b, "b", &["x", "y"]).1, ["x", "y"]);
    assert_eq!(b.take("w1", 9), [""; 0], "nobody takes from a draft");
    assert_eq!(b.reader.counts(&e("e")).unwrap().waiting, 0);
    assert_eq!(b.reader.live().unwrap(), []);
    assert_eq!(b.listed(&Filter { standing: Some(Standing::Draft), ..Filter::default() }), ["y", "x"]);
    b.now = 50_000;
    assert_eq!(changed(b.one(Command::FinalizeBatch(id("b")))).1, ["x", "y"]);
    assert_eq!(b.get("x").expires_at, Timestamp(110_000), "its time to live begins now");
    assert_eq!(b.reader.counts(&e("e")).unwrap().waiting, 2);
    assert_eq!(changed(b.one(Command::FinalizeBatch(id("b")))).1, [""; 0], "once is enough");
    assert_eq!(b.take("w1", 1), ["x"]);
    b.job(finish("x", "w1", Some(text("1"))));
    let (state, counts) = look(b, "b");
    assert_eq!(state, BatchState::Finalized { at: Timestamp(50_000) });
    assert_eq!(counts, BatchCounts { waiting: 1, completed: 1, ..BatchCounts::default() });
    assert_eq!(b.take("w1", 1), ["y"]);
    b.now = 51_000;
    b.job(fail("y", "w1"));
    let (state, counts) = look(b, "b");
    assert_eq!(state, ended(51_000, BatchEnd::Completed));
    assert_eq!(counts, BatchCounts { completed: 1, failed: 1, ..BatchCounts::default() });
    assert_eq!(ids(&b.reader.batch_jobs(&id("b"), 0, 9).unwrap()), ["x", "y"]);
    assert_eq!(ids(&b.reader.batch_jobs(&id("b"), 1, 9).unwrap()), ["y"]);
}

fn an_addition_is_all_or_nothing_and_happens_once(b: &mut Bench) {
    make(b, "b", &[]);
    let first = add(b, "b", &["x", "y"], Some("k"));
    assert_eq!(changed(b.one(first)).1, ["x", "y"]);
    let second = add(b, "b", &["x2", "y2"], Some("k"));
    assert_eq!(changed(b.one(second)).1, ["x", "y"], "the first call's");
    assert_eq!(look(b, "b").1.total(), 2);
    let unknown = add(b, "nobody", &["z"], None);
    assert_eq!(refusal(b.one(unknown)), BatchRefusal::NoSuchBatch);
    b.one(Command::FinalizeBatch(id("b")));
    let late = add(b, "b", &["z"], None);
    assert_eq!(refusal(b.one(late)), BatchRefusal::NotDraft);
    assert_eq!(b.files(), names(&["x", "y"]), "inputs of refused requests are gone");
}

fn batches_run_behind_other_jobs(b: &mut Bench) {
    make(b, "b", &["x"]);
    b.all(&[
        submit(low(submission("low", 1))),
        Command::FinalizeBatch(id("b")),
        submit(submission("normal", 2)),
    ]);
    assert_eq!(b.take("w1", 9), ["normal", "x", "low"]);
}

fn a_cancel_ends_every_request(b: &mut Bench) {
    b.now = 7;
    make(b, "b", &["x", "y", "z"]);
    b.one(Command::FinalizeBatch(id("b")));
    b.take("w1", 2);
    b.job(finish("x", "w1", None));
    assert_eq!(changed(b.one(cancel_batch("b"))).1, ["y", "z"]);
    let (state, counts) = look(b, "b");
    assert_eq!(state, ended(7, BatchEnd::Cancelled { by: "me".into() }));
    assert_eq!(counts, BatchCounts { completed: 1, failed: 2, cancelled: 2, ..BatchCounts::default() });
    assert_eq!(changed(b.one(cancel_batch("b"))).1, [""; 0]);
    assert_eq!(refusal(b.one(Command::FinalizeBatch(id("b")))), BatchRefusal::Cancelled);
    make(b, "draft", &["d"]);
    assert_eq!(changed(b.one(cancel_batch("draft"))).1, ["d"]);
}

fn a_retry_takes_a_batch_up_again(b: &mut Bench) {
    b.now = 5;
    make(b, "b", &["x"]);
    b.one(Command::FinalizeBatch(id("b")));
    b.take("w1", 1);
    b.job(fail("x", "w1"));
    assert_eq!(look(b, "b").0, ended(5, BatchEnd::Failed));
    b.now = 6;
    b.job(retry("x"));
    assert_eq!(look(b, "b").0, BatchState::Finalized { at: Timestamp(6) });
    b.take("w2", 1);
    b.job(finish("x", "w2", None));
    assert_eq!(look(b, "b").0, ended(6, BatchEnd::Completed));
}

fn results_stay_as_long_as_the_batch(b: &mut Bench) {
    make(b, "b", &["x", "y"]);
    b.one(Command::FinalizeBatch(id("b")));
    b.take("w1", 1);
    b.job(finish("x", "w1", None));
    b.now = 50_000;
    assert_eq!(
        b.reader.due(Timestamp(b.now), 9).unwrap(),
        [],
        "its retention begins with the end of the batch"
    );
    b.one(expire("x"));
    b.take("w1", 1);
    b.job(finish("y", "w1", None));
    assert_eq!(b.reader.next_due().unwrap(), Some(Timestamp(60_000)));
    b.now = 59_999;
    assert_eq!(b.one(Command::ExpireBatch(id("b"))), Reply::Nothing);
    assert_eq!(b.get("x").id, j("x"));
    b.now = 60_000;
    assert_eq!(b.reader.due_batches(Timestamp(b.now), 9).unwrap(), [id("b")]);
    b.one(Command::ExpireBatch(id("b")));
    assert_eq!(b.reader.batch(&id("b")).unwrap(), None);
    assert_eq!(b.reader.job(&j("x")).unwrap(), None);
    assert_eq!(b.files(), names(&[]));
    assert_eq!(b.reader.next_due().unwrap(), None);
}

fn requests_leave_drafts_only(b: &mut Bench) {
    make(b, "b", &["x", "y"]);
    make(b, "other", &["o"]);
    let remove = |job: &str| Command::ChangeBatch { batch: id("b"), change: BatchChange::Remove(j(job)) };
    assert_eq!(refusal(b.one(remove("o"))), BatchRefusal::NoSuchRequest);
    b.one(remove("x"));
    assert_eq!(look(b, "b").1.total(), 1);
    assert_eq!(b.files(), names(&["y", "o"]));
    b.one(Command::FinalizeBatch(id("b")));
    assert_eq!(refusal(b.one(remove("y"))), BatchRefusal::NotDraft);
    let rename = BatchChange::Rename(Some("mine".into()));
    let (batch, _) = changed(b.one(Command::ChangeBatch { batch: id("b"), change: rename }));
    assert_eq!(batch.name.as_deref(), Some("mine"));
}

fn an_endpoint_has_so_many_active_batches(b: &mut Bench) {
    for n in 0..MAX_ACTIVE {
        make(b, &format!("b{n}"), &[]);
    }
    let more = |b: &Bench, endpoint| Command::MakeBatch {
        batch: Box::new(batch("more", endpoint, b.now)),
        requests: vec![],
        idempotency_key: None,
    };
    assert_eq!(refusal(b.one(more(b, "e"))), BatchRefusal::TooManyActive);
    b.one(Command::FinalizeBatch(id("b3")));
    assert_eq!(look(b, "b3").0, ended(b.now, BatchEnd::Completed), "there was nothing to do");
    changed(b.one(more(b, "e")));
    let newest: Vec<String> =
        b.reader.batches(&e("e"), 0, 2).unwrap().iter().map(|(batch, _)| batch.id.to_string()).collect();
    assert_eq!(newest, ["more", "b9"]);
}

fn an_abandoned_draft_is_cancelled(b: &mut Bench) {
    make(b, "b", &["x"]);
    let made = b.now;
    b.now = made + DRAFT_MS - 1;
    assert_eq!(b.one(Command::ExpireBatch(id("b"))), Reply::Nothing);
    assert_eq!(b.reader.due(Timestamp(b.now), 9).unwrap(), [], "a draft's jobs have no limit of their own");
    b.now = made + DRAFT_MS;
    assert_eq!(changed(b.one(Command::ExpireBatch(id("b")))).1, ["x"]);
    assert!(matches!(look(b, "b").0, BatchState::Ended { how: BatchEnd::Cancelled { .. }, .. }));
}

fn a_dropped_endpoint_takes_its_batches_along(b: &mut Bench) {
    make(b, "b", &["x"]);
    let keyed = add(b, "b", &["y"], Some("k"));
    b.one(keyed);
    b.one(Command::DropEndpoint(e("e")));
    assert_eq!(b.reader.batch(&id("b")).unwrap(), None);
    assert_eq!(b.files(), names(&[]));
    assert_eq!(b.reader.next_due().unwrap(), None);
}

fn a_large_batch_moves_in_slices_and_the_clock_goes_on_with_it(b: &mut Bench) {
    b.now = 5;
    let made = batch("b", "e", b.now);
    let requests = |n: usize| request(&format!("j{n:04}"), &made, 5, text("1"));
    let requests = (0..BATCH_SLICE + 20).map(requests).collect();
    b.one(Command::MakeBatch { batch: Box::new(made.clone()), requests, idempotency_key: None });
    let due = |b: &Bench| b.reader.due_batches(Timestamp(b.now), 9).unwrap();
    let expire = || Command::ExpireBatch(id("b"));

    let (finalized, first) = changed(b.one(Command::FinalizeBatch(id("b"))));
    assert_eq!((finalized.is_draft(), first.len(), first[0].as_str()), (false, BATCH_SLICE, "j0000"));
    assert_eq!(b.reader.counts(&e("e")).unwrap().waiting, BATCH_SLICE as u64);
    b.one(Command::ChangeBatch { batch: id("b"), change: BatchChange::Rename(Some("mine".into())) });
    assert_eq!((due(b), b.reader.next_due().unwrap()), (vec![id("b")], Some(Timestamp(5))));
    assert_eq!(changed(b.one(expire())).1.len(), 20, "after a crash the clock releases the rest");
    assert_eq!(due(b), []);
    assert_eq!(changed(b.one(Command::FinalizeBatch(id("b")))).1, [""; 0]);

    assert_eq!(changed(b.one(cancel_batch("b"))).1.len(), BATCH_SLICE);
    assert_eq!(due(b), [id("b")]);
    let (cancelled, rest) = changed(b.one(cancel_batch("b")));
    assert_eq!((cancelled.is_cancelled(), rest.len()), (true, 20), "its caller goes on with it");
    assert_eq!((due(b), look(b, "b").1.live()), (vec![], 0));

    b.now += 10_000;
    b.one(expire());
    assert_eq!((due(b), look(b, "b").1.total()), (vec![id("b")], 20));
    b.one(expire());
    assert_eq!((b.reader.batch(&id("b")).unwrap(), b.reader.next_due().unwrap()), (None, None));
}
