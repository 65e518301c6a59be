//! Public SSH keys: one list of the server, by kind, fingerprint and comment.

use askama::Template;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::call::{Trouble, trouble};
use crate::frame::Frame;
use crate::pages::page;
use crate::place::Query;
use crate::session::Visit;

const PATH: &str = "/api/v1/ssh-keys";

#[derive(Deserialize)]
struct List {
    keys: Vec<String>,
}

/// A key, taken apart.
struct Key {
    whole: String,
    kind: String,
    fingerprint: String,
    comment: String,
}

impl Key {
    fn of(whole: String) -> Self {
        let mut words = whole.split_whitespace();
        let (kind, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let fingerprint = STANDARD.decode(key).map(|bytes| STANDARD_NO_PAD.encode(Sha256::digest(bytes)));
        Self {
            kind: kind.to_owned(),
            fingerprint: fingerprint.map_or_else(|_| "–".to_owned(), |hash| format!("SHA256:{hash}")),
            comment: words.collect::<Vec<_>>().join(" "),
            whole,
        }
    }
}

#[derive(Template)]
#[template(path = "ssh-keys.html")]
pub(crate) struct SshKeys {
    frame: Frame,
    keys: Vec<Key>,
}

page!(SshKeys: );

/// Loads it.
pub(crate) async fn load(visit: &Visit, query: &Query) -> Result<SshKeys, Trouble> {
    let mut frame = Frame::new(visit, "/ssh-keys", "SSH keys", "/ssh-keys", query);
    frame.stream = None;
    frame.same.cli =
        vec!["runyard ssh-keys list".into(), "runyard ssh-keys add ~/.ssh/id_ed25519.pub".into()];
    frame.same.api = vec![format!("GET {PATH}"), format!("PUT {PATH} {{\"keys\": […]}}")];
    let List { keys } = visit.get(PATH).await?;
    Ok(SshKeys { frame, keys: keys.into_iter().map(Key::of).collect() })
}

/// The keys, and the version that they are.
pub(crate) async fn read(visit: &Visit) -> Result<(Vec<String>, String), Trouble> {
    let answer = visit.pass(request(Method::GET, None, String::new())).await;
    let version = answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default();
    let version = version.to_owned();
    let status = answer.status();
    let body =
        answer.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    match serde_json::from_slice::<List>(&body) {
        Ok(list) if status.is_success() => Ok((list.keys, version)),
        _ => Err(trouble(status, &body)),
    }
}

/// Replaces them, if they are still that version.
pub(crate) async fn replace(visit: &Visit, keys: &[String], version: String) -> Result<(), Trouble> {
    let body = json!({"keys": keys}).to_string();
    let answer = visit.pass(request(Method::PUT, Some(&version), body)).await;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let body =
        answer.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Err(trouble(status, &body))
}

fn request(method: Method, version: Option<&str>, body: String) -> Request<Body> {
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = http::Uri::from_static(PATH);
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    if let Some(version) = version.and_then(|version| version.parse().ok()) {
        headers.insert(header::IF_MATCH, version);
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_fingerprint() {
        let key = Key::of(
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me on laptop"
                .into(),
        );
        assert_eq!((key.kind.as_str(), key.comment.as_str()), ("ssh-ed25519", "me on laptop"));
        assert_eq!(key.fingerprint, "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU");
    }
}
