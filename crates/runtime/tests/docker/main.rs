//! The engine's client against an engine of the test's own, which says what the test has it say: pulls that many wait
//! for, and the ways in which they fail. Real engines are in the end-to-end suite.

#![cfg(feature = "docker")]
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use runyard_domain::image::Image;
use runyard_domain::registry::Login;
use runyard_runtime::docker::{Engine, Progress, Pulled};
use tokio::net::UnixListener;
use tokio::sync::Notify;

const ID: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// An engine with one image in its registry.
#[derive(Default)]
struct Fake {
    /// Whether the image was pulled.
    has_image: AtomicBool,
    /// How many pulls were asked for.
    pulls: AtomicUsize,
    /// A pull goes on when this rings.
    go_on: Notify,
    /// What a pull fails with.
    fails: Option<&'static str>,
    /// What pulls were to show to the registry, decoded.
    shown: Mutex<Vec<String>>,
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

fn text(status: u16, text: String) -> Response<Body> {
    let body = http_body_util::Full::new(Bytes::from(text)).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn answer(fake: Arc<Fake>, request: &Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let path = path.trim_start_matches("/v1.41");
    match path {
        "/_ping" => text(200, "OK".into()),
        "/version" => {
            text(200, r#"{"ApiVersion":"1.41","MinAPIVersion":"1.12","Os":"linux","Arch":"amd64"}"#.into())
        }
        "/info" => text(200, "{}".into()),
        "/images/json" => text(200, list(fake.has_image.load(Ordering::SeqCst))),
        "/images/create" => {
            fake.pulls.fetch_add(1, Ordering::SeqCst);
            let shown = request.headers().get("x-registry-auth").map(|value| decoded(value.as_bytes()));
            fake.shown.lock().unwrap().extend(shown);
            pull(fake)
        }
        _ if path.starts_with("/images/") && fake.has_image.load(Ordering::SeqCst) => text(
            200,
            format!(
                r#"{{"Id":"{ID}","RepoDigests":["reg.example/w@sha256:ff"],"Os":"linux","Architecture":"amd64",
                "Config":{{"Entrypoint":["python"],"Cmd":["h.py"],"Env":["A=1"],"WorkingDir":"/app"}}}}"#
            ),
        ),
        _ => text(404, r#"{"message":"No such image"}"#.into()),
    }
}

/// The images that are there.
fn list(has_image: bool) -> String {
    if !has_image {
        return "[]".to_owned();
    }
    format!(
        r#"[{{"Id":"{ID}","ParentId":"","RepoTags":[],"RepoDigests":["reg.example/w@sha256:ff"],"Created":0,"Size":1,
        "SharedSize":-1,"Labels":{{}},"Containers":-1}}]"#
    )
}

fn decoded(text: &[u8]) -> String {
    let text = base64::engine::general_purpose::URL_SAFE.decode(text).unwrap();
    String::from_utf8(text).unwrap()
}

/// A layer in two halves; the second one when the test says so.
fn pull(fake: Arc<Fake>) -> Response<Body> {
    let lines = futures_util::stream::unfold(0, move |step| {
        let fake = fake.clone();
        async move {
            let line = match (step, fake.fails) {
                (0, Some(message)) => {
                    format!(r#"{{"errorDetail":{{"message":"{message}"}},"error":"{message}"}}"#)
                }
                (0, None) => downloading(50),
                (1, None) => {
                    fake.go_on.notified().await;
                    fake.has_image.store(true, Ordering::SeqCst);
                    downloading(100)
                }
                _ => return None,
            };
            Some((Ok(Frame::data(Bytes::from(line + "\n"))), step + 1))
        }
    });
    Response::new(BodyExt::boxed_unsync(StreamBody::new(lines.boxed())))
}

fn downloading(bytes: u32) -> String {
    format!(r#"{{"id":"layer","status":"Downloading","progressDetail":{{"current":{bytes},"total":100}}}}"#)
}

/// Serves a fake; its address and the folder of its socket.
fn serve(fake: Fake) -> (Arc<Fake>, String, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("engine.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let fake = Arc::new(fake);
    let served = fake.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let fake = served.clone();
            let service = service_fn(move |request| {
                let answered = answer(fake.clone(), &request);
                async move { Ok::<_, Infallible>(answered) }
            });
            tokio::spawn(async move {
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (fake, format!("unix://{}", path.display()), dir)
}

#[tokio::test]
async fn many_wait_for_one_pull_and_see_its_bytes() {
    let (fake, address, _dir) = serve(Fake::default());
    let engine = Engine::connect(&address).await.unwrap();
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let engine = engine.clone();
            let (told, seen) = tokio::sync::mpsc::unbounded_channel();
            let asked = tokio::spawn(async move {
                engine
                    .resolve("reg.example/w:v1", None, move |progress| told.send(progress).unwrap_or(()))
                    .await
            });
            (asked, seen)
        })
        .collect();
    let mut asked = Vec::new();
    for (task, mut seen) in waiting {
        // Everybody sees how far the one pull is before it goes on.
        while seen.recv().await.unwrap() != (Progress { done: 50, total: 100 }) {}
        asked.push(task);
    }
    fake.go_on.notify_one();
    for task in asked {
        let (found, instead) = task.await.unwrap().unwrap();
        assert_eq!((found.id.as_str(), instead), (ID, None));
        assert_eq!(found.digest.as_deref(), Some("reg.example/w@sha256:ff"));
        assert_eq!(found.facts.command, ["python", "h.py"]);
        assert_eq!((found.facts.env("A"), found.facts.platform.as_str()), (Some("1"), "linux/amd64"));
    }
    assert_eq!(fake.pulls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_image_is_ours_when_a_pull_brought_it() {
    for was_there in [false, true] {
        let (fake, address, dir) = serve(Fake::default());
        let pulled = Pulled::new(dir.path().join("pulled"));
        let engine = Engine::connect(&address).await.unwrap().noting(pulled.clone());
        fake.has_image.store(was_there, Ordering::SeqCst);
        fake.go_on.notify_one();
        engine.resolve("reg.example/w:v1", None, |_| ()).await.unwrap();
        assert_eq!(pulled.at(&address, ID).is_none(), was_there);
    }
}

#[tokio::test]
async fn what_is_here_is_taken_where_the_registry_is_away() {
    let fails = Some("dial tcp: lookup reg.example: no such host");
    let (fake, address, _dir) = serve(Fake { fails, ..Fake::default() });
    let engine = Engine::connect(&address).await.unwrap();
    let fault = engine.resolve("reg.example/w:v1", None, |_| ()).await.unwrap_err();
    assert_eq!(fault.code(), "registry_unreachable");
    fake.has_image.store(true, Ordering::SeqCst);
    let (found, instead) = engine.resolve("reg.example/w:v1", None, |_| ()).await.unwrap();
    assert_eq!((found.id.as_str(), instead.map(|fault| fault.code())), (ID, Some("registry_unreachable")));
}

#[tokio::test]
async fn a_release_needs_its_registry_only_for_what_is_gone() {
    let (fake, address, _dir) = serve(Fake { fails: Some("unauthorized: who are you"), ..Fake::default() });
    let engine = Engine::connect(&address).await.unwrap();
    let built = Image {
        name: "runyard/x:1".into(),
        id: ID.into(),
        digest: None,
        engine: address.clone(),
        registry: None,
        entrypoint: None,
        command: None,
    };
    let pulled = Image { digest: Some("reg.example/w@sha256:ff".into()), ..built.clone() };
    assert_eq!(engine.fetch(&built, None, |_| ()).await.unwrap_err().code(), "image_not_found");
    assert_eq!(fake.pulls.load(Ordering::SeqCst), 0);
    assert_eq!(engine.fetch(&pulled, None, |_| ()).await.unwrap_err().code(), "image_unauthorized");
    fake.has_image.store(true, Ordering::SeqCst);
    assert_eq!(engine.fetch(&built, None, |_| ()).await.unwrap().id, ID);
}

fn login(name: &str, password: &str) -> Login {
    Login {
        name: name.into(),
        server: "reg.example".into(),
        username: "me".into(),
        password: password.into(),
    }
}

#[tokio::test]
async fn a_registry_is_shown_the_login_and_a_refusal_names_it() {
    let (fake, address, _dir) = serve(Fake { fails: Some("unauthorized: who are you"), ..Fake::default() });
    let engine = Engine::connect(&address).await.unwrap();
    for (name, password) in [("one", "sesame"), ("two", "mustard")] {
        let login = login(name, password);
        let fault = engine.resolve("reg.example/w:v1", Some(&login), |_| ()).await.unwrap_err();
        let says = fault.sentence();
        assert!(says.contains(&format!("'{name}'")) && !says.contains(password), "{says}");
        let shown = fake.shown.lock().unwrap().pop().unwrap();
        assert!(shown.contains(password) && shown.contains("\"me\""), "{shown}");
    }
    let says = engine.resolve("reg.example/w:v1", None, |_| ()).await.unwrap_err().sentence();
    assert!(says.contains("registries add NAME --server reg.example"), "{says}");
}

#[tokio::test]
async fn pulls_with_different_logins_are_different_pulls() {
    let (fake, address, _dir) = serve(Fake::default());
    let engine = Engine::connect(&address).await.unwrap();
    let mut asked = Vec::new();
    for password in ["right", "wrong", "right"] {
        let (engine, login) = (engine.clone(), login("one", password));
        let (told, mut seen) = tokio::sync::mpsc::unbounded_channel();
        asked.push(tokio::spawn(async move {
            engine.resolve("reg.example/w:v1", Some(&login), move |at| told.send(at).unwrap_or(())).await
        }));
        while seen.recv().await.unwrap() != (Progress { done: 50, total: 100 }) {}
    }
    assert_eq!(fake.pulls.load(Ordering::SeqCst), 2);
    asked.iter().for_each(tokio::task::JoinHandle::abort);
}
