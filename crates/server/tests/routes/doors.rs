//! The doors of forges and Git clients: a signature, or a key as a password, and nothing else opens them. And the schema
//! of `runyard.toml`, which everybody may read.

use axum::body::Body;
use axum::http::{Request, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runyard_domain::Access;

use crate::house::{House, OTHER, OWN};

const ASK: &str = "/git/own.git/info/refs?service=git-receive-pack";

fn git(path: &str, user: &str, password: &str) -> Request<Body> {
    let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    Request::get(path).header(header::AUTHORIZATION, basic).body(Body::empty()).expect("a request")
}

#[test]
fn every_door_is_tried_here() {
    assert_eq!(runyard_manage::doors(), ["/hooks/git/{connection}", "/git/{*path}", "/schema/runyard.json"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_clients_need_a_key_that_may_deploy() {
    let house = House::new().await;
    let (answer, _) = house.send(Request::get(ASK).body(Body::empty()).expect("a request")).await;
    assert_eq!(answer.status(), 401);
    assert!(answer.headers().contains_key(header::WWW_AUTHENTICATE), "Git asks for a password only then");
    for (user, password) in [("", ""), ("x", "y"), ("ry_unknown", "")] {
        let (answer, body) = house.send(git(ASK, user, password)).await;
        assert_eq!(answer.status(), 401, "{user}:{password}: {body}");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    }
    for (access, scope, expected) in [(Access::Run, OWN, 403), (Access::Deploy, OTHER, 404)] {
        let key = house.key(access, &[scope], |_| {}).await.1;
        let (answer, body) = house.send(git(ASK, "git", &key)).await;
        assert_eq!(answer.status(), expected, "{access:?} {scope}: {body}");
    }
    let key = house.key(Access::Deploy, &[OWN], |_| {}).await.1;
    for path in [
        "/git/own.git/config",
        "/git/own.git/objects/info/packs",
        "/git/own.git/../other.git/info/refs?service=git-receive-pack",
        "/git/own.git/info/refs?service=git-upload-archive",
        "/git/own",
    ] {
        let (answer, body) = house.send(git(path, "git", &key)).await;
        assert_eq!(answer.status(), 404, "{path}: {body}");
    }
    assert_eq!(
        house.engine.reader().connections().expect("connections"),
        [],
        "a refused call changed something"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_learns_which_webhooks_there_are() {
    let house = House::new().await;
    let key = house.key(Access::Admin, &[], |_| {}).await.1;
    for path in ["/hooks/git/git_none", "/hooks/git/..%2F..", "/hooks/git/%ff"] {
        let request = Request::post(path).header(header::AUTHORIZATION, &key).body(Body::from("{}"));
        let (answer, body) = house.send(request.expect("a request")).await;
        assert!([400, 404].contains(&answer.status().as_u16()), "{path}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn editors_read_the_schema_without_a_key() {
    let house = House::new().await;
    let (answer, body) =
        house.send(Request::get("/schema/runyard.json").body(Body::empty()).expect("a request")).await;
    assert_eq!(answer.status(), 200);
    assert!(body.contains("\"scale\"") && body.contains("Workers that are always kept"), "{body}");
}
