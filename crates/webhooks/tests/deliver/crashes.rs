//! What a kill leaves is delivered by whoever starts next, at least once and under the same id.

use runyard_domain::JobId;
use runyard_domain::delivery::{DeliveryState, Patience};
use runyard_engine::Change;
use runyard_store::Command;
use runyard_vault::Signer;
use runyard_webhooks::{Options, Reach};

use crate::house::{House, submission};
use crate::receiver::{Act, Receiver};

fn signed(options: Options) -> Options {
    let signer = Signer::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    Options { signer, reach: Reach::PublicAndLoopback, ..options }
}

#[tokio::test]
async fn an_end_that_was_committed_and_not_sent_is_sent() {
    let mut receiver = Receiver::start(&[Act::Answer(200)]).await;
    let house = House::new();
    house.ended("j", &receiver.url("/"), "1", Ok("2"));
    assert_eq!(receiver.more(), 0);
    let open = house.open();
    assert_eq!(receiver.next().await.json()["id"], "j");
    open.delivered("j").await;
    // And once it was taken, another start sends nothing.
    let open = open.kill().await.open();
    open.handle.nudge();
    assert!(matches!(open.deliveries("j")[0].state, DeliveryState::Delivered { .. }));
    assert_eq!(receiver.more(), 0);
}

#[tokio::test]
async fn a_try_that_was_cut_off_is_made_again_under_the_same_id() {
    let mut receiver = Receiver::start(&[Act::Silence, Act::Answer(200)]).await;
    let house = House::new();
    house.ended("j", &receiver.url("/"), "1", Ok("2"));
    let open = house.open_as(signed);
    let first = receiver.next().await;
    let house = open.kill().await;
    let open = house.open_as(signed);
    let second = receiver.next().await;
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!(first.body, second.body);
    assert_eq!(open.delivered("j").await.tried, 1, "the first one was never recorded");
}

#[tokio::test]
async fn a_restart_goes_on_where_the_tries_were() {
    let mut receiver = Receiver::start(&[Act::Answer(500), Act::Answer(500), Act::Answer(200)]).await;
    let house = House::new();
    house.ended("j", &receiver.url("/"), "1", Ok("2"));
    let open = house.open();
    open.tried("j", 1).await;
    let house = open.kill().await;
    house.advance(4_000);
    let open = house.open();
    open.advance(1_000);
    open.tried("j", 2).await;
    // Away for longer than the pause: tried at once.
    let house = open.kill().await;
    house.advance(60_000);
    let open = house.open();
    let delivery = open.delivered("j").await;
    assert_eq!(delivery.tried, 3);
    assert_eq!(delivery.tries.iter().map(|tried| tried.at.0).collect::<Vec<_>>().len(), 3);
    for _ in 0..3 {
        receiver.next().await;
    }
    assert_eq!(receiver.more(), 0);
}

#[tokio::test]
async fn many_ends_around_many_kills_all_arrive() {
    let mut receiver = Receiver::start(&[Act::Answer(200)]).await;
    let url = receiver.url("/");
    let mut house = House::new();
    let mut arrived = std::collections::BTreeSet::new();
    for round in 0..4 {
        let now = runyard_domain::Env::now(&*house.env);
        let ids: Vec<String> = (0..20).map(|n| format!("r{round}-{n}")).collect();
        let submits = ids.iter().map(|id| Command::Submit(Box::new(submission(id, &url, now))));
        let cancels = ids.iter().map(|id| Command::Cancel { job: JobId::new(id.as_str()), by: "me".into() });
        house.commit(&submits.chain(cancels).collect::<Vec<_>>());
        let open = house.open();
        for _ in 0..5 {
            arrived.insert(receiver.next().await.json()["id"].to_string());
        }
        house = open.kill().await;
    }
    let open = house.open();
    while arrived.len() < 80 {
        arrived.insert(receiver.next().await.json()["id"].to_string());
    }
    for round in 0..4 {
        for n in 0..20 {
            open.delivered(&format!("r{round}-{n}")).await;
        }
    }
}

#[tokio::test]
async fn an_end_while_the_server_runs_is_told_at_once() {
    let mut receiver = Receiver::start(&[Act::Answer(200)]).await;
    let house = House::new();
    let now = runyard_domain::Env::now(&*house.env);
    house.commit(&[Command::Submit(Box::new(submission("j", &receiver.url("/"), now)))]);
    let open = house.open_as(|options| Options {
        reach: Reach::PublicAndLoopback,
        patience: Patience { tries: 1, max_age_ms: 0 },
        ..options
    });
    let mut changes = open.engine.watch();
    open.engine.cancel(&open.engine.vault().local_caller(), &JobId::new("j")).await.unwrap();
    assert_eq!(receiver.next().await.json()["status"], "CANCELLED");
    open.delivered("j").await;
    let mut nudges = 0;
    while let Ok(change) = changes.try_recv() {
        nudges += usize::from(change == Change::Deliveries);
    }
    assert!((1..=2).contains(&nudges), "the end, and the try: {nudges}");
}
