//! Connections that misbehave, against a listener on loopback whose times are short: each ends with the reason, and
//! none of those that behave is disturbed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use runyard_listener::{Limits, Networks, Received};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

const LONG: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_millis(200);

fn limits() -> Limits {
    Limits {
        connections: 50,
        per_address: 50,
        header_bytes: 8 << 10,
        headers: 20,
        header_timeout: LONG,
        first_timeout: LONG,
        idle_timeout: LONG,
        patience: LONG,
        rate: 0,
        send_buffer: None,
        shared: Networks::default(),
    }
}

struct House {
    address: std::net::SocketAddr,
    closing: Arc<Notify>,
    served: tokio::task::JoinHandle<()>,
}

/// Rung by each request that is held.
static HELD: Notify = Notify::const_new();

/// `/early` answers before a body is read, `/large` answers 64 MiB, `/held` holds its answer for as long as most limits of these tests, other paths are
/// answered with themselves.
async fn answer(request: Request<Received>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    if path == "/early" {
        return Response::new(Full::new("early".into()));
    }
    let _ = request.into_body().collect().await;
    match path.as_str() {
        "/large" => Response::new(Full::new(vec![b'x'; 64 << 20].into())),
        "/held" => {
            HELD.notify_one();
            tokio::time::sleep(3 * SHORT).await;
            Response::new(Full::new("held".into()))
        }
        _ => Response::new(Full::new(path.into())),
    }
}

async fn house(limits: Limits) -> House {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let closing = Arc::new(Notify::new());
    let told = Arc::clone(&closing);
    let served = tokio::spawn(async move {
        let closing = async move { told.notified().await };
        runyard_listener::serve_tcp(listener, None, limits, |_| answer, closing).await;
    });
    House { address, closing, served }
}

impl House {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    /// What comes until the other side closes.
    async fn send(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.expect("sent");
        rest(&mut stream).await
    }
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    timeout(LONG, stream.read_to_end(&mut text))
        .await
        .expect("the connection ends")
        .expect("without a reset");
    String::from_utf8(text).expect("text")
}

/// Reads until `text` has come.
async fn until(stream: &mut TcpStream, text: &str) {
    let mut seen = Vec::new();
    while !seen.windows(text.len()).any(|w| w == text.as_bytes()) {
        let read = timeout(LONG, stream.read_buf(&mut seen)).await.expect("in time").expect("no reset");
        assert!(read > 0, "the connection ended before {text}: {}", String::from_utf8_lossy(&seen));
    }
}

#[tokio::test]
async fn a_slow_head_is_ended_with_the_reason() {
    let house = house(Limits { header_timeout: SHORT, ..limits() }).await;
    for begun in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: x\r\nx: y"] {
        let said = house.send(begun.as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{begun:?}: {said}");
        assert!(said.contains(r#""code":"header_timeout""#) && said.contains("within 200 ms"), "{said}");
    }
}

#[tokio::test]
async fn a_trickled_head_is_ended_too() {
    let house = house(Limits { header_timeout: SHORT, ..limits() }).await;
    let mut stream = house.connect().await;
    let (mut read, mut write) = stream.split();
    let trickle = async {
        loop {
            if write.write_all(b"x").await.is_err() {
                return;
            }
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    let mut said = String::new();
    tokio::select! {
        () = trickle => {}
        read = timeout(LONG, read.read_to_string(&mut said)) => { let _ = read.expect("it ends"); }
    }
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
}

#[tokio::test]
async fn heads_have_a_size_and_a_number_of_lines() {
    let house = house(limits()).await;
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(9 << 10));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(25));
    let endless = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(200 << 10));
    for head in [long, many, endless] {
        let said = house.send(head.as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 431 "), "{said}");
        assert!(said.contains("8192 bytes or 20 lines") && said.contains("header_too_large"), "{said}");
    }
    let said = house.send(b"\x16\x03\x01\x02\x00 no http at all\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 400 ") && said.contains(r#""code":"bad_request""#), "{said}");
}

#[tokio::test]
async fn idle_connections_end_and_held_answers_come() {
    let house = house(Limits { idle_timeout: SHORT, header_timeout: SHORT, ..limits() }).await;
    let mut stream = house.connect().await;
    stream.write_all(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    until(&mut stream, "held").await;
    stream.write_all(b"GET /again HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    until(&mut stream, "/again").await;
    assert_eq!(rest(&mut stream).await, "", "closed, without a word");

    let fresh = self::house(Limits { first_timeout: SHORT, ..limits() }).await;
    assert_eq!(rest(&mut fresh.connect().await).await, "");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let house = house(limits()).await;
    let said = house
        .send(
            b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\nPOST /2 HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc\
              GET /held HTTP/1.1\r\nhost: x\r\n\r\nGET /4 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        )
        .await;
    let bodies: Vec<&str> =
        said.split("\r\n\r\n").skip(1).map(|part| part.split("HTTP/1.1").next().unwrap_or("")).collect();
    assert_eq!(bodies, ["/1", "/2", "held", "/4"], "{said}");
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_cut() {
    let house = house(Limits { patience: SHORT, send_buffer: Some(64 << 10), ..limits() }).await;
    let mut stream = house.connect().await;
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("sent");
    until(&mut stream, "HTTP/1.1 200 OK").await;
    // When the listener can close, nothing is left: we were cut and have not read on.
    house.closing.notify_one();
    timeout(LONG, house.served).await.expect("the connection was cut").expect("served");
    let mut taken = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut taken)).await.expect("the end");
    assert!(taken.len() < 64 << 20, "{}", taken.len());
}

#[tokio::test]
async fn newcomers_are_told_when_there_is_no_place_and_silent_ones_give_way() {
    let house = house(Limits { connections: 2, ..limits() }).await;
    let mut users = Vec::new();
    for _ in 0..2 {
        let mut stream = house.connect().await;
        stream.write_all(b"GET /in HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        until(&mut stream, "/in").await;
        users.push(stream);
    }
    let said = house.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("all 2 connections"), "{said}");
    assert!(said.contains("retry-after: 5\r\n"), "{said}");

    users.pop();
    let mut silent = loop {
        // The place is free a moment after its user is gone.
        let mut silent = house.connect().await;
        let mut byte = [0];
        if timeout(SHORT, silent.read(&mut byte)).await.is_err() {
            break silent;
        }
    };
    let mut newcomer = house.connect().await;
    newcomer.write_all(b"GET /new HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    until(&mut newcomer, "/new").await;
    assert_eq!(rest(&mut silent).await, "");
}

#[tokio::test]
async fn closing_ends_idle_connections_and_waits_for_answers() {
    let house = house(limits()).await;
    let mut idle = house.connect().await;
    idle.write_all(b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    until(&mut idle, "/x").await;
    let mut held = house.connect().await;
    held.write_all(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    HELD.notified().await;
    house.closing.notify_one();
    assert_eq!(rest(&mut idle).await, "");
    assert!(rest(&mut held).await.ends_with("held"));
    timeout(LONG, house.served).await.expect("it ends").expect("served");
}

/// Most clients send a request's head and its body apart, and use the connection again.
#[tokio::test]
async fn an_answer_before_the_body_leaves_the_connection_open() {
    let house = house(limits()).await;
    for framing in ["content-length: 10", "transfer-encoding: chunked"] {
        let mut stream = house.connect().await;
        for _ in 0..3 {
            let head = format!("POST /early HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("sent");
            until(&mut stream, "early").await;
            let body = if framing.contains("length") { "0123456789" } else { "a\r\n0123456789\r\n0\r\n\r\n" };
            stream.write_all(body.as_bytes()).await.expect("sent");
            stream.write_all(b"GET /next HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
            until(&mut stream, "/next").await;
        }
    }
}

/// A body that does not come keeps no closing listener.
#[tokio::test]
async fn a_listener_closes_beside_a_body_that_does_not_come() {
    let house = house(limits()).await;
    let mut stream = house.connect().await;
    stream.write_all(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n").await.expect("sent");
    until(&mut stream, "early").await;
    house.closing.notify_one();
    timeout(LONG / 6, house.served).await.expect("it closes").expect("without a panic");
}
