//! JSON in, JSON lines out.

use std::marker::PhantomData;

use axum::body::Body as HttpBody;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use runyard_domain::Access;
use runyard_vault::Caller;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::problem::Problem;
use crate::{Manage, fields};

/// The largest JSON body of a management call, in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// A JSON body, whatever its content type. It is read once the caller is known to be allowed what it asks for: who is
/// not learns nothing of what else is wrong.
pub(crate) struct Body<T> {
    text: Vec<u8>,
    kind: PhantomData<fn() -> T>,
}

impl<S: Send + Sync, T> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let bytes = axum::body::to_bytes(request.into_body(), MAX_BODY)
            .await
            .map_err(|_| Problem::invalid("the body is larger than 1 MiB or broke off"))?;
        let text = if bytes.is_empty() { b"{}".to_vec() } else { bytes.to_vec() };
        Ok(Self { text, kind: PhantomData })
    }
}

impl<T: DeserializeOwned> Body<T> {
    /// What it says; an error names line and column, or the field that there is not.
    pub(crate) fn read(self) -> Result<T, Problem> {
        let text = std::str::from_utf8(&self.text)
            .map_err(|error| Problem::invalid(format!("the body is not UTF-8: {error}")))?;
        fields::check::<T>(text)?;
        serde_json::from_str(text)
            .map_err(|error| Problem::invalid(format!("the body is not what this call takes: {error}")))
    }
}

impl Manage {
    /// A body of a call about an endpoint, or about one that is made: who may not learns nothing of what is wrong with
    /// it.
    pub(crate) fn read_to<T: DeserializeOwned>(
        &self,
        caller: &Caller,
        access: Access,
        ep: &str,
        body: Body<T>,
    ) -> Result<T, Problem> {
        body.read().or_else(|problem| {
            let is_known = self.inner.engine.endpoint(ep).is_some_and(|e| caller.sees(&e.id));
            if is_known || caller.may(access, None).is_err() {
                self.endpoint(caller, access, ep)?;
            }
            Err(problem)
        })
    }
}

/// A response of JSON lines, fed through the sender until it is dropped.
pub(crate) fn lines() -> (mpsc::UnboundedSender<Value>, Response) {
    let (sender, receiver) = mpsc::unbounded_channel::<Value>();
    let lines = stream::unfold(receiver, |mut receiver| async move {
        let value = receiver.recv().await?;
        let line = Bytes::from(format!("{value}\n"));
        Some((Ok::<_, std::convert::Infallible>(line), receiver))
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    (sender, (headers, HttpBody::from_stream(lines)).into_response())
}

/// Lines that wait for a reader before their writer waits, too.
const WAITING: usize = 256;

/// The same for who may send more than is taken: sending waits for the reader.
pub(crate) fn bounded_lines() -> (mpsc::Sender<Value>, Response) {
    let (sender, receiver) = mpsc::channel::<Value>(WAITING);
    let lines = stream::unfold(receiver, |mut receiver| async move {
        // What is there goes out together.
        let mut values = Vec::new();
        if receiver.recv_many(&mut values, WAITING).await == 0 {
            return None;
        }
        let text = values.iter().fold(String::new(), |text, value| text + &value.to_string() + "\n");
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), receiver))
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    (sender, (headers, HttpBody::from_stream(lines)).into_response())
}

/// What a deploy came to.
pub(crate) struct Outcome {
    /// The release that it made.
    pub(crate) release: Option<u32>,
    /// Why it failed, if it did.
    pub(crate) why: Option<String>,
}

/// The end of a deploy, from its lines.
pub(crate) async fn outcome_of(mut lines: mpsc::UnboundedReceiver<Value>) -> Outcome {
    let mut last = None;
    while let Some(line) = lines.recv().await {
        if line["done"] == true {
            last = Some(line);
        }
    }
    let Some(last) = last else {
        return Outcome {
            release: None,
            why: Some("the deploy broke off; 'runyard git sync' tries it again".into()),
        };
    };
    let release = last["release"].as_u64().and_then(|number| u32::try_from(number).ok());
    let why = (last["ok"] != true).then(|| reason(&last["reason"]));
    Outcome { release, why }
}

/// The reason in a line, with the last line of what the worker or the installer said.
fn reason(reason: &Value) -> String {
    let message = reason["message"].as_str().unwrap_or("the deploy failed");
    let lines = reason["lastLines"].as_array().map_or(&[][..], Vec::as_slice);
    let said = lines.iter().rev().filter_map(Value::as_str).map(str::trim).find(|line| !line.is_empty());
    match said {
        Some(said) if !message.contains(said) => format!("{message}: {said}"),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[tokio::test]
    async fn the_last_line_of_a_deploy_says_how_it_ended() {
        let (sender, lines) = unbounded_channel();
        let reason = json!({"message": "the worker ended", "lastLines": ["Traceback", "NameError: x", ""]});
        let _ = sender.send(json!({"step": "test", "state": "running"}));
        let _ = sender.send(json!({"done": true, "ok": false, "release": 3, "reason": reason}));
        drop(sender);
        let outcome = outcome_of(lines).await;
        assert_eq!(outcome.release, Some(3));
        assert_eq!(outcome.why.as_deref(), Some("the worker ended: NameError: x"));
        let (sender, lines) = unbounded_channel();
        drop(sender);
        assert!(outcome_of(lines).await.why.is_some());
    }
}
