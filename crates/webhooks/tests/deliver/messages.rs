//! What receivers get: the body, the headers, the signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runyard_domain::delivery::DeliveryState;
use runyard_domain::{JobId, Timestamp};
use runyard_store::Command;
use runyard_vault::Signer;
use runyard_webhooks::{Options, Reach};
use serde_json::json;

use crate::house::{House, START, submission};
use crate::receiver::{Act, Receiver};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn signed(options: Options) -> Options {
    Options { signer: Signer::new(SECRET), reach: Reach::PublicAndLoopback, ..options }
}

#[tokio::test]
async fn a_result_arrives_signed_and_as_it_was() {
    let mut receiver = Receiver::start(&[Act::Answer(204)]).await;
    let (house, url) = (House::new(), receiver.url("/hook?a=1"));
    house.ended("j-u1", &url, "{ \"x\" : 1.50 }", Ok("[1e400]"));
    let open = house.open_as(signed);
    let got = receiver.next().await;
    assert_eq!(got.line, "POST /hook?a=1 HTTP/1.1");
    let body = format!(
        r#"{{"delayTime":0,"executionTime":0,"id":"j-u1","input":{{ "x" : 1.50 }},"output":[1e400],"status":"COMPLETED","webhook":"{url}"}}"#
    );
    assert_eq!(String::from_utf8(got.body.clone()).unwrap(), body);
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.header("host"), format!("127.0.0.1:{}", receiver.port));
    assert_eq!(got.header("user-agent"), concat!("runyard/", env!("CARGO_PKG_VERSION")));
    assert_eq!(got.header("webhook-id"), "msg_j-u1-1");
    assert_eq!(got.header("webhook-timestamp"), (START / 1000).to_string());
    assert_eq!(got.header("webhook-signature"), verified(&got.body, "msg_j-u1-1", START / 1000));
    let delivery = open.delivered("j-u1").await;
    assert_eq!(delivery.state, DeliveryState::Delivered { at: Timestamp(START), status: 204 });
    assert_eq!(receiver.more(), 0);
}

/// What a receiver computes, with none of our code.
fn verified(body: &[u8], id: &str, seconds: i64) -> String {
    use hmac::{Hmac, Mac as _};
    let key = STANDARD.decode(SECRET.trim_start_matches("whsec_")).unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{seconds}.{}", String::from_utf8_lossy(body)).as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn every_end_is_told() {
    let mut receiver = Receiver::start(&[Act::Answer(200)]).await;
    let (house, url) = (House::new(), receiver.url("/"));
    house.ended("failed", &url, "1", Err("Traceback"));
    for id in ["cancelled", "late"] {
        house.commit(&[Command::Submit(Box::new(submission(id, &url, Timestamp(START))))]);
    }
    house.commit(&[Command::Cancel { job: JobId::new("cancelled"), by: "me".into() }]);
    house.advance(60_000);
    house.commit(&[Command::Expire { job: JobId::new("late") }]);
    let open = house.open();
    let mut told = vec![];
    for _ in 0..3 {
        let got = receiver.next().await;
        assert_eq!(got.header("webhook-signature"), "", "nothing is signed without a secret");
        told.push(got.json());
    }
    told.sort_by_key(|body| body["id"].to_string());
    assert_eq!((&told[0]["id"], &told[0]["status"]), (&json!("cancelled"), &json!("CANCELLED")));
    assert_eq!(told[0]["reason"]["message"], "cancelled by me");
    assert_eq!((&told[1]["status"], &told[1]["error"]), (&json!("FAILED"), &json!("Traceback")));
    assert_eq!((&told[2]["id"], &told[2]["status"]), (&json!("late"), &json!("TIMED_OUT")));
    for id in ["failed", "cancelled", "late"] {
        open.delivered(id).await;
    }
}

#[tokio::test]
async fn a_retried_job_tells_both_its_ends() {
    let mut receiver = Receiver::start(&[Act::Answer(500), Act::Answer(200)]).await;
    let house = House::new();
    house.ended("j", &receiver.url("/"), "1", Err("no"));
    let open = house.open();
    receiver.next().await;
    open.tried("j", 1).await;
    let caller = open.engine.vault().local_caller();
    open.engine.retry(&caller, &JobId::new("j")).await.unwrap();
    open.engine.cancel(&caller, &JobId::new("j")).await.unwrap();
    let second = receiver.next().await;
    assert_eq!(second.json()["status"], "CANCELLED");
    open.advance(5_000);
    let first = receiver.next().await;
    assert_eq!(first.json()["status"], "FAILED", "the end that was told at first");
    assert_eq!(first.json()["error"], "no");
    open.delivered("j").await;
    assert_eq!(open.deliveries("j").len(), 2);
}

#[tokio::test]
async fn names_and_passwords_of_the_url_are_sent() {
    let mut receiver = Receiver::start(&[Act::Answer(200)]).await;
    let house = House::new();
    house.ended("j", &format!("http://user:p%40ss@127.0.0.1:{}/", receiver.port), "1", Ok("2"));
    let open = house.open();
    let got = receiver.next().await;
    assert_eq!(got.header("authorization"), format!("Basic {}", STANDARD.encode("user:p@ss")));
    assert_eq!(got.header("host"), format!("127.0.0.1:{}", receiver.port));
    open.delivered("j").await;
}

#[tokio::test]
async fn a_huge_result_arrives_whole() {
    let mut receiver = Receiver::start(&[Act::Answer(200)]).await;
    let house = House::new();
    let large = |c: &str| format!("\"{}\"", c.repeat(20 << 20));
    house.ended("j", &receiver.url("/"), &large("i"), Ok(&large("o")));
    let open = house.open_as(|mut options| {
        options.limits.bytes = 1 << 20;
        signed(options)
    });
    let got = receiver.next().await;
    let text = String::from_utf8(got.body).unwrap();
    assert!(text.contains(&format!("\"input\":{},\"output\":{},\"status\"", large("i"), large("o"))));
    open.delivered("j").await;
}

#[tokio::test]
async fn what_the_receiver_says_beyond_its_status_is_of_no_interest() {
    let receiver = Receiver::start(&[Act::Endless]).await;
    let house = House::new();
    house.ended("j", &receiver.url("/"), "1", Ok("2"));
    house.open().delivered("j").await;
}
