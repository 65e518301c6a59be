//! One file of another server, read piece by piece: over the same connections as webhooks, each redirect checked like
//! the first address. What is secret goes to the first host alone.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::ask::Asker;
use crate::url::Url;

/// How many redirects are followed.
const REDIRECTS: usize = 3;

/// How long the other side may say nothing.
const SILENCE: Duration = Duration::from_mins(1);

/// Ends what drives a connection, when its answer was read or given up.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Asker {
    /// Reads the file at `url` into `sink`, at most `most` bytes. Returns the status: what is not 200 had no file. What
    /// went wrong on the way is said in words.
    pub async fn download(
        &self,
        url: &str,
        mut more: HeaderMap,
        most: u64,
        sink: &mut (impl FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<u16, String> {
        let mut url = Url::parse(url)?;
        for _ in 0..=REDIRECTS {
            let request = Self::request(Method::GET, &url, more.clone(), Bytes::new())?;
            let quiet = |_| format!("{} says nothing", url.authority);
            let stream = timeout(SILENCE, self.connector.connect(&url)).await.map_err(quiet)??;
            let broke =
                |error: hyper::Error| format!("the connection to {} broke off: {error}", url.authority);
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
            let driver = Driver(tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a download broke off");
                }
            }));
            let answer =
                timeout(SILENCE, sender.send_request(request)).await.map_err(quiet)?.map_err(broke)?;
            let status = answer.status();
            if let (true, Some(place)) = (moved(status), answer.headers().get(header::LOCATION)) {
                let next = url.join(place.to_str().map_err(|_| "a redirect leads nowhere".to_owned())?)?;
                if (next.https, &next.authority) != (url.https, &url.authority) {
                    more = HeaderMap::new();
                }
                url = next;
                continue;
            }
            if status != StatusCode::OK {
                return Ok(status.as_u16());
            }
            let (mut body, mut read) = (answer.into_body(), 0);
            while let Some(frame) = timeout(SILENCE, body.frame()).await.map_err(quiet)? {
                let Ok(data) = frame.map_err(broke)?.into_data() else { continue };
                read += data.len() as u64;
                if read > most {
                    return Err(format!("{} sends more than the {most} bytes that it said", url.authority));
                }
                sink(&data).map_err(|error| format!("what was read cannot be kept: {error}"))?;
            }
            drop(driver);
            return Ok(200);
        }
        Err(format!("redirected more than {REDIRECTS} times"))
    }
}

fn moved(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}
