//! Where connections matter: clients that go away, bodies that nobody reads, uploads that are refused.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::StreamBody;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{House, receive, until};

async fn open(address: SocketAddr, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Reads until the server closes.
async fn read_all(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut text)).await;
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_hangs_up_while_it_waits_gets_nothing() {
    let house = House::patient().await;
    let address = house.listen().await;
    let (first, second) = (house.worker("w1"), house.worker("w2"));
    let path = format!("{}/job-take/w1?gpu=&job_in_progress=0", first.base);
    let mut held = open(address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    until(&house, "the worker asked", || house.engine.live_worker(&first.id).unwrap().ready_at.is_some())
        .await;
    held.shutdown().await.unwrap();
    let mut answer = Vec::new();
    held.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty(), "the server saw the end, and closed the connection");
    let job = house.run("1").await;
    let taken = tokio::time::timeout(Duration::from_secs(10), house.take(&second)).await.unwrap();
    assert_eq!(taken.json()["id"], job.as_str());
    assert!(house.engine.held_by(&first.id).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_arrives_whole_counts_though_nobody_waits_for_the_answer() {
    let house = House::patient().await;
    let worker = house.worker("w1");
    let job = house.running(&worker, "1").await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(2);
    sender.send(Bytes::from_static(b"{\"output\":")).await.unwrap();
    let call = house.done(&worker, &job, Body::new(StreamBody::new(receive(receiver))));
    assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err(), "it waits for the rest");
    sender.send(Bytes::from_static(b"7}")).await.unwrap();
    drop(sender);
    let answer = house.get(&format!("/v2/ep1/status-sync/{job}?wait=10000")).await;
    assert_eq!(answer.json()["output"], 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_broke_off_changes_nothing() {
    let house = House::quick().await;
    let address = house.listen().await;
    let worker = house.worker("w1");
    let job = house.running(&worker, "1").await;
    let path = format!("{}/job-done/w1/{job}?gpu=", worker.base);
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 400\r\n\r\n{{\"output\":1}}");
    let mut half = open(address, &head).await;
    half.shutdown().await.unwrap();
    let _ = read_all(half).await;
    assert_eq!(house.status(&job).await["status"], "IN_PROGRESS");
    assert_eq!(house.done(&worker, &job, r#"{"output":2}"#).await.status, 200);
    assert_eq!(house.status(&job).await["output"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_answer_that_nobody_reads_is_not_delivered() {
    let house = House::quick().await;
    let address = house.listen().await;
    let worker = house.worker("w1");
    let job = house.running(&worker, "1").await;
    // More than any socket buffer takes.
    let large = format!("\"{}\"", "x".repeat(19 << 20));
    house.chunk(&worker, &job, &large).await;
    house.done(&worker, &job, r#"{"output":[]}"#).await;
    let get = format!(
        "GET /v2/ep1/stream/{job} HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\nconnection: close\r\n\r\n",
        house.key
    );
    let mut unread = open(address, &get).await;
    let mut first = [0; 1024];
    unread.read_exact(&mut first).await.unwrap();
    drop(unread);
    let answer = read_all(open(address, &get).await).await;
    assert!(answer.contains(r#"{"status":"COMPLETED","stream":[{"output":"xxx"#));
    assert!(answer.len() > 19 << 20, "all of it comes again");
    let last = read_all(open(address, &get).await).await;
    assert!(last.ends_with(r#"{"status":"COMPLETED","stream":[]}"#), "{}", &last[..last.len().min(300)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_too_much_reads_why() {
    let house = House::quick().await;
    let address = house.listen().await;
    let size = 14 << 20;
    let head = format!(
        "POST /v2/ep1/run HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\nconnection: close\r\ncontent-length: {size}\r\n\r\n",
        house.key
    );
    let mut upload = open(address, &head).await;
    // As most clients do: everything is sent before anything is read.
    upload.write_all(&vec![b'x'; size]).await.unwrap();
    let answer = read_all(upload).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.ends_with("exceeded max body size of 10MiB"), "{answer}");

    // Who asks first is told before it sends.
    let expecting = head.replace("connection: close", "connection: close\r\nexpect: 100-continue");
    let answer = read_all(open(address, &expecting).await).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(house.all_jobs().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_hangs_up_leaves_its_job() {
    let house = House::patient().await;
    let address = house.listen().await;
    let body = r#"{"input":1}"#;
    let head = format!(
        "POST /v2/ep1/runsync HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ncontent-length: {}\r\n\r\n{body}",
        house.key,
        body.len()
    );
    let waiting = open(address, &head).await;
    until(&house, "the job is there", || house.all_jobs().len() == 1).await;
    drop(waiting);
    let worker = house.worker("w1");
    let job = house.take(&worker).await.json()["id"].as_str().unwrap().to_owned();
    house.done(&worker, &job, r#"{"output":1}"#).await;
    assert_eq!(house.status(&job).await["status"], "COMPLETED");
}
