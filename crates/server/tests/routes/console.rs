//! The console over the same rooms: nothing is shown or changed without a session, a session opens what its key opens,
//! every page forbids what is inline or from elsewhere, and what users wrote is text.

use axum::body::Body;
use axum::http::{Request, Response, header};
use runyard_domain::{Access, SecretRecord, Timestamp};
use runyard_engine::NewJob;

use crate::house::{House, OWN};

/// A name that would do something, if anybody let it.
const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> {{7*7}}";

/// The first page with all that it loads, compressed, in bytes.
const FIRST_PAGE: usize = 60_000;

fn page(path: &str, cookie: &str) -> Request<Body> {
    let request = Request::get(path).header("accept", "text/html").header("cookie", cookie);
    request.body(Body::empty()).expect("a request")
}

fn form(path: &str, cookie: &str, body: &str) -> Request<Body> {
    let request = Request::post(path).header("host", "runyard.test").header("cookie", cookie);
    request.body(Body::from(body.to_owned())).expect("a request")
}

fn cookie(answer: &Response<()>) -> String {
    let line = answer.headers()[header::SET_COOKIE].to_str().expect("a cookie");
    for part in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(line.contains(part), "{line}");
    }
    line.split(';').next().expect("a pair").to_owned()
}

async fn signed_in(house: &House, key: &str) -> String {
    let (answer, body) = house.send(form("/sign-in", "", &format!("key={key}&next=/jobs"))).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["location"]),
        (303, &"/jobs".parse().expect("a path")),
        "{body}"
    );
    cookie(&answer)
}

/// The number that forms of a page carry.
fn number(html: &str) -> String {
    let rest = html.split_once("name=\"csrf\" value=\"").expect("a form").1;
    rest.split_once('"').expect("a value").0.to_owned()
}

/// Every page, of an endpoint and a job that are there.
fn pages(house: &House) -> Vec<String> {
    let tabs = ["", "/requests", "/workers", "/logs", "/metrics", "/telemetry", "/releases", "/settings"];
    let mut pages: Vec<String> = tabs.iter().map(|tab| format!("/e/{OWN}{tab}")).collect();
    pages.extend(
        [
            "/",
            "/endpoints",
            "/endpoints/new",
            "/catalogue",
            "/catalogue/hello",
            "/git",
            "/jobs",
            "/keys",
            "/secrets",
            "/activity",
            "/templates",
            "/volumes",
            "/registries",
            "/ssh-keys",
            "/members",
            "/usage",
            "/disk",
            "/server",
            "/search",
        ]
        .map(str::to_owned),
    );
    pages.extend([format!("/jobs/{}", house.job), format!("/e/{OWN}/requests?job={}", house.job)]);
    pages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_shown_or_changed_without_a_session() {
    let house = House::new().await;
    let before = house.state();
    for path in pages(&house) {
        for wrong in ["", "runyard_session=abc", "runyard_session=a; runyard_session=a"] {
            let (answer, body) = house.send(page(&path, wrong)).await;
            assert_eq!(answer.status(), 303, "{path}: {body}");
            assert!(
                answer.headers()["location"].to_str().is_ok_and(|to| to.starts_with("/sign-in")),
                "{path}"
            );
        }
        let (answer, _) = house.send(form(&path, "", "do=remove")).await;
        assert!(!answer.status().is_success(), "{path}");
    }
    for path in [
        "/ui/events?page=/",
        "/ui/search?q=own",
        "/activity/export",
        "/workers/x/terminal",
        "/jobs/x/media",
        "/jobs/x/output",
        "/open/wrong",
    ] {
        let (answer, _) = house.send(page(path, "")).await;
        assert!(!answer.status().is_success(), "{path}");
    }
    let other =
        Request::post("/sign-in").header("host", "runyard.test").header("origin", "https://evil.example");
    let other = other.body(Body::from("key=x")).expect("a request");
    assert_eq!(house.send(other).await.0.status(), 403, "a form of another site signs nobody in");
    let (answer, body) = house.send(form("/sign-in", "", "key=ry_wrong")).await;
    assert_eq!(answer.status(), 401);
    assert!(!body.contains("ry_wrong") && !answer.headers().contains_key(header::SET_COOKIE), "{body}");
    assert_eq!(house.state(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_strict_and_shows_hostile_names_as_text() {
    let house = House::new().await;
    let engine = &house.engine;
    let key = house.key(Access::Admin, &[], |record| record.name = HOSTILE.to_owned()).await.1;
    let endpoint = engine.endpoint(OWN).expect("there");
    let input = serde_json::to_string(&serde_json::json!({HOSTILE: HOSTILE})).expect("JSON");
    let job = engine
        .submit(&engine.vault().local_caller(), NewJob::new(endpoint, input))
        .await
        .expect("accepted")
        .job
        .id;
    let secret = SecretRecord {
        name: "TOKEN".into(),
        description: Some(HOSTILE.into()),
        version: 1,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        used_at: None,
        sealed: String::new(),
    };
    engine.put_secret(secret).await.expect("kept");
    let session = signed_in(&house, &key).await;
    let mut all = pages(&house);
    let marked: String = "%3Cscript%3Ealert(1)%3C/script%3E%22".into();
    all.extend([
        format!("/jobs/{job}"),
        format!("/e/{OWN}/requests?job={job}&mode={marked}"),
        format!("/endpoints?q={marked}"),
        format!("/e/{OWN}/logs?q={marked}&worker=w-1"),
        format!("/secrets?set={marked}"),
        format!("/keys?endpoint={marked}"),
        format!("/activity?endpoint={marked}&who={marked}&action={marked}"),
        format!("/search?q={marked}"),
        "/search?q=script".to_owned(),
        format!("/templates?edit={marked}"),
        format!("/members?member={marked}"),
        format!("/registries?replace={marked}"),
    ]);
    for path in all {
        let (answer, body) = house.send(page(&path, &session)).await;
        assert_eq!(answer.status(), 200, "{path}: {body}");
        let policy = answer.headers()["content-security-policy"].to_str().expect("text");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        for gone in ["<script>", "<img src=x", "onerror=alert(2)>", " style=\"", "onclick=", "javascript:"] {
            assert!(!body.contains(gone), "{path} has {gone}");
        }
        for address in body.split(" src=\"").skip(1).chain(body.split("<link ").skip(1)) {
            assert!(!address.split('"').next().unwrap_or_default().contains("//"), "{path}: {address:.80}");
        }
        assert_eq!(body.matches("<h1").count(), 1, "{path}");
        assert_eq!(
            body.matches("<form method=\"post\"").count(),
            body.matches("name=\"csrf\"").count(),
            "{path}"
        );
    }
    let (_, body) = house.send(page(&format!("/jobs/{job}"), &session)).await;
    assert!(body.contains("&lt;script&gt;alert(1)"), "it is shown");
    let (answer, body) = house.send(page("/e/no-such", &session)).await;
    assert_eq!(answer.status(), 404, "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_needs_its_number_and_changes_what_its_key_may() {
    let house = House::new().await;
    let admin = house.key(Access::Admin, &[], |_| {}).await.1;
    let session = signed_in(&house, &admin).await;
    let before = house.state();
    let (_, body) = house.send(page("/keys", &session)).await;
    let csrf = number(&body);
    for wrong in [String::new(), "csrf=".into(), format!("csrf={}", "0".repeat(64))] {
        let (answer, _) =
            house.send(form("/keys", &session, &format!("{wrong}&do=create&name=n&access=admin"))).await;
        assert_eq!(answer.status(), 403, "{wrong}");
    }
    assert_eq!(house.state(), before);
    let (answer, body) = house
        .send(form("/keys", &session, &format!("csrf={csrf}&do=create&name=ci&access=run&endpoint={OWN}")))
        .await;
    assert_eq!(answer.status(), 200, "{body}");
    let made = body
        .split("ry_")
        .nth(1)
        .map(|rest| rest.chars().take_while(char::is_ascii_alphanumeric).collect::<String>());
    let runs = format!("ry_{}", made.expect("the key is shown"));

    let mine = signed_in(&house, &runs).await;
    let (_, body) = house.send(page(&format!("/e/{OWN}/settings"), &mine)).await;
    let csrf = number(&body);
    let (answer, _) = house
        .send(form(&format!("/e/{OWN}/settings"), &mine, &format!("csrf={csrf}&do=remove&name={OWN}")))
        .await;
    assert_eq!(answer.status(), 303, "the refusal is told on the page");
    assert!(house.engine.endpoint(OWN).is_some(), "a key that may run removes nothing");
    assert_eq!(house.send(page("/keys", &mine)).await.0.status(), 403);

    let body = format!("csrf={csrf}&do=send&mode=run&input=%7B%22a%22%3A1%7D");
    let (answer, _) = house.send(form(&format!("/e/{OWN}/requests"), &mine, &body)).await;
    let to = answer.headers()["location"].to_str().expect("a path").to_owned();
    assert!(answer.status() == 303 && to.starts_with("/e/own/requests?job="), "{to}");
    assert_eq!(house.send(page(&to, &mine)).await.0.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_page_is_small() {
    let house = House::new().await;
    let key = house.key(Access::Admin, &[], |_| {}).await.1;
    let session = signed_in(&house, &key).await;
    let (_, body) = house.send(page("/", &session)).await;
    let mut whole = body.len();
    for address in
        body.split('"').filter(|part| part.starts_with("/assets/")).collect::<std::collections::BTreeSet<_>>()
    {
        let request =
            Request::get(address).header("accept-encoding", "gzip").body(Body::empty()).expect("a request");
        let (answer, _) = house.send(request).await;
        assert_eq!(answer.status(), 200, "{address}");
        let size = answer.headers()["content-length"].to_str().expect("a number");
        whole += size.parse::<usize>().expect("a number");
    }
    assert!(whole < FIRST_PAGE, "the first page has {whole} bytes");
}
