//! How much is tried at once: a receiver that does not answer is in nobody's way.

use runyard_webhooks::{Options, Reach};

use crate::house::House;
use crate::receiver::{Act, Receiver};

#[tokio::test]
async fn a_silent_receiver_holds_its_own_deliveries_only() {
    let mut silent = Receiver::start(&[Act::Silence]).await;
    let mut quick = Receiver::start(&[Act::Answer(200)]).await;
    let house = House::new();
    for n in 0..50 {
        house.ended(&format!("s{n}"), &silent.url("/"), "1", Ok("2"));
    }
    for n in 0..10 {
        house.ended(&format!("q{n}"), &quick.url("/"), "1", Ok("2"));
    }
    let open = house.open_as(|mut options| {
        options.limits.at_once = 6;
        Options { reach: Reach::PublicAndLoopback, ..options }
    });
    for n in 0..10 {
        quick.next().await;
        open.delivered(&format!("q{n}")).await;
    }
    for _ in 0..4 {
        silent.next().await;
    }
    assert_eq!(silent.more(), 0, "four at once to one destination");
    // The rest is still to come, and its jobs are there though their retention is over.
    assert_eq!(open.engine.reader().pending_deliveries(&[], 99).unwrap().len(), 50);
}

#[tokio::test]
async fn many_destinations_share_the_room() {
    let mut receivers = vec![];
    let house = House::new();
    for n in 0..12 {
        let receiver = Receiver::start(&[Act::Answer(200)]).await;
        for m in 0..6 {
            house.ended(&format!("j{n}-{m}"), &receiver.url("/"), "1", Ok("2"));
        }
        receivers.push(receiver);
    }
    let open = house.open_as(|mut options| {
        options.limits.at_once = 3;
        options.limits.per_destination = 2;
        Options { reach: Reach::PublicAndLoopback, ..options }
    });
    for (n, receiver) in receivers.iter_mut().enumerate() {
        for m in 0..6 {
            receiver.next().await;
            open.delivered(&format!("j{n}-{m}")).await;
        }
        assert_eq!(receiver.more(), 0);
    }
}
