//! One call of another server's API: the same connections as webhooks get, to the same addresses, and the answer is
//! read. No redirect is followed, because the request may carry a secret.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::address::Reach;
use crate::connect::{Connector, Stream, SystemResolver};
use crate::url::Url;

/// How long a call may take, and how much of the answer is read.
const WHOLE: Duration = Duration::from_secs(20);
const ANSWER_BYTES: usize = 4 << 20;

/// Calls APIs. Cheap to clone.
#[derive(Clone)]
pub struct Asker {
    pub(crate) connector: Arc<Connector>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Said {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Asker {
    /// Calls what lies within `reach`.
    pub fn new(reach: Reach) -> Self {
        let connector = Connector {
            reach,
            resolver: Arc::new(SystemResolver),
            rule: "repositories and their forges are asked at public addresses only, unless the server's \
                   git_allow_private is true",
            #[cfg(feature = "tls")]
            tls: crate::tls::Tls::new(None),
        };
        Self { connector: Arc::new(connector) }
    }

    /// Makes one call; what went wrong on the way is said in words.
    pub async fn ask(&self, method: Method, url: &str, more: HeaderMap, body: Bytes) -> Result<Said, String> {
        let url = Url::parse(url)?;
        let request = Self::request(method, &url, more, body)?;
        let work = async {
            let stream = self.connector.connect(&url).await?;
            let broke = |error| format!("the connection to {} broke off: {error}", url.authority);
            exchange(stream, request).await.map_err(broke)
        };
        timeout(WHOLE, work)
            .await
            .unwrap_or_else(|_| Err(format!("{} gave no answer within {} s", url.authority, WHOLE.as_secs())))
    }

    pub(crate) fn request(
        method: Method,
        url: &Url,
        more: HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = url.path.parse().map_err(|error| format!("the URL cannot be read: {error}"))?;
        *request.headers_mut() = more;
        let host = HeaderValue::from_str(&url.authority).map_err(|_| "the URL cannot be sent".to_owned())?;
        for (name, value) in [
            (header::HOST, host),
            (header::CONNECTION, HeaderValue::from_static("close")),
            (header::USER_AGENT, HeaderValue::from_static(concat!("runyard/", env!("CARGO_PKG_VERSION")))),
        ] {
            request.headers_mut().insert(name, value);
        }
        Ok(request)
    }
}

async fn exchange(stream: Box<dyn Stream>, request: Request<Full<Bytes>>) -> Result<Said, String> {
    let words = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(words)?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(words)?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok(Said { status: parts.status.as_u16(), headers: parts.headers, body })
    };
    let (mut answer, mut connection) = (pin!(answer), pin!(connection));
    let mut over = false;
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            // The request is still to be told what became of it.
            _ = &mut connection, if !over => over = true,
        }
    }
}
