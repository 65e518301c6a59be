//! The client of the management API and of RunPod's job API, over any [`Transport`]. Answers keep their text, so
//! that `--json` prints what the server said; views are parsed from it where a command needs them.

mod lines;
mod pages;
pub mod path;
mod problem;
mod tls;
mod transport;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use runyard_runtime::session::{CONTENT_TYPE, Frames};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use lines::Lines;
pub use problem::ClientError;
pub use tls::Trust;
pub use transport::Transport;

use problem::Problem;
pub use transport::AnswerBody;
use transport::SendError;

/// How long an answer may take where nothing else is said.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A key, and where it came from (for the message when it is refused).
#[derive(Clone)]
pub struct Key {
    /// The key itself.
    pub value: String,
    /// As people say it: `RUNYARD_TOKEN`, `the credentials file`.
    pub source: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key(from {})", self.source)
    }
}

/// A request to be made.
pub struct Call {
    method: Method,
    path: String,
    body: Bytes,
    content_type: Option<&'static str>,
    only_if: Option<String>,
    timeout: Duration,
}

impl Call {
    /// A request without a body. `path` comes from [`path`].
    pub fn new(method: Method, path: String) -> Self {
        Self { method, path, body: Bytes::new(), content_type: None, only_if: None, timeout: ANSWER_TIMEOUT }
    }

    /// With a JSON body.
    pub fn json(self, body: &impl Serialize) -> Self {
        let text = serde_json::to_vec(body).expect("requests are plain data and always serialize");
        self.body("application/json", text.into())
    }

    /// With a body as it is.
    pub fn body(mut self, content_type: &'static str, body: Bytes) -> Self {
        self.body = body;
        self.content_type = Some(content_type);
        self
    }

    /// Only to this version of what it changes, where one is known.
    pub fn only_if(mut self, version: Option<&str>) -> Self {
        self.only_if = version.map(str::to_owned);
        self
    }

    /// With another limit for the whole answer (for [`Client::lines`], for its head).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// An answer's text.
#[derive(Debug, Clone)]
pub struct Reply {
    /// What the server sent.
    pub text: String,
    /// The version of the thing that it shows, where it has one.
    pub version: Option<String>,
    target: String,
    path: String,
}

impl Reply {
    /// The text as a view.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_str(&self.text).map_err(|source| ClientError::Unreadable {
            target: self.target.clone(),
            path: self.path.clone(),
            source,
        })
    }
}

/// A server to talk to.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
    /// What stands in front of each path: a server behind a proxy's prefix.
    prefix: String,
    key: Option<Key>,
    /// How people call this server.
    target: String,
}

impl Client {
    /// A client of `url`, as `http://127.0.0.1:8080`; `trust` says whom to believe at `https:`.
    pub fn http(url: &str, key: Option<Key>, trust: &Trust) -> Result<Self, ClientError> {
        let bad = || ClientError::Address { url: url.to_owned() };
        let uri: http::Uri = url.trim_end_matches('/').parse().map_err(|_| bad())?;
        let (tls, usual_port) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => (Some(trust.clone()), 443),
            _ => return Err(bad()),
        };
        let host = uri.host().filter(|h| !h.is_empty()).ok_or_else(bad)?;
        let transport = Transport::Tcp {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: uri.port_u16().unwrap_or(usual_port),
            tls,
        };
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { transport, prefix, key, target: url.trim_end_matches('/').to_owned() })
    }

    /// A client over a socket or a router; no key is needed there. `target` is for messages.
    pub fn local(transport: Transport, target: String) -> Self {
        Self { transport, prefix: String::new(), key: None, target }
    }

    /// How people call this server.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Whether this is a data directory without a server: it can be looked at, and nothing runs.
    pub fn is_offline(&self) -> bool {
        matches!(self.transport, Transport::InProcess(_))
    }

    /// With a key.
    pub fn with_key(mut self, key: Option<Key>) -> Self {
        self.key = key;
        self
    }

    /// The key in use.
    pub fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// Whether something accepts connections there, within `limit`.
    pub async fn answers(&self, limit: Duration) -> bool {
        self.transport.answers(limit).await
    }

    /// `GET`.
    pub async fn get(&self, path: String) -> Result<Reply, ClientError> {
        self.send(Call::new(Method::GET, path)).await
    }

    /// `POST` with a JSON body.
    pub async fn post(&self, path: String, body: &impl Serialize) -> Result<Reply, ClientError> {
        self.send(Call::new(Method::POST, path).json(body)).await
    }

    /// Makes a request and reads its whole answer.
    pub async fn send(&self, call: Call) -> Result<Reply, ClientError> {
        let (path, limit) = (call.path.clone(), call.timeout);
        let exchange = async {
            let answer = self.exchange(call).await?;
            let version = answer.headers().get(header::ETAG);
            let version = version.and_then(|tag| tag.to_str().ok()).map(str::to_owned);
            let body = self.collect(answer).await?;
            let text = String::from_utf8_lossy(&body).into_owned();
            Ok(Reply { text, version, target: self.target.clone(), path })
        };
        tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| Err(self.silent(limit)))
    }

    /// Makes a request whose answer comes line by line and may take as long as it likes.
    pub async fn lines(&self, call: Call) -> Result<Lines, ClientError> {
        let limit = call.timeout;
        let answer = tokio::time::timeout(limit, self.exchange(call))
            .await
            .unwrap_or_else(|_| Err(self.silent(limit)))?;
        let body = answer.into_body();
        Ok(Lines { target: self.target.clone(), body, buffer: BytesMut::new(), ended: false })
    }

    /// Makes a request whose body goes on while its answer comes.
    pub async fn session(&self, path: String, frames: Frames) -> Result<AnswerBody, ClientError> {
        let call = Call { content_type: Some(CONTENT_TYPE), ..Call::new(Method::POST, path) };
        let limit = call.timeout;
        let request = self.request(call)?.map(|_| frames);
        let answer = tokio::time::timeout(limit, self.exchange_request(request)).await;
        answer.unwrap_or_else(|_| Err(self.silent(limit))).map(Response::into_body)
    }

    /// Makes a request whose answer is bytes that may take as long as they like.
    pub async fn open(&self, call: Call) -> Result<Response<AnswerBody>, ClientError> {
        let limit = call.timeout;
        let answer = tokio::time::timeout(limit, self.exchange(call)).await;
        answer.unwrap_or_else(|_| Err(self.silent(limit)))
    }

    async fn exchange(&self, call: Call) -> Result<Response<AnswerBody>, ClientError> {
        self.exchange_request(self.request(call)?).await
    }

    /// Sends the request; an answer that is no success becomes an error.
    async fn exchange_request(&self, request: Request<Frames>) -> Result<Response<AnswerBody>, ClientError> {
        let target = self.target.clone();
        let answer = self.transport.send(request).await.map_err(|e| match e {
            SendError::Connect(source) => ClientError::Unreachable { target, source },
            SendError::Broken(source) => ClientError::Broken { target, source },
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = self.collect(answer).await?;
        let mut problem = Problem::read(status, &body);
        self.explain_denial(&mut problem);
        Err(ClientError::Refused(Box::new(problem)))
    }

    /// Which key was refused: with five places that a key can come from, that is what one wants to know.
    fn explain_denial(&self, problem: &mut Problem) {
        problem.cause = match (problem.status, &self.key) {
            (401, None) => Some(format!("no key was given for {}", self.target)),
            (401, Some(key)) => Some(format!("{} refused the key from {}", self.target, key.source)),
            (403, Some(key)) => Some(format!("the key from {} may not do this", key.source)),
            _ => return,
        };
        if problem.status == 401 && problem.hint.is_none() {
            problem.hint = Some(format!("runyard login {}", self.target));
        }
    }

    fn request(&self, call: Call) -> Result<Request<Frames>, ClientError> {
        let host = match &self.transport {
            Transport::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Transport::Tcp { host, port, .. } => format!("{host}:{port}"),
            Transport::Unix(_) | Transport::InProcess(_) => "localhost".to_owned(),
        };
        let mut request = Request::builder()
            .method(call.method)
            .uri(format!("{}{}", self.prefix, call.path))
            .header(header::HOST, host)
            .header(header::USER_AGENT, concat!("runyard/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, "application/json, application/x-ndjson");
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", key.value));
        }
        if let Some(version) = call.only_if {
            request = request.header(header::IF_MATCH, version);
        }
        if let Some(content_type) = call.content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        // What can be wrong here is a key with a line break or an address with odd characters.
        let body = Full::new(call.body).map_err(|never| match never {}).boxed_unsync();
        request.body(body).map_err(|_| ClientError::Address { url: self.target.clone() })
    }

    async fn collect(&self, answer: Response<AnswerBody>) -> Result<Bytes, ClientError> {
        let broken = |source| ClientError::Broken { target: self.target.clone(), source };
        Ok(answer.into_body().collect().await.map_err(broken)?.to_bytes())
    }

    fn silent(&self, after: Duration) -> ClientError {
        ClientError::Silent { target: self.target.clone(), after }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;

    #[test]
    fn addresses_are_checked() {
        let trust = Trust::default();
        for good in ["http://127.0.0.1:8080", "http://[::1]:80/", "http://host/prefix/", "https://host"] {
            assert!(Client::http(good, None, &trust).is_ok(), "{good}");
        }
        for bad in ["127.0.0.1:8080", "ftp://x", "http://", ""] {
            assert!(matches!(Client::http(bad, None, &trust), Err(ClientError::Address { .. })), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_router_in_process_answers_like_a_server() {
        let router = axum::Router::new().route("/api/v1/info", get(|| async { "{\"version\":\"1\"}" }));
        let client = Client::local(Transport::InProcess(router), "here".to_owned());
        assert_eq!(client.get(path::api(&["info"])).await.expect("it is there").text, "{\"version\":\"1\"}");
        let missing = client.get(path::api(&["other"])).await.expect_err("no such route");
        assert!(missing.is_not_found(), "{missing:?}");
    }

    #[tokio::test]
    async fn lines_come_whole_however_they_are_cut() {
        let chunks = ["{\"a\"", ":1}\n\n{\"b\":2}\n{\"c\"", ":3}"];
        let body = move || {
            axum::body::Body::from_stream(futures_util::stream::iter(chunks.map(Ok::<_, std::io::Error>)))
        };
        let router = axum::Router::new().route("/x", get(move || async move { Response::new(body()) }));
        let client = Client::local(Transport::InProcess(router), "here".to_owned());
        let mut lines = client.lines(Call::new(Method::GET, "/x".to_owned())).await.expect("an answer");
        let mut got = Vec::new();
        while let Some(line) = lines.next().await.expect("a line") {
            got.push(line);
        }
        assert_eq!(got, ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"]);
    }
}
