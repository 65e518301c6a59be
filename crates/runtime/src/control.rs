//! The client's side of the agent's control socket: one connection per request, so that a request is never
//! sent into a connection that an agent before this one had.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::wire::{Fault, KEY_HEADER, SERVER_HEADER};
use crate::{Paths, RuntimeError, Whose};

/// Talks to the agent of one data directory.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    socket: PathBuf,
    key: PathBuf,
    server: String,
}

/// A request did not get a good answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody answers: there is no agent, or it died meanwhile.
    NoAgent(String),
    /// The agent refused.
    Refused(RuntimeError),
}

impl Failure {
    /// The failure as an error of `operation`.
    pub(crate) fn into_error(self, operation: &str) -> RuntimeError {
        match self {
            Self::NoAgent(message) => RuntimeError {
                operation: operation.to_owned(),
                message: format!("the agent does not answer: {message}"),
                whose: Whose::Engine,
                retryable: true,
            },
            Self::Refused(error) => error,
        }
    }
}

fn no_agent(error: impl std::fmt::Display) -> Failure {
    Failure::NoAgent(error.to_string())
}

impl Control {
    pub(crate) fn new(paths: &Paths) -> Self {
        // A process id comes back some day; together with chance it does not.
        let chance = RandomState::new().build_hasher().finish();
        let server = format!("{}-{chance:016x}", std::process::id());
        Self { socket: paths.agent_socket(), key: paths.agent_key(), server }
    }

    /// Sends a request and reads the answer as `T`.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Failure> {
        let body = body.map(serde_json::to_vec).transpose().map_err(no_agent)?.unwrap_or_default();
        let answer = self.open(method, path, body).await?;
        let bytes = answer.collect().await.map_err(no_agent)?.to_bytes();
        let bytes = if bytes.is_empty() { Bytes::from_static(b"null") } else { bytes };
        serde_json::from_slice(&bytes).map_err(no_agent)
    }

    /// Sends a request and answers the body of a good answer as it comes.
    pub(crate) async fn open(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Incoming, Failure> {
        self.stream(method, path, Full::new(Bytes::from(body))).await
    }

    /// The same with a body that goes on while the answer comes.
    pub(crate) async fn stream<B>(&self, method: Method, path: &str, body: B) -> Result<Incoming, Failure>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = UnixStream::connect(&self.socket).await.map_err(no_agent)?;
        let key = match std::fs::read_to_string(&self.key) {
            Ok(key) => key,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(no_agent(error)),
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(no_agent)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, "agent")
            .header(KEY_HEADER, key.trim())
            .header(SERVER_HEADER, &self.server)
            .body(body)
            .map_err(no_agent)?;
        let answer = sender.send_request(request).await.map_err(no_agent)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        let bytes = answer.into_body().collect().await.map_err(no_agent)?.to_bytes();
        let fault = serde_json::from_slice(&bytes).unwrap_or_else(|_| Fault {
            operation: format!("ask the agent for {path}"),
            message: format!("it answered {status}"),
            whose: "engine".to_owned(),
            retryable: false,
        });
        Err(Failure::Refused(fault.into()))
    }
}
