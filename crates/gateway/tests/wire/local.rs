//! A server without keys answers programs of its own machine, and nobody else.

use axum::body::Body;
use http::Request;
use runyard_domain::Access;
use runyard_gateway::Options;

use crate::support::{House, quick};

async fn open() -> House {
    House::new(Options { open: true, timing: quick(), ..Options::default() }).await
}

async fn ask(house: &House, headers: &[(&str, &str)]) -> u16 {
    let mut request = Request::post("/v2/ep1/run");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    house.send(request.body(Body::from(r#"{"input":1}"#)).unwrap()).await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_origin_and_site_must_be_local() {
    let house = open().await;
    let local = ("host", "localhost:8080");
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[local], 200),
        (&[("host", "127.0.0.1")], 200),
        (&[("host", "[::1]:8080")], 200),
        (&[local, ("origin", "http://localhost:3000")], 200),
        (&[local, ("origin", "http://127.0.0.1:3000"), ("sec-fetch-site", "same-site")], 200),
        (&[local, ("origin", "http://127.0.0.1:3000"), ("sec-fetch-site", "cross-site")], 200),
        (&[local, ("authorization", "Bearer anything")], 200),
        (&[], 403),
        (&[("host", "rebound.example:8080")], 403),
        (&[("host", "192.168.1.5:8080")], 403),
        (&[local, ("origin", "https://app.example")], 403),
        (&[local, ("origin", "https://app.example"), ("sec-fetch-site", "cross-site")], 403),
        (&[local, ("origin", "null")], 403),
        (&[local, ("origin", "http://localhost.example")], 403),
        (&[local, ("sec-fetch-site", "cross-site")], 403),
        (&[("host", "rebound.example"), ("authorization", "Bearer anything")], 403),
    ];
    let mut made = 0;
    for (headers, expected) in cases {
        assert_eq!(ask(&house, headers).await, *expected, "{headers:?}");
        made += usize::from(*expected == 200);
    }
    assert_eq!(house.all_jobs().len(), made);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_still_counts_where_none_is_needed() {
    let house = open().await;
    let (_, reader) = house.key(Access::Read, &[], None);
    let (_, runner) = house.key(Access::Run, &[], None);
    let (_, expired) = house.key(Access::Run, &[], Some(1));
    let host = ("host", "localhost");
    assert_eq!(ask(&house, &[host, ("authorization", &reader)]).await, 403);
    assert_eq!(ask(&house, &[host, ("authorization", &expired)]).await, 401);
    assert_eq!(ask(&house, &[("host", "gpu.example"), ("authorization", &runner)]).await, 200);
}
