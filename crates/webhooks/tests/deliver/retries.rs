//! When a delivery is tried, how often, and what is kept of it.

use runyard_domain::delivery::{DeliveryState, Heard, Patience};
use runyard_domain::{Delivery, Timestamp};
use runyard_webhooks::{Options, Reach};

use crate::house::{House, START};
use crate::receiver::{Act, Receiver};

fn heard(delivery: &Delivery) -> Vec<(i64, Heard)> {
    delivery.tries.iter().map(|tried| (tried.at.0 - START, tried.heard.clone())).collect()
}

#[tokio::test]
async fn failures_are_followed_by_a_success() {
    let mut receiver = Receiver::start(&[Act::Answer(500), Act::Answer(503), Act::Answer(201)]).await;
    let house = House::new();
    house.ended("j", &receiver.url("/"), "1", Ok("2"));
    let open = house.open();
    open.tried("j", 1).await;
    open.advance(4_999);
    open.advance(1);
    open.tried("j", 2).await;
    open.advance(14_999);
    open.advance(1);
    let delivery = open.delivered("j").await;
    let expected = [(0, Heard::Status(500)), (5_000, Heard::Status(503)), (20_000, Heard::Status(201))];
    assert_eq!(heard(&delivery), expected);
    let ids = [receiver.next().await, receiver.next().await, receiver.next().await];
    let ids = ids.map(|got| got.header("webhook-id").to_owned());
    assert_eq!(ids, ["", "", ""], "not signed, not numbered");
    assert_eq!(receiver.more(), 0);
}

#[tokio::test]
async fn after_three_tries_it_is_given_up_and_its_job_goes() {
    let mut receiver = Receiver::start(&[Act::Answer(404)]).await;
    let house = House::new();
    house.ended("j", &receiver.url("/"), "1", Ok("2"));
    let open = house.open();
    for (nth, pause) in [(1, 5_000), (2, 15_000), (3, 0)] {
        let delivery = open.tried("j", nth).await;
        assert_eq!(delivery.tried, nth);
        open.advance(pause);
    }
    let delivery = open.tried("j", 3).await;
    assert_eq!(delivery.state, DeliveryState::GivenUp { at: Timestamp(START + 20_000) });
    open.advance(3_600_000);
    // Its retention of one second was over all the time; now nothing holds it.
    let mut changes = open.engine.watch();
    while !open.deliveries("j").is_empty() {
        tokio::select! {
            _ = changes.recv() => {}
            () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {}
        }
    }
    for _ in 0..3 {
        receiver.next().await;
    }
    assert_eq!(receiver.more(), 0, "no fourth try");
}

#[tokio::test]
async fn patience_can_be_longer() {
    let receiver = Receiver::start(&[Act::Answer(500)]).await;
    let house = House::new();
    house.ended("j", &receiver.url("/"), "1", Ok("2"));
    let open = house.open_as(|options| Options {
        reach: Reach::PublicAndLoopback,
        patience: Patience { tries: 50, max_age_ms: 3_000_000 },
        ..options
    });
    let mut at = vec![];
    loop {
        let delivery = open.tried("j", at.len() as u32 + 1).await;
        at.push(delivery.tries.last().unwrap().at.0 - START);
        let Some(next) = delivery.next_at() else { break };
        open.advance(next.0 - START - at[at.len() - 1]);
    }
    assert_eq!(at, [0, 5_000, 20_000, 65_000, 200_000, 605_000, 1_820_000]);
}

#[tokio::test]
async fn no_answer_is_told_in_words() {
    let silent = Receiver::start(&[Act::Silence]).await;
    let rude = Receiver::start(&[Act::HangUp]).await;
    let house = House::new();
    house.ended("silent", &silent.url("/"), "1", Ok("2"));
    house.ended("rude", &rude.url("/"), "1", Ok("2"));
    // Nobody listens there: the port was free a moment ago, and the listener is gone.
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    house.ended("closed", &format!("http://{closed}/"), "1", Ok("2"));
    house.ended("odd", "http://127.0.0.1:99999/", "1", Ok("2"));
    let open = house.open_as(|mut options| {
        options.limits.whole = std::time::Duration::from_millis(300);
        Options { reach: Reach::PublicAndLoopback, ..options }
    });
    assert_eq!(open.words("silent").await, "no answer within 0.3 s");
    let words = open.words("rude").await;
    assert!(words.starts_with(&format!("the connection to 127.0.0.1:{} broke off", rude.port)), "{words}");
    let words = open.words("closed").await;
    assert!(words.starts_with(&format!("cannot connect to {closed}: ")), "{words}");
    assert_eq!(open.words("odd").await, "the URL names the impossible port 99999");
    assert!(open.tried("silent", 1).await.tries[0].ms >= 300);
}
