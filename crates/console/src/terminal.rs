//! Terminals beside workers: what `runyard exec -t` is, for pages. A page opens one by a form of its own (a session's
//! cookie, its number, and the same origin), and reads what the command prints as the answer of that request, in the
//! frames of `runyard_runtime::session`. What is typed comes as requests to the name that the answer has, of the same
//! session alone. Nothing is a WebSocket, so no page of another site can open or feed one. A terminal ends with its page,
//! with its worker, and with the rights of who opened it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use runyard_domain::Access;
use runyard_runtime::session::{CONTENT_TYPE, Ended, Frame, Reader, Size, Start, Way};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, interval_at};

use crate::Console;
use crate::call::{encoded, trouble};
use crate::forms::{Form, read};
use crate::pages::terminal::worker;
use crate::session::Visit;

/// What may be run in one: the first is what is offered.
pub(crate) const SHELLS: [&str; 3] = ["bash", "sh", "python3"];

/// The largest form and the most that is typed at once, in bytes: what is pasted comes in pieces.
const MOST: usize = 256 << 10;

/// Frames that wait for a slow command.
const WAITING: usize = 64;

/// How often it is looked whether who opened it still may, and whether the page is there.
const LOOK: Duration = Duration::from_secs(5);

/// The header with the name of a terminal.
const NAME: &str = "x-terminal";

/// Those that are open, by name.
#[derive(Clone, Default)]
pub(crate) struct Terminals(Arc<Mutex<HashMap<String, Open>>>);

/// Whose a terminal is, and where what is typed goes.
#[derive(Clone)]
struct Open {
    csrf: String,
    worker: String,
    typed: mpsc::Sender<Frame>,
}

impl Terminals {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a terminal off the list when its page has gone.
struct Listed {
    terminals: Terminals,
    name: String,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.terminals.lock().remove(&self.name);
    }
}

/// What is told where it is not a page of ours that asks.
fn not_ours() -> Response {
    (StatusCode::FORBIDDEN, "this request is not one of this server's pages").into_response()
}

/// The size of a terminal that a form names.
fn size(form: &Form) -> Size {
    let number = |name: &str, usual: u16| {
        form.get(name).and_then(|text| text.parse().ok()).filter(|n| (1..=1_000).contains(n)).unwrap_or(usual)
    };
    Size { rows: number("rows", 24), columns: number("columns", 80) }
}

/// `POST /ui/terminal/{worker}`: runs a shell; the answer goes on as long as that does.
pub(crate) async fn open(
    State(console): State<Console>,
    visit: Visit,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let form = match read(body, MOST).await {
        Ok(form) if console.is_own_page(&headers) && visit.owns(&form) => form,
        _ => return not_ours(),
    };
    let asked = form.get("shell").unwrap_or_default();
    let Some(shell) = SHELLS.into_iter().find(|shell| *shell == asked) else {
        return (StatusCode::BAD_REQUEST, format!("a shell is one of {}", SHELLS.join(", "))).into_response();
    };
    let endpoint = match worker(&visit, &id).await {
        Ok(placed) => placed.endpoint,
        Err(trouble) => return (trouble.status, trouble.words()).into_response(),
    };
    let (typed, heard) = mpsc::channel(WAITING);
    let start = Start { command: vec![shell.to_owned()], terminal: Some(size(&form)) };
    let _ = typed.try_send(Frame::Start(start));
    let frames = stream::unfold(heard, |mut heard| async move {
        let frame: Frame = heard.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(frame.encode()), heard))
    });
    let request = Request::post(format!("/api/v1/workers/{}/exec", encoded(&id)))
        .header(header::CONTENT_TYPE, CONTENT_TYPE)
        .body(Body::from_stream(frames));
    let Ok(request) = request else { return (StatusCode::BAD_REQUEST, "no worker's id").into_response() };
    let answer = visit.pass(request).await;
    let status = answer.status();
    if !status.is_success() {
        let said = Limited::new(answer.into_body(), MOST).collect().await;
        let said = said.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        return (status, trouble(status, &said).words()).into_response();
    }
    let name = console.inner.engine.env().token(16);
    let terminals = console.inner.terminals.clone();
    let open = Open { csrf: visit.csrf.clone(), worker: id, typed };
    terminals.lock().insert(name.clone(), open);
    let closing = console.inner.closing.subscribe();
    let screen = Screen {
        from: answer.into_body(),
        reader: Reader::new(Way::Out),
        visit,
        endpoint,
        look: interval_at(Instant::now() + LOOK, LOOK),
        closing,
        over: false,
        _listed: Listed { terminals, name: name.clone() },
    };
    let shown = stream::unfold(screen, |mut screen| async move {
        let bytes = screen.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), screen))
    });
    let headers = [
        (header::CONTENT_TYPE, CONTENT_TYPE),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, [(NAME, name)], Body::from_stream(shown)).into_response()
}

/// What a page is shown.
struct Screen {
    from: Body,
    /// What came and is no whole frame yet: nothing is put into the midst of one.
    reader: Reader,
    visit: Visit,
    endpoint: String,
    look: Interval,
    closing: watch::Receiver<bool>,
    over: bool,
    _listed: Listed,
}

impl Screen {
    /// The next bytes; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        loop {
            tokio::select! {
                frame = self.from.frame() => match frame {
                    Some(Ok(frame)) => {
                        let Some(bytes) = frame.data_ref() else { continue };
                        self.reader.push(bytes);
                        let whole = self.whole()?;
                        if !whole.is_empty() {
                            return Some(whole);
                        }
                    }
                    Some(Err(_)) | None => return None,
                },
                _ = self.closing.changed() => return Some(self.end("the server ends, or takes over from itself")),
                _ = self.look.tick() => {
                    let may = |visit: &Visit| visit.may_with(Access::Deploy, &self.endpoint);
                    match self.visit.again().filter(may) {
                        Some(visit) => self.visit = visit,
                        None => return Some(self.end("you are not signed in any more, or may not do this any more")),
                    }
                    // Nothing, which is sent all the same: a page that has gone is noticed.
                    return Some(Frame::Out(Bytes::new()).encode());
                }
            }
        }
    }

    /// The frames that have come, as bytes; none where what came is no frame.
    fn whole(&mut self) -> Option<Bytes> {
        let mut all = BytesMut::new();
        while let Some(frame) = self.reader.frame().ok()? {
            all.extend_from_slice(&frame.encode());
        }
        Some(all.freeze())
    }

    fn end(&mut self, why: &str) -> Bytes {
        self.over = true;
        Frame::Ended(Ended { code: None, why: Some(why.to_owned()) }).encode()
    }
}

/// `POST /ui/terminal/{worker}/{session}`: frames of what is typed, and of another size.
pub(crate) async fn input(
    State(console): State<Console>,
    visit: Visit,
    Path((worker, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let number = headers.get("x-csrf-token").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !console.is_own_page(&headers) || !visit.owns(&Form::of("csrf", number)) {
        return not_ours();
    }
    let open = console.inner.terminals.lock().get(&name).cloned();
    let Some(open) = open.filter(|open| open.csrf == visit.csrf && open.worker == worker) else {
        return (StatusCode::GONE, "this terminal has ended").into_response();
    };
    let Ok(bytes) = axum::body::to_bytes(body, MOST).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "more than 256 KiB came at once").into_response();
    };
    let mut reader = Reader::new(Way::In);
    reader.push(&bytes);
    loop {
        match reader.frame() {
            Ok(Some(frame @ (Frame::Input(_) | Frame::Resize(_)))) => {
                if open.typed.send(frame).await.is_err() {
                    return (StatusCode::GONE, "this terminal has ended").into_response();
                }
            }
            Ok(None) => break,
            Ok(Some(_)) | Err(_) => {
                return (StatusCode::BAD_REQUEST, "what came is neither typed nor a size").into_response();
            }
        }
    }
    StatusCode::NO_CONTENT.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_bounded() {
        let of = |text: &str| size(&Form::parse(text.as_bytes()));
        assert_eq!(of("rows=30&columns=100"), Size { rows: 30, columns: 100 });
        for odd in ["", "rows=0&columns=0", "rows=99999&columns=-1", "rows=x&columns=5000"] {
            assert_eq!(of(odd), Size { rows: 24, columns: 80 }, "{odd}");
        }
    }
}
