//! `POST /api/v1/backup`: an archive of the data directory as it is now, as a stream, while the server goes on.

use std::io::{self, Write};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use runyard_backup::{BackupError, Choice, Staging, Wrapping};
use runyard_manage::Problem;
use serde::Deserialize;
use tokio::sync::{OwnedMutexGuard, mpsc};

use super::{Admin, Operator, Options};

/// Bytes that are sent together.
const PIECE: usize = 256 << 10;
/// Pieces that wait for a slow reader.
const PIECES: usize = 8;
/// The longest word about where the archive goes.
const LONGEST_PLACE: usize = 1_000;
/// How many bytes the files of the archive have together: for whoever shows how far it is.
pub(super) const BYTES: &str = "x-runyard-backup-bytes";

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Request {
    /// With the logs of workers and builds.
    logs: bool,
    /// What closes the keys; without it they are left out.
    wrapping: Option<Wrapping>,
    /// Where the archive goes: noted for `doctor`.
    to: String,
}

pub(super) async fn create(
    State(operator): State<Operator>,
    _admin: Admin,
    body: Bytes,
) -> Result<Response, Problem> {
    let request = read(&body)?;
    let Ok(turn) = Arc::clone(&operator.backing_up).try_lock_owned() else {
        return Err(Problem::conflict("a backup of this server is being made already").hint("wait for it"));
    };
    let options = Arc::clone(&operator.inner);
    let (logs, wrapping) = (request.logs, request.wrapping);
    let staged = tokio::task::spawn_blocking(move || {
        let mut nonce = [0; 24];
        let env = options.engine.env();
        env.fill(&mut nonce);
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let choice = Choice { logs, wrapping, nonce, now: env.wall().0, version };
        Staging::new(&options.paths, &options.blobs, &choice)
    });
    let staging = staged.await.map_err(|error| Problem::internal(&error))?;
    let staging = staging.map_err(|error| Problem::internal(&error))?;
    let bytes = staging.manifest().bytes();
    let (pieces, mut sent) = mpsc::channel(PIECES);
    let options = Arc::clone(&operator.inner);
    tokio::task::spawn_blocking(move || send(&staging, pieces, &options, &request.to, turn));
    let stream = futures_util::stream::poll_fn(move |cx| sent.poll_recv(cx));
    let headers =
        [(header::CONTENT_TYPE.as_str(), "application/x-tar".to_owned()), (BYTES, bytes.to_string())];
    Ok((headers, Body::from_stream(stream)).into_response())
}

fn read(body: &[u8]) -> Result<Request, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(Request::default());
    }
    let request: Request = serde_json::from_slice(body)
        .map_err(|error| Problem::invalid(format!("the body is wrong: {error}")))?;
    if request.wrapping.as_ref().is_some_and(|wrapping| !wrapping.is_sound()) {
        return Err(Problem::invalid("'wrapping' holds no key that could close anything"));
    }
    if request.to.len() > LONGEST_PLACE || request.to.chars().any(char::is_control) {
        return Err(Problem::invalid(format!("'to' has at most {LONGEST_PLACE} bytes of plain text")));
    }
    Ok(request)
}

/// Sends the archive, and notes that there is one.
fn send(
    staging: &Staging,
    pieces: mpsc::Sender<io::Result<Bytes>>,
    options: &Options,
    to: &str,
    turn: OwnedMutexGuard<()>,
) {
    let mut pieces = Pieces { to: pieces, piece: Vec::with_capacity(PIECE) };
    match runyard_backup::write(staging, &mut pieces, &mut |_| {}) {
        Ok(()) => {
            let note = options.paths.last_backup();
            if let Err(error) = std::fs::write(&note, format!("{to}\n")) {
                tracing::warn!(%error, "the backup could not be noted");
            }
            tracing::info!(bytes = staging.manifest().bytes(), to, "A backup was made");
        }
        // Whoever reads it is gone, or sees that the end is missing.
        Err(error) => {
            let error: &dyn std::error::Error = match &error {
                BackupError::Write(source) => source,
                other => other,
            };
            tracing::error!(error, "A backup could not be made");
            let _ = pieces.to.blocking_send(Err(io::Error::other("the backup could not be read whole")));
        }
    }
    drop(turn);
}

/// What is written, in pieces for the answer.
struct Pieces {
    to: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        if piece.is_empty() {
            return Ok(());
        }
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads it any more");
        self.to.blocking_send(Ok(piece.into())).map_err(gone)
    }
}
