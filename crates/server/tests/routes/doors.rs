//! The doors of forges and Git clients: a signature, or a key as a password, and nothing else opens them. And the schema
//! of `runyard.toml` and the document of the API, which everybody may read.

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
    let doors = runyard_manage::doors();
    let own = ["/hooks/git/{connection}", "/git/{*path}", "/schema/runyard.json", "/api/v1/openapi.json"];
    assert_eq!(doors[..4], own);
    assert_eq!(doors[4..], SIGN_IN.map(|(path, _)| path));
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

/// Where people sign in, and what comes of it where no provider is configured and nobody brings anything.
const SIGN_IN: [(&str, u16); 7] = [
    ("/auth/oidc/start", 404),
    ("/auth/oidc/callback", 403),
    ("/auth/oidc/token", 403),
    ("/auth/oidc/device", 404),
    ("/auth/oidc/device/token", 403),
    ("/auth/session", 401),
    ("/auth/logout", 401),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_signs_in_with_nothing() {
    let house = House::new().await;
    let before = house.state();
    for (path, expected) in SIGN_IN {
        let body = match path {
            "/auth/oidc/token" => r#"{"code": "x", "verifier": "y"}"#,
            "/auth/oidc/device/token" => r#"{"handle": "x"}"#,
            "/auth/session" => r#"{"key": "ry_unknown"}"#,
            _ => "",
        };
        let get = path.ends_with("start") || path.ends_with("callback");
        let request = if get { Request::get(path) } else { Request::post(path) };
        let (answer, text) = house.send(request.body(Body::from(body)).expect("a request")).await;
        assert_eq!(answer.status(), expected, "{path}: {text}");
        assert!(
            !answer
                .headers()
                .get_all(header::SET_COOKIE)
                .iter()
                .any(|cookie| { cookie.to_str().is_ok_and(|text| text.starts_with("runyard_session=rs_")) })
        );
    }
    assert_eq!(house.state(), before, "a refused call changed something");
}
