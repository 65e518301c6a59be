//! Where webhooks may go, also over redirects and by names.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use runyard_domain::delivery::{DeliveryState, Heard};
use runyard_webhooks::{Options, Reach, Resolve, Resolving};

use crate::house::House;
use crate::receiver::{Act, Receiver};

/// Answers each question with the next list, the last one for ever.
struct Scripted {
    answers: Vec<Vec<&'static str>>,
    asked: AtomicUsize,
}

impl Scripted {
    fn new(answers: &[&[&'static str]]) -> Arc<Self> {
        Arc::new(Self { answers: answers.iter().map(|a| a.to_vec()).collect(), asked: AtomicUsize::new(0) })
    }
}

impl Resolve for Scripted {
    fn resolve<'a>(&'a self, _host: &'a str) -> Resolving<'a> {
        let nth = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
        let addresses: Vec<IpAddr> = self.answers[nth].iter().map(|a| a.parse().unwrap()).collect();
        Box::pin(async move { Ok(addresses) })
    }
}

#[tokio::test]
async fn private_addresses_are_refused_however_they_are_named() {
    let mut receiver = Receiver::start(&[Act::Answer(200)]).await;
    let port = receiver.port;
    let house = House::new();
    let hosts = ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "2130706433", "0x7f.1", "0.0.0.0"];
    for (nth, host) in hosts.iter().enumerate() {
        house.ended(&format!("j{nth}"), &format!("http://{host}:{port}/"), "1", Ok("2"));
    }
    let open = house.open_as(|options| options);
    for (nth, host) in hosts.iter().enumerate() {
        let words = open.words(&format!("j{nth}")).await;
        assert!(words.contains("webhooks go to public addresses only"), "{host}: {words}");
    }
    assert_eq!(receiver.more(), 0);
}

#[tokio::test]
async fn a_redirect_to_a_private_address_is_refused() {
    let mut inner = Receiver::start(&[Act::Answer(200)]).await;
    let outer = Receiver::start(&[Act::Redirect(307, format!("http://inner.test:{}/", inner.port))]).await;
    let house = House::new();
    house.ended("j", &outer.url("/"), "1", Ok("2"));
    // The first hop is on this machine, which development allows; the second one is in a private network.
    let resolver = Scripted::new(&[&["10.0.0.1"]]);
    let open = house.open_as(|options| Options { reach: Reach::PublicAndLoopback, resolver, ..options });
    let words = open.words("j").await;
    let expected =
        format!("redirected to inner.test:{}: inner.test is at 10.0.0.1, which is private", inner.port);
    assert!(words.starts_with(&expected), "{words}");
    assert_eq!(inner.more(), 0);
}

#[tokio::test]
async fn the_connection_goes_to_the_address_that_was_checked() {
    let mut receiver = Receiver::start(&[Act::Answer(200)]).await;
    let house = House::new();
    house.ended("j", &format!("http://name.test:{}/x", receiver.port), "1", Ok("2"));
    // A second question would get another answer.
    let resolver = Scripted::new(&[&["10.9.9.9", "127.0.0.1"], &["10.9.9.9"]]);
    let asked = resolver.clone();
    let open = house.open_as(|options| Options { reach: Reach::PublicAndLoopback, resolver, ..options });
    let got = receiver.next().await;
    assert_eq!(got.header("host"), format!("name.test:{}", receiver.port));
    open.delivered("j").await;
    assert_eq!(asked.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_name_that_turns_private_is_refused_at_the_next_try() {
    let mut receiver = Receiver::start(&[Act::Answer(500)]).await;
    let house = House::new();
    house.ended("j", &format!("http://name.test:{}/", receiver.port), "1", Ok("2"));
    let resolver = Scripted::new(&[&["127.0.0.1"], &["192.168.0.1"]]);
    let open = house.open_as(|options| Options { reach: Reach::PublicAndLoopback, resolver, ..options });
    open.tried("j", 1).await;
    receiver.next().await;
    open.advance(5_000);
    let delivery = open.tried("j", 2).await;
    let Heard::Error(words) = &delivery.tries[1].heard else { panic!("{delivery:?}") };
    assert!(words.starts_with("name.test is at 192.168.0.1, which is private"), "{words}");
}

#[tokio::test]
async fn redirects_are_followed_three_times() {
    let mut last = Receiver::start(&[Act::Answer(200)]).await;
    let mut first = Receiver::start(&[
        Act::Redirect(301, "/a".into()),
        Act::Redirect(302, "b?c".into()),
        Act::Redirect(308, last.url("/end")),
    ])
    .await;
    let house = House::new();
    house.ended("j", &first.url("/start"), "1", Ok("2"));
    let open = house.open();
    for line in ["POST /start HTTP/1.1", "POST /a HTTP/1.1", "POST /b?c HTTP/1.1"] {
        assert_eq!(first.next().await.line, line);
    }
    let got = last.next().await;
    assert_eq!((got.line.as_str(), &got.json()["output"]), ("POST /end HTTP/1.1", &serde_json::json!(2)));
    assert_eq!(open.delivered("j").await.tried, 1);
}

#[tokio::test]
async fn a_fourth_redirect_is_too_many() {
    let mut receiver = Receiver::start(&[Act::Redirect(307, "/again".into())]).await;
    let house = House::new();
    house.ended("j", &receiver.url("/"), "1", Ok("2"));
    let open = house.open();
    assert_eq!(open.words("j").await, "redirected more than 3 times");
    assert_eq!(receiver.more(), 4);
}

#[tokio::test]
async fn see_other_is_looked_at_without_a_body() {
    let mut receiver = Receiver::start(&[Act::Redirect(303, "/seen".into()), Act::Answer(200)]).await;
    let house = House::new();
    house.ended("j", &receiver.url("/"), "1", Ok("2"));
    let open = house.open();
    receiver.next().await;
    let got = receiver.next().await;
    assert_eq!((got.line.as_str(), got.body.len()), ("GET /seen HTTP/1.1", 0));
    assert_eq!(got.header("content-type"), "");
    assert!(matches!(open.delivered("j").await.state, DeliveryState::Delivered { status: 200, .. }));
}
