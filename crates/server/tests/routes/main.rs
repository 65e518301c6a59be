//! Every route × every kind of key: who may not is refused in the shape of the route's dialect, changes nothing,
//! and cannot tell what is there from what is not. The routes come from the routers themselves: one without a row
//! here fails the test.

mod console;
mod document;
mod doors;
mod house;
mod table;

use std::collections::BTreeSet;

use house::{House, OTHER, OWN, request};
use runyard_domain::{Access, EndpointId, KeyRecord, Operation, PageUse, Timestamp};
use serde_json::Value;
use table::{JOBS, MANAGE, OPERATOR, Opens, PROBES, REST, WORKERS};

use Access::{Admin, Deploy, Read, Run};
use Opens::{All, Any, Key, Nobody, OfJob, OfWorker};

#[test]
fn every_route_has_a_row() {
    fn same<'a>(routes: Vec<&'a str>, rows: impl Iterator<Item = &'a str>) {
        let routes: BTreeSet<&str> = routes.into_iter().collect();
        assert_eq!(
            routes,
            rows.collect::<BTreeSet<_>>(),
            "a route has no row in this file, or a row no route"
        );
    }
    same(runyard_gateway::job_paths(), JOBS.iter().map(|row| row.0));
    same(runyard_gateway::worker_paths(), WORKERS.iter().map(|row| row.0));
    same(runyard_manage::paths(), MANAGE.iter().map(|row| row.0));
    let operator = OPERATOR.iter().map(|row| row.0).chain(PROBES);
    same(runyard_server::operator::paths(), operator);
    same(runyard_manage::rest_paths(), REST.iter().map(|row| row.0));
}

/// A row as a path that can be called.
fn path(house: &House, route: &str, endpoint: &str, job: &str) -> String {
    [
        ("{endpoint}", endpoint),
        ("{ep}", endpoint),
        ("{job}", job),
        ("{batch}", "batch_none"),
        ("jobs/{id}", &format!("jobs/{job}")),
        ("secrets/{name}", "secrets/A"),
        ("members/{member}", "members/ann@example.com"),
        ("keys/{id}", &format!("keys/{}", house.key_id)),
        ("{sha}", &"0".repeat(64)),
        ("registries/{name}", "registries/none"),
        ("workers/{worker}", if endpoint == OWN { "workers/own-worker" } else { "workers/no-worker" }),
        ("{*route}", "v1/models"),
        ("{*operation}", "no-such/operation"),
        ("{*rest}", "no-such/call"),
        ("{id}", "0000000000"),
        ("{workerId}", "w9"),
    ]
    .iter()
    .fold(route.to_owned(), |path, (name, value)| path.replace(name, value))
}

/// Whether a path is one of REST v2.
fn is_rest(path: &str) -> bool {
    let first = path.strip_prefix("/v2/").and_then(|rest| rest.split(['/', '?']).next());
    first.is_some_and(|word| runyard_domain::id::RESERVED.contains(&word))
}

/// Whether a refusal has the shape of its dialect, and the right status and request id.
fn is_in_shape(path: &str, status: u16, body: &str) {
    let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
    if path.starts_with("/v2/") && path.contains("/openai/") {
        for text in ["message", "type", "code"] {
            assert!(body["error"][text].is_string(), "{path}: no '{text}' in {body}");
        }
        return;
    }
    let texts: &[&str] = match path {
        p if is_rest(p) => &["title", "detail"],
        p if p.starts_with("/v2/") => &["error", "code", "requestId"],
        p if p.starts_with("/api/") => &["type", "title", "code", "detail"],
        p if PROBES.contains(&p) || p == "/metrics" => &["code", "detail"],
        _ => &["error"],
    };
    for text in texts {
        assert!(body[text].is_string(), "{path}: no '{text}' in {body}");
    }
    if path.starts_with("/api/") || is_rest(path) || (path.starts_with("/v2/") && status == 401) {
        assert_eq!(body["status"], status, "{path}: {body}");
    }
}

async fn status(house: &House, method: &str, path: &str, key: Option<&str>) -> u16 {
    let (answer, body) = house.send(request(method, path, key.map(str::as_bytes))).await;
    let status = answer.status().as_u16();
    if status >= 400 {
        is_in_shape(path, status, &body);
    }
    status
}

fn rows() -> impl Iterator<Item = (&'static str, &'static str, Opens)> {
    let rows = JOBS.into_iter().chain(MANAGE).chain(OPERATOR).chain(REST);
    rows.flat_map(|(route, methods, opens)| methods.split(' ').map(move |method| (method, route, opens)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_route_opens_without_a_key_of_ours() {
    let house = House::new().await;
    let good = house.key(Admin, &[], |_| {}).await.1;
    let revoked = house.key(Admin, &[], |record| record.revoked_at = Some(Timestamp(1))).await.1;
    let expired = house.key(Admin, &[], |record| record.expires_at = Some(Timestamp(1))).await.1;
    let disabled = house.key(Admin, &[], |record| record.disabled_at = Some(Timestamp(1))).await.1;
    let token = house.worker("w1", OWN);
    let before = house.state();
    let half = &good[..good.len() - 1];
    let basic = format!("Basic {good}");
    let two = format!("Bearer {good} {good}");
    let bytes: &[u8] = b"Bearer \xff\xfe";
    let wrong: [Option<&[u8]>; 13] = [
        None,
        Some(b""),
        Some(b"Bearer "),
        Some(bytes),
        Some(b"ry_unknown"),
        Some(half.as_bytes()),
        Some(basic.as_bytes()),
        Some(two.as_bytes()),
        Some(revoked.as_bytes()),
        Some(expired.as_bytes()),
        Some(disabled.as_bytes()),
        Some(token.as_bytes()),
        Some(b"owner"),
    ];
    for (method, route, opens) in rows() {
        let path = path(&house, route, OWN, &house.job);
        for key in wrong {
            let (answer, body) = house.send(request(method, &path, key)).await;
            let expected = if opens == Nobody { 404 } else { 401 };
            assert_eq!(answer.status(), expected, "{method} {path} {key:?}: {body}");
            is_in_shape(&path, expected, &body);
        }
        // A key in a wrong place is none.
        let beside = format!("{path}?api_key={good}&authorization={good}&token={good}");
        let mut request = request(method, &beside, None);
        for name in ["x-api-key", "proxy-authorization", "cookie", "x-runyard-agent"] {
            request.headers_mut().insert(name, good.parse().expect("a header"));
        }
        let (answer, body) = house.send(request).await;
        assert_eq!(answer.status(), if opens == Nobody { 404 } else { 401 }, "{method} {beside}: {body}");
    }
    assert_eq!(house.state(), before, "a refused call changed something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_need_no_key_and_tell_nothing_of_what_is_there() {
    let house = House::new().await;
    for path in PROBES {
        let (answer, text) = house.send(request("GET", path, None)).await;
        assert_eq!(answer.status(), 200, "{path}: {text}");
        assert!(text.lines().all(|line| line.ends_with(": ok")), "{path}: {text}");
        let mut wanted = request("GET", path, None);
        wanted.headers_mut().insert("accept", "application/json".parse().expect("a header"));
        let (_, body) = house.send(wanted).await;
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(body["status"], "ok", "{body}");
        assert_eq!(status(&house, "POST", path, None).await, 405);
    }
    house.engine.close_submissions();
    let (answer, text) = house.send(request("GET", "/readyz", None)).await;
    assert_eq!(answer.status(), 503, "{text}");
    assert!(text.contains("server: it is ending"), "{text}");
    let (answer, _) = house.send(request("GET", "/healthz", None)).await;
    assert_eq!(answer.status(), 200, "it lives until it is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_opens_what_it_is_for_and_nothing_more() {
    let house = House::new().await;
    let levels = [Read, Run, Deploy, Admin];
    for (method, route, opens) in rows() {
        let needed = match opens {
            Key(access) | OfJob(access) | OfWorker(access) | All(access) | Any(access) => access,
            Nobody => continue,
        };
        let path = path(&house, route, OWN, &house.job);
        for level in levels.into_iter().filter(|level| *level < needed) {
            for scope in [&[][..], &[OWN][..]] {
                let key = house.key(level, scope, |_| {}).await.1;
                let before = house.state();
                let got = status(&house, method, &path, Some(&key)).await;
                assert_eq!(got, 403, "{level:?} {method} {path}");
                assert_eq!(house.state(), before, "{level:?} {method} {path} changed something");
            }
        }
        if let All(_) = opens {
            let level = if needed == Admin { Deploy } else { needed };
            let key = house.key(level, &[OWN], |_| {}).await;
            assert_eq!(status(&house, method, &path, Some(&key.1)).await, 403, "{method} {path}");
        }
    }
    // And it does open that.
    for (method, route, opens) in rows() {
        let house = House::new().await;
        let scope = if matches!(opens, All(_)) { &[][..] } else { &[OWN][..] };
        let (Key(access) | OfJob(access) | OfWorker(access) | All(access) | Any(access)) = opens else {
            continue;
        };
        let key = house.key(access, scope, |_| {}).await.1;
        let path = path(&house, route, OWN, &house.job);
        // A stream of an OpenAI call or of logs would go on; what is asked here ends or is cut.
        if route.contains("openai") {
            continue;
        }
        let got = status(&house, method, &path, Some(&key)).await;
        assert!(![401, 403, 405, 500].contains(&got), "{method} {path}: {got}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_counts_on_its_endpoint_alone() {
    let house = House::new().await;
    let grant = |record: &mut KeyRecord| record.grants.extend([(EndpointId::new(OTHER), Deploy)]);
    let key = house.key(Read, &[OWN, OTHER], grant).await.1;
    for (method, route, opens) in rows() {
        let Key(needed) = opens else { continue };
        if route.contains("openai") {
            continue;
        }
        let own = status(&house, method, &path(&house, route, OWN, &house.job), Some(&key)).await;
        assert_eq!(own == 403, needed > Read, "{method} {route} of {OWN}: {own}");
        let other = status(&house, method, &path(&house, route, OTHER, &house.job), Some(&key)).await;
        assert_ne!(other, 403, "{method} {route} of {OTHER}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_for_pages_opens_its_operations_to_its_pages_and_nothing_else() {
    let house = House::new().await;
    let operations = vec![Operation::Run, Operation::Status];
    let page = PageUse { operations, origins: vec!["https://a.example".to_owned()] };
    let key = house.key(Run, &[OWN], |record| record.page = Some(page)).await.1;
    let send = async |method: &str, path: &str, origin: Option<&str>| {
        let mut request = request(method, path, Some(key.as_bytes()));
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().expect("a header"));
        }
        let (answer, body) = house.send(request).await;
        let status = answer.status().as_u16();
        if status >= 400 {
            is_in_shape(path, status, &body);
        }
        status
    };
    let before = house.state();
    for (method, route, opens) in rows() {
        if opens == Nobody {
            continue;
        }
        let path = path(&house, route, OWN, &house.job);
        let opened =
            ["/v2/{endpoint}/run", "/v2/{endpoint}/status/{job}", "/v2/{endpoint}/status-sync/{job}"];
        for origin in [None, Some("https://b.example"), Some("null")] {
            assert_eq!(send(method, &path, origin).await, 403, "{method} {path} from {origin:?}");
        }
        if !opened.contains(&route) {
            assert_eq!(send(method, &path, Some("https://a.example")).await, 403, "{method} {path}");
        }
    }
    assert_eq!(house.state(), before, "a refused call changed something");
    let status_of = path(&house, "/v2/{endpoint}/status/{job}", OWN, &house.job);
    assert_eq!(send("GET", &status_of, Some("https://a.example")).await, 200);
    assert_eq!(send("POST", "/v2/own/run", Some("https://a.example")).await, 200);
    assert_eq!(send("POST", "/v2/other/run", Some("https://a.example")).await, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_that_a_call_does_not_have_is_named() {
    let house = House::new().await;
    let key = house.key(Admin, &[], |_| {}).await.1;
    let mut request = request("PATCH", &format!("/api/v1/endpoints/{OWN}"), Some(key.as_bytes()));
    *request.body_mut() = axum::body::Body::from(r#"{"setings": {"workers_max": 9}}"#);
    request.headers_mut().remove("content-length");
    let (answer, body) = house.send(request).await;
    assert_eq!(answer.status(), 400, "{body}");
    assert!(body.contains("there is no field 'setings'; there are name, settings"), "{body}");
    assert!(body.contains("did you mean 'settings'?"), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_for_another_endpoint_cannot_tell_what_is_there() {
    let house = House::new().await;
    for (method, route, opens) in rows() {
        let access = match opens {
            Key(_) | OfJob(_) | OfWorker(_) => Deploy,
            Any(access) => access,
            All(_) | Nobody => continue,
        };
        let key = house.key(access, &[OTHER], |_| {}).await.1;
        let missing_job = "00000000-0000-4000-8000-000000000000-u1";
        let there = path(&house, route, OWN, &house.job);
        let nowhere = path(&house, route, "xyz", missing_job);
        let before = house.state();
        let (answer, body) = house.send(request(method, &there, Some(key.as_bytes()))).await;
        let (none, nothing) = house.send(request(method, &nowhere, Some(key.as_bytes()))).await;
        assert_eq!(house.state(), before, "{method} {there} changed something");
        if let Any(_) = opens {
            assert!(!body.contains(&house.job) && !body.contains("\"own\""), "{there} shows: {body}");
            continue;
        }
        assert_eq!(
            (answer.status().as_u16(), none.status().as_u16()),
            (404, 404),
            "{method} {there}: {body}"
        );
        is_in_shape(&there, 404, &body);
        let told = body.replace(&house.job, missing_job).replace("own-worker", "no-worker");
        let told = told.replace("'own'", "'xyz'").replace("/own/", "/xyz/");
        assert_eq!(told, nothing, "{method} {there} and {nowhere} differ");
        let names = |answer: &axum::http::Response<()>| {
            answer.headers().keys().map(ToString::to_string).collect::<BTreeSet<_>>()
        };
        assert_eq!(names(&answer), names(&none), "{method} {there}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workers_route_opens_to_that_worker_alone() {
    let house = House::new().await;
    let admin = house.key(Admin, &[], |_| {}).await.1;
    let (own, other) = (house.worker("w1", OWN), house.worker("w2", OWN));
    let (foreign, gone) = (house.worker("w3", OTHER), house.worker("w4", OWN));
    house.engine.vault().dismiss_worker(&runyard_vault::hash(&gone));
    let before = house.state();
    let cases = [
        ("nope", OWN, "w1", 401),
        ("", OWN, "w1", 401),
        ("%00", OWN, "w1", 401),
        (admin.as_str(), OWN, "w1", 401),
        (gone.as_str(), OWN, "w4", 401),
        (other.as_str(), OWN, "w1", 403),
        (own.as_str(), OWN, "w2", 403),
        (own.as_str(), OTHER, "w1", 403),
        (foreign.as_str(), OWN, "w3", 403),
        (foreign.as_str(), OWN, "w1", 403),
        (own.as_str(), "xyz", "w1", 403),
    ];
    for (route, method) in WORKERS {
        for (token, endpoint, worker, mut expected) in cases {
            let path = path(&house, route, endpoint, &house.job)
                .replace("{token}", token)
                .replace("{worker}", worker);
            match route {
                "/agent/give-back" => expected = 401,
                "/w/{token}/{*rest}" => expected = 404,
                _ => {}
            }
            // Keys and tokens in the header change nothing, in either direction.
            for key in [None, Some(admin.as_str()), Some(own.as_str())] {
                let got = status(&house, method, &path, key).await;
                assert_eq!(got, expected, "{method} {path} with {key:?}");
            }
        }
    }
    // Neither does a token open what keys open, wherever it stands.
    for (method, route, opens) in rows() {
        let path = path(&house, route, OWN, &house.job);
        let expected = if opens == Nobody { 404 } else { 401 };
        assert_eq!(status(&house, method, &path, Some(&own)).await, expected, "{method} {path}");
        let behind = format!("/w/{own}{path}");
        assert_eq!(status(&house, method, &behind, None).await, 404, "{method} {behind}");
    }
    assert_eq!(house.state(), before, "a refused call changed something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_method_is_told_which_are_right() {
    let house = House::new().await;
    let admin = house.key(Admin, &[], |_| {}).await.1;
    let own = house.worker("w1", OWN);
    let routes = JOBS.iter().chain(&MANAGE).chain(&REST).map(|row| row.0);
    for route in routes.chain(WORKERS.iter().map(|row| row.0)) {
        let methods: BTreeSet<&str> = JOBS
            .iter()
            .chain(&MANAGE)
            .chain(&REST)
            .map(|row| (row.0, row.1))
            .chain(WORKERS)
            .filter(|row| row.0 == route)
            .flat_map(|row| row.1.split(' '))
            .collect();
        let path = path(&house, route, OWN, &house.job).replace("{token}", &own).replace("{worker}", "w1");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"] {
            if methods.contains(method) || route.contains("{*") {
                continue;
            }
            let (answer, body) = house.send(request(method, &path, Some(admin.as_bytes()))).await;
            assert_eq!(answer.status(), 405, "{method} {path}: {body}");
            is_in_shape(&path, 405, &body);
            let allow =
                answer.headers().get("allow").and_then(|allow| allow.to_str().ok()).unwrap_or_default();
            let allowed: BTreeSet<&str> = allow.split([',', ' ']).filter(|m| !m.is_empty()).collect();
            for method in &methods {
                assert!(allowed.contains(method), "{path} allows '{allow}' and takes {method}");
            }
        }
    }
}
