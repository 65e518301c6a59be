//! The outbox of webhooks: every end of a job that has one makes a delivery, which holds the job until it is
//! settled or a day is over.

use runyard_domain::delivery::{Delivery, DeliveryState, HOLD_MS};
use runyard_domain::{DeliveryId, Outcome, Phase, Timestamp};
use runyard_store::{Command, Reply, Which};

use crate::bench::*;

conformance!(
    every_end_makes_a_delivery,
    a_job_without_a_webhook_or_without_an_end_makes_none,
    tries_are_kept_until_one_settles_it,
    a_retried_job_that_ends_again_makes_another,
    pending_ones_come_soonest_first_and_without_busy_destinations,
    a_pending_delivery_holds_its_job_for_a_day,
    a_settled_delivery_lets_its_job_go,
    deliveries_go_with_their_jobs,
    a_settled_delivery_begins_anew,
);

fn hooked(b: &mut Bench, id: &str) {
    let at = b.now;
    b.submit_as(webhook("http://h/x", submission(id, at)));
}

fn pending(b: &Bench, without: &[&str], limit: usize) -> Vec<String> {
    let without: Vec<String> = without.iter().map(|&name| name.to_owned()).collect();
    let found = b.reader.pending_deliveries(&without, limit).unwrap();
    found.into_iter().map(|d| d.job.to_string()).collect()
}

fn only(b: &Bench, id: &str) -> Delivery {
    let mut all = b.reader.deliveries(&j(id)).unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn every_end_makes_a_delivery(b: &mut Bench) {
    for id in ["completed", "failed", "lost", "slow", "cancelled", "purged", "expired"] {
        hooked(b, id);
    }
    b.take("w1", 4);
    b.now = 2_000;
    b.job(finish("completed", "w1", None));
    b.job(fail("failed", "w1"));
    b.jobs(lose("w1", Which::Jobs(vec![j("lost")]), true));
    b.job(cancel("cancelled"));
    b.job(cancel("lost"));
    b.now = 61_000;
    b.job(expire("slow"));
    b.job(expire("expired"));
    b.jobs(Command::Purge { endpoint: e("e"), by: "purge by me".into() });
    for id in ["completed", "failed", "lost", "slow", "cancelled", "purged", "expired"] {
        let (job, delivery) = (b.get(id), only(b, id));
        let Phase::Done { at, .. } = job.phase else { panic!("{id} has not ended") };
        assert_eq!(delivery, Delivery::of(&job).unwrap());
        assert_eq!(delivery.state, DeliveryState::Pending { next_at: at });
        assert_eq!((delivery.url.as_str(), delivery.tries.len()), ("http://h/x", 0));
    }
    assert_eq!(only(b, "failed").id, DeliveryId::new("msg_failed-2"));
}

fn a_job_without_a_webhook_or_without_an_end_makes_none(b: &mut Bench) {
    b.submit("plain");
    hooked(b, "given-back");
    hooked(b, "waits");
    b.take("w1", 2);
    b.job(finish("plain", "w1", None));
    b.jobs(give_back("w1", Which::All));
    b.refused(cancel("plain"));
    assert_eq!(pending(b, &[], 9), [""; 0]);
    for id in ["plain", "given-back", "waits", "nobody"] {
        assert_eq!(b.reader.deliveries(&j(id)).unwrap(), [], "{id}");
    }
}

fn tries_are_kept_until_one_settles_it(b: &mut Bench) {
    hooked(b, "a");
    b.job(cancel("a"));
    let id = only(b, "a").id;
    b.now = 2_000;
    let Reply::Tried { delivery, .. } = b.one(tried(&id, 2_000, 503, Some(Timestamp(7_000)))) else {
        panic!()
    };
    assert_eq!(delivery.state, DeliveryState::Pending { next_at: Timestamp(7_000) });
    assert_eq!(*delivery, only(b, "a"));
    b.now = 7_000;
    b.one(tried(&id, 7_000, 200, Some(Timestamp(9_000))));
    let settled = only(b, "a");
    assert_eq!(settled.state, DeliveryState::Delivered { at: Timestamp(7_000), status: 200 });
    assert_eq!((settled.tried, settled.tries.len()), (2, 2));
    assert_eq!(
        b.one(tried(&id, 8_000, 500, Some(Timestamp(9_000)))),
        Reply::Nothing,
        "a late try changes nothing"
    );
    assert_eq!(b.one(tried(&DeliveryId::new("msg_nobody"), 1, 200, None)), Reply::Nothing);
    assert_eq!(only(b, "a"), settled);
    hooked(b, "b");
    b.job(cancel("b"));
    let id = only(b, "b").id;
    b.one(tried(&id, 7_000, 500, None));
    assert_eq!(only(b, "b").state, DeliveryState::GivenUp { at: Timestamp(7_000) });
    assert_eq!(pending(b, &[], 9), [""; 0]);
}

fn a_retried_job_that_ends_again_makes_another(b: &mut Bench) {
    hooked(b, "a");
    b.take("w1", 1);
    b.job(fail("a", "w1"));
    b.job(retry("a"));
    assert_eq!(pending(b, &[], 9), ["a"], "the first end is still to be told");
    b.take("w2", 1);
    b.now = 3_000;
    b.job(finish("a", "w2", None));
    let all = b.reader.deliveries(&j("a")).unwrap();
    let ids: Vec<&str> = all.iter().map(|d| d.id.as_str()).collect();
    assert_eq!(ids, ["msg_a-1", "msg_a-2"]);
    assert!(matches!(&all[0].end, Phase::Done { outcome: Outcome::Failed { .. }, .. }), "{:?}", all[0]);
    assert!(matches!(&all[1].end, Phase::Done { outcome: Outcome::Completed, .. }), "{:?}", all[1]);
    assert_eq!(pending(b, &[], 9), ["a", "a"]);
}

fn pending_ones_come_soonest_first_and_without_busy_destinations(b: &mut Bench) {
    for (id, url) in
        [("a", "http://one/x"), ("b", "http://TWO:81/"), ("c", "http://one/y"), ("d", "http://two/")]
    {
        let at = b.now;
        b.submit_as(webhook(url, submission(id, at)));
        b.job(cancel(id));
    }
    b.one(tried(&only(b, "a").id, 1_000, 500, Some(Timestamp(9_000))));
    assert_eq!(pending(b, &[], 9), ["b", "c", "d", "a"]);
    assert_eq!(pending(b, &[], 2), ["b", "c"]);
    assert_eq!(pending(b, &["one"], 9), ["b", "d"]);
    assert_eq!(pending(b, &["one", "two:81", "a\"b"], 9), ["d"]);
}

fn a_pending_delivery_holds_its_job_for_a_day(b: &mut Bench) {
    hooked(b, "a");
    b.now = 2_000;
    b.job(cancel("a"));
    let until = Timestamp(2_000 + HOLD_MS);
    assert_eq!(b.reader.next_due().unwrap(), Some(until));
    b.now = until.0 - 1;
    assert_eq!(b.reader.due(Timestamp(b.now), 9).unwrap(), []);
    b.refused(expire("a"));
    b.one(tried(&only(b, "a").id, b.now, 500, Some(until.plus(5_000))));
    assert_eq!(b.reader.next_due().unwrap(), Some(until));
    b.now = until.0;
    assert_eq!(b.reader.due(until, 9).unwrap(), [j("a")]);
    assert_eq!(b.one(expire("a")), Reply::Forgotten(j("a")));
    assert_eq!(pending(b, &[], 9), [""; 0]);
}

fn a_settled_delivery_lets_its_job_go(b: &mut Bench) {
    for (id, status) in [("heard", 200), ("given-up", 500)] {
        hooked(b, id);
        b.job(cancel(id));
        let Reply::Tried { due_at, .. } = b.one(tried(&only(b, id).id, b.now, status, None)) else {
            panic!()
        };
        assert_eq!(due_at, Timestamp(11_000), "10 s of retention from the end");
    }
    assert_eq!(b.reader.next_due().unwrap(), Some(Timestamp(11_000)));
    b.now = 11_000;
    for id in ["heard", "given-up"] {
        assert_eq!(b.one(expire(id)), Reply::Forgotten(j(id)));
        assert_eq!(b.reader.deliveries(&j(id)).unwrap(), []);
    }
    // Settled while the job waits again: its limits are those of a waiting job.
    hooked(b, "retried");
    b.take("w1", 1);
    b.job(fail("retried", "w1"));
    let first = only(b, "retried").id;
    b.job(retry("retried"));
    let Reply::Tried { due_at, .. } = b.one(tried(&first, b.now, 200, None)) else { panic!() };
    assert_eq!((due_at, b.reader.next_due().unwrap()), (Timestamp(71_000), Some(Timestamp(71_000))));
    // Of two deliveries the one that is left still holds it.
    b.take("w2", 1);
    b.job(fail("retried", "w2"));
    b.job(retry("retried"));
    b.job(cancel("retried"));
    let all = b.reader.deliveries(&j("retried")).unwrap();
    b.one(tried(&all[2].id, b.now, 200, None));
    assert_eq!(b.reader.next_due().unwrap(), Some(Timestamp(11_000 + HOLD_MS)));
}

fn deliveries_go_with_their_jobs(b: &mut Bench) {
    b.one(Command::PutEndpoint(Box::new(endpoint("e", "mine"))));
    hooked(b, "a");
    let at = b.now;
    b.submit_as(of("other", webhook("http://h/", submission("b", at))));
    b.job(cancel("a"));
    b.job(cancel("b"));
    b.one(Command::DropEndpoint(e("e")));
    assert_eq!(pending(b, &[], 9), ["b"]);
    assert_eq!(b.reader.deliveries(&j("a")).unwrap(), []);
}

fn a_settled_delivery_begins_anew(b: &mut Bench) {
    hooked(b, "a");
    b.job(cancel("a"));
    let id = only(b, "a").id;
    b.one(tried(&id, b.now, 500, None));
    assert_eq!(pending(b, &[], 9), [""; 0]);
    let due = b.reader.next_due().unwrap();
    b.now += 1_500;
    let Reply::Tried { delivery, due_at } = b.one(Command::Redeliver(id.clone())) else { panic!() };
    assert_eq!(delivery.state, DeliveryState::Pending { next_at: Timestamp(b.now) });
    assert_eq!((delivery.tried, delivery.tries.len(), only(b, "a")), (0, 1, *delivery));
    assert_eq!(pending(b, &[], 9), ["a"]);
    assert_eq!(b.reader.next_due().unwrap(), Some(due_at), "it holds its job");
    assert!(Some(due_at) > due);
    b.one(tried(&id, b.now, 200, None));
    assert_eq!((only(b, "a").tried, b.reader.next_due().unwrap()), (1, due));
    assert_eq!(b.one(Command::Redeliver(DeliveryId::new("msg_none"))), Reply::Nothing);
}
