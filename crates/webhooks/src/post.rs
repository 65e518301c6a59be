//! One try: a message goes to a URL, over at most three redirects, within its time, and what came of it is said
//! by a status or in words. What the receiver answers beyond its status is of no interest; a little of it is
//! read, so that a receiver which writes before it closes is not cut off.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use runyard_domain::delivery::Heard;
use tokio::time::{Instant, timeout, timeout_at};

use crate::connect::{Connector, Stream};
use crate::message::{Message, Parts};
use crate::url::Url;

/// The longest words about a failed try, in bytes.
const WORDS: usize = 400;

/// How many redirects are followed.
const REDIRECTS: usize = 3;

/// How much of an answer's body is read, and for how long.
const ANSWER_BYTES: usize = 64 << 10;
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// Bounds of the work.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Tries at once.
    pub at_once: usize,
    /// Of these, to one host and port.
    pub per_destination: usize,
    /// Bytes of payloads in memory at once. A larger delivery goes alone.
    pub bytes: u64,
    /// Until there is a connection, TLS included; each redirect begins anew.
    pub connect: Duration,
    /// A whole try.
    pub whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            at_once: 32,
            per_destination: 4,
            bytes: 64 << 20,
            connect: Duration::from_secs(10),
            whole: Duration::from_secs(30),
        }
    }
}

/// Sends messages.
#[derive(Clone)]
pub(crate) struct Poster {
    pub(crate) connector: Connector,
    pub(crate) limits: Limits,
}

/// What a receiver answered.
struct Answer {
    status: StatusCode,
    location: Option<String>,
}

impl Poster {
    /// Sends a message; says what came of it.
    pub(crate) async fn post(&self, url: &str, message: &Message) -> Heard {
        let until = Instant::now() + self.limits.whole;
        let heard = match timeout_at(until, self.follow(url, message)).await {
            Ok(Ok(status)) => return Heard::Status(status.as_u16()),
            Ok(Err(words)) => words,
            Err(_) => format!("no answer within {} s", self.limits.whole.as_secs_f32()),
        };
        Heard::Error(shortened(heard))
    }

    async fn follow(&self, url: &str, message: &Message) -> Result<StatusCode, String> {
        let mut url = Url::parse(url)?;
        let mut method = Method::POST;
        let mut redirects = 0;
        loop {
            let answer = self.ask(&url, &method, message).await.map_err(|words| match redirects {
                0 => words,
                _ => format!("redirected to {}: {words}", url.authority),
            })?;
            match answer.status.as_u16() {
                // The body was taken, and what comes of it is to be read elsewhere.
                303 => method = Method::GET,
                301 | 302 | 307 | 308 => {}
                _ => return Ok(answer.status),
            }
            let Some(location) = answer.location else { return Ok(answer.status) };
            if redirects == REDIRECTS {
                return Err(format!("redirected more than {REDIRECTS} times"));
            }
            redirects += 1;
            url = url.join(&location).map_err(|words| format!("a redirect leads nowhere: {words}"))?;
        }
    }

    /// One request on a connection of its own.
    async fn ask(&self, url: &Url, method: &Method, message: &Message) -> Result<Answer, String> {
        let stream = timeout(self.limits.connect, self.connector.connect(url)).await.map_err(|_| {
            format!("no connection to {} within {} s", url.authority, self.limits.connect.as_secs_f32())
        })??;
        let request = request(url, method, message)?;
        exchange(stream, request).await.map_err(|error| {
            let source = std::error::Error::source(&error).map_or(String::new(), |why| format!(": {why}"));
            format!("the connection to {} broke off: {error}{source}", url.authority)
        })
    }
}

fn request(url: &Url, method: &Method, message: &Message) -> Result<Request<Parts>, String> {
    let with_body = *method == Method::POST;
    let body = if with_body { message.body() } else { Parts::default() };
    let mut request = Request::new(body);
    *request.method_mut() = method.clone();
    *request.uri_mut() = url.path.parse().map_err(|error| format!("the URL cannot be read: {error}"))?;
    let headers = request.headers_mut();
    for (name, value) in &message.headers {
        // A GET carries no body, so there is nothing to describe or to sign.
        if with_body || matches!(*name, header::USER_AGENT | header::ACCEPT) {
            headers.insert(name, value.clone());
        }
    }
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| "the URL cannot be sent".to_owned());
    headers.insert(header::HOST, value(&url.authority)?);
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if let Some(authorization) = &url.authorization {
        let mut authorization = value(authorization)?;
        authorization.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, authorization);
    }
    Ok(request)
}

async fn exchange(stream: Box<dyn Stream>, request: Request<Parts>) -> hyper::Result<Answer> {
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(ANSWER_BYTES).handshake(TokioIo::new(stream)).await?;
    let mut connection = pin!(connection);
    let mut answer = pin!(async move {
        let response = sender.send_request(request).await?;
        let location = response.headers().get(header::LOCATION);
        let location = location.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let answer = Answer { status: response.status(), location };
        let _ = timeout(ANSWER_TIME, drain(response)).await;
        Ok(answer)
    });
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

async fn drain(response: Response<Incoming>) {
    let mut body = response.into_body();
    let mut read = 0;
    while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        read += frame.data_ref().map_or(0, bytes::Bytes::len);
        if read > ANSWER_BYTES {
            return;
        }
    }
}

fn shortened(mut words: String) -> String {
    if let Some(end) =
        (0..=WORDS).rev().find(|at| words.is_char_boundary(*at)).filter(|_| words.len() > WORDS)
    {
        words.truncate(end);
        words.push('…');
    }
    words
}
