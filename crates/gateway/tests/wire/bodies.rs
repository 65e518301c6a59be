//! What may be submitted, byte for byte, and what is refused without a job.

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::StreamBody;
use runyard_gateway::{Options, Timing};

use crate::support::{House, quick, receive};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_bodies_make_no_job() {
    let house = House::quick().await;
    let deep = format!(r#"{{"input":{}1{}}}"#, "[".repeat(600), "]".repeat(600));
    let abyss = format!(r#"{{"input":{}"#, "[".repeat(300_000));
    let table: &[(&[u8], &str, &str)] = &[
        (b"", "invalid", "the body is empty"),
        (b" \n", "invalid", "the body is empty"),
        (b"{\"input\":1,}", "malformed_json", "trailing comma before '}' at line 1, column 11"),
        (b"{\n \"input\": [\n  1,\n ]\n}", "malformed_json", "trailing comma before ']' at line 3, column 4"),
        (b"{\"input\":1", "malformed_json", "the text ends inside an object at line 1, column 11"),
        (b"{'input':1}", "malformed_json", "key must be a string at line 1, column 2: found '''"),
        (b"{\"input\":NaN}", "malformed_json", "line 1, column 10: found 'NaN' (JSON has no NaN"),
        (b"{\"input\":1} {}", "malformed_json", "trailing characters at line 1, column 13: found '{'"),
        (
            b"{\"input\":\"\xff\"}",
            "malformed_json",
            "the text is not UTF-8 at line 1, column 11: found byte 0xff",
        ),
        (b"input=1", "malformed_json", "expected value at line 1, column 1: found 'input'"),
        (b"[{\"input\":1}]", "invalid", "the body is an array; it must be a JSON object"),
        (b"\"x\"", "invalid", "the body is a text"),
        (b"null", "invalid", "the body is null"),
        (b"{}", "invalid", "the body has no 'input'"),
        (b"{\"Input\":1}", "invalid", "the body has no 'input'"),
        (deep.as_bytes(), "invalid", "nested 601 levels deep"),
        (abyss.as_bytes(), "malformed_json", "the text ends inside"),
        (b"{\"input\":1,\"webhook\":1}", "invalid", "'webhook' is 1; it must be a text with an http"),
        (b"{\"input\":1,\"webhook\":\"ftp://x/\"}", "invalid", "'webhook' is \"ftp://x/\""),
        (b"{\"input\":1,\"webhook\":\"/here\"}", "invalid", "'webhook'"),
        (b"{\"input\":1,\"policy\":[]}", "invalid", "'policy' is []; it must be an object"),
        (
            b"{\"input\":1,\"policy\":{\"executionTimeout\":4999}}",
            "invalid",
            "'policy.executionTimeout' is 4999; it must be 5000 (5 s) to 604800000",
        ),
        (
            b"{\"input\":1,\"policy\":{\"executionTimeout\":\"5000\"}}",
            "invalid",
            "'policy.executionTimeout' is \"5000\"",
        ),
        (b"{\"input\":1,\"policy\":{\"executionTimeout\":5000.5}}", "invalid", "'policy.executionTimeout'"),
        (
            b"{\"input\":1,\"policy\":{\"ttl\":9999}}",
            "invalid",
            "'policy.ttl' is 9999; it must be 10000 (10 s) to",
        ),
        (b"{\"input\":1,\"policy\":{\"ttl\":604800001}}", "invalid", "'policy.ttl'"),
        (b"{\"input\":1,\"policy\":{\"ttl\":1e300}}", "invalid", "'policy.ttl'"),
        (
            b"{\"input\":1,\"policy\":{\"lowPriority\":1}}",
            "invalid",
            "'policy.lowPriority' is 1; it must be true or false",
        ),
        (
            b"{\"input\":1,\"s3Config\":\"topsecret\"}",
            "invalid",
            "'s3Config' is a text; it must be an object",
        ),
    ];
    for (body, code, message) in table {
        for operation in ["run", "runsync"] {
            let path = format!("/v2/ep1/{operation}");
            let answer = house.post(&path, Bytes::copy_from_slice(body)).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(80)]);
            assert_eq!(answer.status, 400, "{shown}");
            let json = answer.json();
            assert_eq!(json["code"], *code, "{shown}");
            assert!(json["error"].as_str().unwrap().contains(message), "{shown}: {}", json["error"]);
            assert!(!answer.text().contains("topsecret"));
        }
    }
    for key in ["", &"k".repeat(256), "a\tb"] {
        let request = Request::post("/v2/ep1/run")
            .header("authorization", &house.key)
            .header("idempotency-key", key)
            .body(Body::from(r#"{"input":1}"#));
        assert_eq!(house.send(request.unwrap()).await.status, 400, "{key:?}");
    }
    assert!(house.all_jobs().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_arrive_as_they_were_sent() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let large = format!("{{ \"x\" : \"{}\" }}", "é".repeat(200_000));
    let inputs =
        ["{}", "null", "[ 1.50, 1e400, 12345678901234567890123 ]", "\"\\ud83d\\u0041\"", "false", &large];
    for input in inputs {
        let job = house.run(input).await;
        let taken = house.take(&worker).await;
        assert_eq!(taken.text(), format!(r#"{{"id":"{job}","input":{input}}}"#));
        assert_eq!(taken.header("content-type"), "application/json");
        assert_eq!(taken.header("content-length"), taken.body.len().to_string());
        let output = format!("{{\"output\": {input}}}");
        assert_eq!(house.done(&worker, &job, output).await.status, 200);
        let status = house.get(&format!("/v2/ep1/status/{job}")).await;
        // RunPod leaves an empty output out; null is one.
        let shown = format!(r#""output":{input}"#);
        assert_eq!(status.text().contains(&shown), input != "null", "{input}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_beside_the_input_reaches_the_worker() {
    let house = House::quick().await;
    let worker = house.worker("w1");
    let body = r#"{"webhook":"https://example.com/hook?a=1","junk":{},"input":1,"input":2,
        "s3Config": {"accessId": "a",  "accessSecret": "topsecret"},
        "policy": {"executionTimeout": 5000, "ttl": 604800000, "lowPriority": false}}"#;
    let job = house.post("/v2/ep1/run", body).await.json()["id"].as_str().unwrap().to_owned();
    let policy = house.job(&job).policy;
    assert_eq!((policy.execution_timeout_ms, policy.ttl_ms), (5_000, 604_800_000));
    let taken = house.take(&worker).await;
    let expected = format!(
        r#"{{"id":"{job}","input":2,"webhook":"https://example.com/hook?a=1","s3Config":{{"accessId": "a",  "accessSecret": "topsecret"}}}}"#
    );
    assert_eq!(taken.text(), expected);
    let status = house.get(&format!("/v2/ep1/status/{job}")).await;
    assert!(!status.text().contains("topsecret"), "it is never echoed");
}

/// A body of exactly this many bytes.
fn sized(bytes: usize) -> Vec<u8> {
    let mut body = br#"{"input":""#.to_vec();
    body.resize(bytes - 2, b'x');
    body.extend_from_slice(b"\"}");
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_taken_up_to_their_limits() {
    let house = House::quick().await;
    for (path, mib) in [("/v2/ep1/run", 10), ("/v2/ep1/runsync?wait=1000", 20)] {
        let limit = mib << 20;
        let before = house.all_jobs().len();
        let answer = house.post(path, sized(limit)).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(house.all_jobs().len(), before + 1);
        let expected = format!("exceeded max body size of {mib}MiB");
        let answer = house.post(path, sized(limit + 1)).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (400, expected.as_str()));
        // Announced by nobody: counted as it comes.
        let pieces = std::iter::repeat_n(Bytes::from(vec![b' '; 1 << 20]), mib + 1);
        let frames = pieces.map(|piece| Ok::<_, std::io::Error>(http_body::Frame::data(piece)));
        let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
        let answer = house.call(Method::POST, path, body).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (400, expected.as_str()));
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert_eq!(house.all_jobs().len(), before + 1);
    }
    let worker = house.worker("w1");
    let taken = house.take(&worker).await;
    assert!(taken.body.len() > 10 << 20, "large inputs come back whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_in_flight_have_a_budget() {
    let small = Options {
        run_limit: 128 << 10,
        runsync_limit: 128 << 10,
        result_limit: 128 << 10,
        in_flight_bytes: 256 << 10,
        timing: Timing { body_silence: std::time::Duration::from_secs(20), ..quick() },
        ..Options::default()
    };
    let house = std::sync::Arc::new(House::new(small).await);
    // Two senders stop after 100 KiB of their bodies; 256 KiB have room for both, and for no third.
    let mut senders = Vec::new();
    for _ in 0..2 {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
        let house = house.clone();
        let body = Body::new(StreamBody::new(receive(receiver)));
        let call = tokio::spawn(async move { house.call(Method::POST, "/v2/ep1/run", body).await });
        sender.send(Bytes::from(sized(100 << 10))).await.unwrap();
        // The second empty piece fits into the channel only when the first was asked for: there is room by then.
        sender.send(Bytes::new()).await.unwrap();
        sender.send(Bytes::new()).await.unwrap();
        senders.push((sender, call));
    }
    let refused = house.post("/v2/ep1/run", sized(100 << 10)).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "1"));
    assert_eq!(refused.json()["code"], "overloaded");
    for (sender, call) in senders {
        drop(sender);
        assert_eq!(call.await.unwrap().status, 200, "who had room is served");
    }
    assert_eq!(house.post("/v2/ep1/run", sized(100 << 10)).await.status, 200, "and gives it back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_sender_is_let_go() {
    let house = House::quick().await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    sender.send(Bytes::from_static(b"{\"input\":")).await.unwrap();
    let answer = house.call(Method::POST, "/v2/ep1/run", Body::new(StreamBody::new(receive(receiver)))).await;
    assert_eq!(answer.status, 408);
    assert_eq!(answer.json()["code"], "body_timeout");
    drop(sender);
    assert!(house.all_jobs().is_empty());
}
