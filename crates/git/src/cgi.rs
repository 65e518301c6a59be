//! `git http-backend` for one request: what a `git push` or `git clone` sends goes into it, and its answer comes out
//! piece by piece. Who may do what was decided before.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use crate::command::{Group, last};
use crate::error::GitError;
use crate::pushed::Pushed;
use crate::room::{As, Room};

/// The longest head of an answer, in bytes.
const HEAD: usize = 16 << 10;

/// How long the program may say nothing: it may be busy with a large push.
const SILENCE: Duration = Duration::from_mins(10);

/// What the program does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// It sends commits: a clone or fetch.
    Upload,
    /// It takes commits: a push.
    Receive,
}

/// The request of a Git client, as far as it is understood. Nothing else is served: no file of the repository can be
/// asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What for.
    pub service: Service,
    /// It only asks what there is.
    pub asks: bool,
}

impl Call {
    /// Reads what follows the repository's name.
    pub fn read(method: &Method, rest: &str, query: &str) -> Option<Self> {
        let service = |name: &str| match name {
            "git-upload-pack" => Some(Service::Upload),
            "git-receive-pack" => Some(Service::Receive),
            _ => None,
        };
        match (method.as_str(), rest) {
            ("GET", "info/refs") => {
                Some(Self { service: service(query.strip_prefix("service=")?)?, asks: true })
            }
            ("POST", name) => Some(Self { service: service(name)?, asks: false }),
            _ => None,
        }
    }

    fn name(&self) -> &'static str {
        match self.service {
            Service::Upload => "git-upload-pack",
            Service::Receive => "git-receive-pack",
        }
    }
}

/// An answer whose body is still to come.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    first: Bytes,
    out: ChildStdout,
    child: Child,
    group: Group,
    _room: Room,
}

/// Begins the answer to `call` on a repository, for `user`.
pub async fn begin<B>(
    pushed: &Pushed,
    call: &Call,
    headers: &HeaderMap,
    user: &str,
    body: B,
) -> Result<Answer, GitError>
where
    B: BodyPieces + Send + 'static,
{
    const WHAT: &str = "Serving the repository";
    let path = pushed.path.as_path();
    let room = pushed.ground.room(WHAT, As::Ourselves, &[path]).await?;
    let mut backend = room.git();
    backend.arg("http-backend");
    let (root, name) =
        (path.parent().unwrap_or(path), path.file_name().unwrap_or_default().to_string_lossy());
    let (method, info, query) = if call.asks {
        ("GET", format!("/{name}/info/refs"), format!("service={}", call.name()))
    } else {
        ("POST", format!("/{name}/{}", call.name()), String::new())
    };
    backend
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_HTTP_MAX_REQUEST_BUFFER", "100M")
        .env("PATH_INFO", info)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", method)
        .env("REMOTE_USER", user)
        .env("REMOTE_ADDR", "");
    for (header, variable) in [
        ("content-type", "CONTENT_TYPE"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("content-length", "CONTENT_LENGTH"),
        ("git-protocol", "GIT_PROTOCOL"),
    ] {
        if let Some(value) = headers.get(header).and_then(|value| value.to_str().ok()) {
            backend.env(variable, value);
        }
    }
    let mut child = room.start(backend).map_err(|error| GitError::here(WHAT, &error))?;
    let group = Group::of(&child);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    if let Some(stdin) = stdin {
        tokio::spawn(feed(stdin, body));
    }
    tokio::spawn(async move {
        let said = last(stderr).await;
        if !said.trim().is_empty() {
            tracing::debug!(said = said.trim(), "git http-backend had something to say");
        }
    });
    let mut out = stdout.ok_or_else(|| GitError::here(WHAT, &"git has no output"))?;
    let head = timeout(SILENCE, head(&mut out)).await.ok().and_then(Result::ok).flatten();
    let (head, first) = head.ok_or_else(|| GitError::here(WHAT, &"git http-backend gave no answer"))?;
    let (status, headers) = parse_head(&head)
        .ok_or_else(|| GitError::here(WHAT, &"the answer of git http-backend cannot be read"))?;
    Ok(Answer { status, headers, first, out, child, group, _room: room })
}

/// A body that comes in pieces.
pub trait BodyPieces {
    /// The next piece; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Option<io::Result<Bytes>>> + Send;
}

async fn feed(mut stdin: ChildStdin, mut body: impl BodyPieces) {
    while let Some(Ok(piece)) = body.next().await {
        // It may have heard enough.
        if stdin.write_all(&piece).await.is_err() {
            return;
        }
    }
}

/// The head of the answer, and what came with it of the body.
async fn head(out: &mut ChildStdout) -> io::Result<Option<(Vec<u8>, Bytes)>> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 4096];
    loop {
        let read = out.read(&mut piece).await?;
        bytes.extend_from_slice(&piece[..read]);
        if let Some((end, gap)) = end_of_head(&bytes) {
            let rest = Bytes::copy_from_slice(&bytes[end + gap..]);
            bytes.truncate(end);
            return Ok(Some((bytes, rest)));
        }
        if read == 0 || bytes.len() > HEAD {
            return Ok(None);
        }
    }
}

fn end_of_head(bytes: &[u8]) -> Option<(usize, usize)> {
    let at =
        |mark: &[u8]| bytes.windows(mark.len()).position(|window| window == mark).map(|at| (at, mark.len()));
    [at(b"\r\n\r\n"), at(b"\n\n")].into_iter().flatten().min()
}

fn parse_head(head: &[u8]) -> Option<(StatusCode, HeaderMap)> {
    let text = std::str::from_utf8(head).ok()?;
    let (mut status, mut headers) = (StatusCode::OK, HeaderMap::new());
    for line in text.lines() {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            status = value.split(' ').next()?.parse().ok()?;
        } else {
            let name: HeaderName = name.trim().parse().ok()?;
            headers.append(name, HeaderValue::from_str(value).ok()?);
        }
    }
    Some((status, headers))
}

impl Answer {
    /// The next piece of the body; `None` when all is said and the program has ended.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if !self.first.is_empty() {
            return Some(Ok(std::mem::take(&mut self.first)));
        }
        let mut piece = vec![0; 64 << 10];
        match timeout(SILENCE, self.out.read(&mut piece)).await {
            Ok(Ok(0)) => {
                let _ = self.child.wait().await;
                self.group.0 = None;
                None
            }
            Ok(Ok(read)) => {
                piece.truncate(read);
                Some(Ok(piece.into()))
            }
            Ok(Err(error)) => Some(Err(error)),
            Err(_) => Some(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_services_are_served() {
        let read = |method: Method, rest: &str, query: &str| Call::read(&method, rest, query);
        let asks = read(Method::GET, "info/refs", "service=git-receive-pack").unwrap();
        assert_eq!(asks, Call { service: Service::Receive, asks: true });
        let takes = read(Method::POST, "git-upload-pack", "").unwrap();
        assert_eq!(takes, Call { service: Service::Upload, asks: false });
        for (method, rest, query) in [
            (Method::GET, "info/refs", ""),
            (Method::GET, "info/refs", "service=git-upload-archive"),
            (Method::GET, "config", ""),
            (Method::GET, "objects/info/packs", ""),
            (Method::POST, "../x/git-receive-pack", ""),
            (Method::PUT, "git-receive-pack", ""),
        ] {
            assert_eq!(read(method, rest, query), None, "{rest}");
        }
    }

    #[test]
    fn heads_are_read_with_and_without_a_status() {
        let (status, headers) = parse_head(b"Expires: 0\r\nContent-Type: a/b").unwrap();
        assert_eq!((status, headers.len()), (StatusCode::OK, 2));
        let (status, _) = parse_head(b"Status: 404 Not Found\nA: b").unwrap();
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(parse_head(b"nonsense"), None);
        assert_eq!(end_of_head(b"A: b\r\n\r\nrest"), Some((4, 4)));
        assert_eq!(end_of_head(b"A: b\n\nrest\r\n\r\n"), Some((4, 2)));
    }
}
