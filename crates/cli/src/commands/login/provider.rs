//! Signing in at the server's identity provider. With the browser of this machine: it goes to the server, from there to
//! the provider and back, and brings a code to a port that is listened on here; whoever shows the proof that the sign-in
//! began with gets the session for it. Or with any browser, by a short code.

use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use runyard_domain::Env as _;
use runyard_engine::SystemEnv;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::client::{Client, path};
use crate::context::Context;
use crate::errors::{Code, Failure};
use crate::output::text;
use crate::views::{Device, SignedIn};

/// How long the browser may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// The longest request head that a browser sends here, in bytes, and how long it may take.
const HEAD: usize = 16 * 1024;
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// What is added to the pause where the provider is asked too often.
const SLOWER: Duration = Duration::from_secs(5);

/// With the browser of this machine.
pub async fn with_browser(url: &str, context: &Context) -> anyhow::Result<SignedIn> {
    let client = Client::http(url, None, &context.target.trust())?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no port can be listened on")?;
    let port = listener.local_addr()?.port();
    let (verifier, state) = (SystemEnv.token(64), SystemEnv.token(32));
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
    let query =
        [("port", Some(port.to_string())), ("challenge", Some(challenge)), ("state", Some(state.clone()))];
    let start = format!("{}{}", url.trim_end_matches('/'), path::query("/auth/oidc/start", &query));
    context.ui.note(&format!("sign in with a browser of this machine:\n{start}"));
    open_browser(&start, context);
    let code = tokio::time::timeout(PATIENCE, code(&listener, &state)).await.map_err(|_| {
        Failure::new(Code::TimedOut, "nobody signed in within ten minutes").hint("runyard login --oidc")
    })??;
    let body = json!({"code": code, "verifier": verifier});
    Ok(client.post("/auth/oidc/token".to_owned(), &body).await?.parse()?)
}

/// With any browser.
pub async fn with_device(url: &str, context: &Context) -> anyhow::Result<SignedIn> {
    let client = Client::http(url, None, &context.target.trust())?;
    let device: Device = client.post("/auth/oidc/device".to_owned(), &json!({})).await?.parse()?;
    let place = device.verification_uri_complete.as_ref().unwrap_or(&device.verification_uri);
    context.ui.note(&format!(
        "sign in with any browser at {} with the code {}",
        text::line(place, 400),
        text::line(&device.user_code, 40)
    ));
    let mut pause = Duration::from_secs(device.interval_s.clamp(1, 60));
    loop {
        tokio::time::sleep(pause).await;
        let body = json!({"handle": device.handle});
        let answer: SignedIn = client.post("/auth/oidc/device/token".to_owned(), &body).await?.parse()?;
        if !answer.pending {
            return Ok(answer);
        }
        if answer.slower {
            pause += SLOWER;
        }
    }
}

/// A graphical session opens its browser; elsewhere the address is there to be opened.
fn open_browser(url: &str, context: &Context) {
    let graphical = ["DISPLAY", "WAYLAND_DISPLAY"].into_iter().any(|name| std::env::var_os(name).is_some());
    if !context.ui.err_terminal || !graphical {
        return;
    }
    let null = std::process::Stdio::null;
    let opened =
        std::process::Command::new("xdg-open").arg(url).stdin(null()).stdout(null()).stderr(null()).spawn();
    if let Err(error) = opened {
        tracing::debug!(%error, "no browser could be opened");
    }
}

/// The code that the browser brings. What else comes to the port is told that it is wrong here.
async fn code(listener: &TcpListener, state: &str) -> anyhow::Result<String> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let head = tokio::time::timeout(HEAD_PATIENCE, head(&mut stream)).await;
        let found = head.ok().and_then(Result::ok).and_then(|head| code_of(&head, state));
        let (status, words) = match &found {
            Some(_) => ("200 OK", "Signed in. This page can be closed."),
            None => ("404 Not Found", "There is nothing here."),
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{words}",
            words.len()
        );
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
        if let Some(code) = found {
            return Ok(code);
        }
    }
}

async fn head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") && head.len() < HEAD {
        let mut piece = [0; 2_048];
        let count = stream.read(&mut piece).await?;
        if count == 0 {
            break;
        }
        head.extend_from_slice(&piece[..count]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The code in `GET /?code=…&state=… HTTP/1.1`, where the state is ours.
pub fn code_of(head: &str, state: &str) -> Option<String> {
    let place = head.lines().next()?.strip_prefix("GET /?")?.split(' ').next()?;
    let value =
        |name: &str| place.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name));
    let (_, code) = value("code")?;
    let plain = (16..=200).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (value("state")?.1 == state && plain).then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_comes_with_our_state() {
        let code = "c".repeat(40);
        let head = |query: &str| format!("GET /?{query} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
        assert_eq!(code_of(&head(&format!("code={code}&state=s")), "s").as_ref(), Some(&code));
        for wrong in [
            format!("code={code}&state=t"),
            format!("code={code}"),
            "code=&state=s".to_owned(),
            "code=a%20b&state=s".to_owned(),
        ] {
            assert_eq!(code_of(&head(&wrong), "s"), None, "{wrong}");
        }
        assert_eq!(code_of("", "s"), None);
    }
}
