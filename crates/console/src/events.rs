//! `GET /ui/events?page=…`: the parts of one page that changed, as they change. The engine's feed and the runtime only
//! nudge: the page is loaded anew and compared with what was sent. At most four times a second, and with pauses three
//! times as long as it took; nothing is kept but the hash of each part, so a slow reader costs nothing.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::RawQuery;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{StatusCode, header};
use runyard_domain::{EndpointId, JobId, WorkerId};
use runyard_engine::Change;
use runyard_runtime::Event;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};

use crate::pages;
use crate::place::{Place, Query, Tab};
use crate::session::Visit;

/// The shortest time between two looks.
const PACE: Duration = Duration::from_millis(250);

/// How often a page is looked at where nothing nudges: time passes in it, and the connection is seen to be there.
const QUIET: Duration = Duration::from_secs(15);

/// The same for a build that goes on, and for how long it does after its last line.
const BUILDS: Duration = Duration::from_secs(1);
const BUSY: Duration = Duration::from_mins(2);

/// As many workers are remembered.
const MOST_PRINTERS: usize = 1_000;

struct Stream {
    visit: Visit,
    place: Place,
    query: Query,
    endpoint: Option<EndpointId>,
    /// Of workers that printed: whether they are of this endpoint.
    printers: HashMap<WorkerId, bool>,
    changes: broadcast::Receiver<Change>,
    events: broadcast::Receiver<Event>,
    closing: watch::Receiver<bool>,
    sent: HashMap<&'static str, u64>,
    /// When the next look may be.
    next: Instant,
    first: bool,
    /// The last look failed, and another may not.
    failed: bool,
    changed_at: Instant,
    _permit: OwnedSemaphorePermit,
}

/// Why a stream looks again, or does not.
enum Nudge {
    Changed,
    Quiet,
    End,
}

/// `GET /ui/events`.
pub(crate) async fn stream(visit: Visit, RawQuery(query): RawQuery) -> Response {
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let here = query.get("page").unwrap_or("/");
    let (path, rest) = here.split_once('?').unwrap_or((here, ""));
    let place = match Place::parse(path) {
        Ok(place) => place,
        Err(trouble) => return (trouble.status, trouble.words()).into_response(),
    };
    let inner = &visit.console.inner;
    let Ok(permit) = inner.streams.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open; this one stays as it is")
            .into_response();
    };
    let endpoint = endpoint_of(&visit, &place);
    let (changes, events) = (inner.engine.watch(), inner.runtime.watch());
    let closing = inner.closing.subscribe();
    let stream = Stream {
        query: Query::parse(rest),
        visit,
        place,
        endpoint,
        printers: HashMap::new(),
        changes,
        events,
        closing,
        sent: HashMap::new(),
        next: Instant::now(),
        first: true,
        failed: false,
        changed_at: Instant::now(),
        _permit: permit,
    };
    let body = stream::unfold(stream, |mut stream| async move {
        let bytes = stream.frame().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), stream))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, [("x-accel-buffering", "no")], Body::from_stream(body)).into_response()
}

/// The endpoint that a page is about, where it is about one.
fn endpoint_of(visit: &Visit, place: &Place) -> Option<EndpointId> {
    let engine = &visit.console.inner.engine;
    match place {
        Place::Endpoint { ep, .. } | Place::Release { ep, .. } => {
            engine.endpoint(ep).map(|endpoint| endpoint.id.clone())
        }
        Place::Job(id) => engine.job(&JobId::parse(id).ok()?).ok()?.map(|job| job.endpoint),
        _ => None,
    }
}

impl Stream {
    /// The next bytes; none at the end.
    async fn frame(&mut self) -> Option<Bytes> {
        loop {
            let quiet = if std::mem::take(&mut self.first) {
                false
            } else {
                match self.nudge().await {
                    Nudge::End => return None,
                    Nudge::Changed => false,
                    Nudge::Quiet => true,
                }
            };
            self.pace().await?;
            let began = Instant::now();
            // The session, or its key, may have ended meanwhile.
            self.visit = self.visit.again()?;
            let looked = pages::look(&self.visit, &self.place, &self.query).await;
            self.failed = looked.as_ref().is_err_and(|trouble| trouble.status.is_server_error());
            let text = match looked {
                Ok(page) => self.changed(page.live()),
                Err(_) if self.failed => String::new(),
                // What the page shows is gone: whoever loads it again is told.
                Err(_) => "event: gone\ndata: 1\n\n".to_owned(),
            };
            self.next = Instant::now() + PACE.max(began.elapsed() * 3);
            if !text.is_empty() {
                self.changed_at = Instant::now();
                return Some(text.into());
            }
            if quiet {
                return Some(Bytes::from_static(b": quiet\n\n"));
            }
        }
    }

    /// Waits until something that the page shows may have changed.
    async fn nudge(&mut self) -> Nudge {
        // What a build says nudges nobody: while its page changes, it is looked at often.
        let builds = matches!(self.place, Place::Release { .. }) && self.changed_at.elapsed() < BUSY;
        let quiet = tokio::time::sleep(if builds || self.failed { BUILDS } else { QUIET });
        tokio::pin!(quiet);
        loop {
            tokio::select! {
                change = self.changes.recv() => match change {
                    Ok(change) if !self.concerns(&change) => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => return Nudge::Changed,
                    Err(RecvError::Closed) => return Nudge::End,
                },
                event = self.events.recv() => match event {
                    Ok(Event::Output(worker)) if !self.shows_output_of(&worker) => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => return Nudge::Changed,
                    Err(RecvError::Closed) => return Nudge::End,
                },
                _ = self.closing.changed() => return Nudge::End,
                () = &mut quiet => return Nudge::Quiet,
            }
        }
    }

    /// Waits until it may look again; none at the end.
    async fn pace(&mut self) -> Option<()> {
        if *self.closing.borrow() {
            return None;
        }
        tokio::select! {
            () = tokio::time::sleep_until(self.next.into()) => Some(()),
            _ = self.closing.changed() => None,
        }
    }

    fn concerns(&self, change: &Change) -> bool {
        match (change, &self.endpoint) {
            (Change::Jobs(id) | Change::Endpoint(id), Some(own)) => id == own,
            (Change::Deliveries, _) => matches!(self.place, Place::Job(_)),
            _ => true,
        }
    }

    /// Whether what a worker prints may be on the page. The lines of a job are, also those that come after its end.
    fn shows_output_of(&mut self, worker: &WorkerId) -> bool {
        match self.place {
            Place::Job(_) => {}
            Place::Endpoint { tab: Tab::Requests, .. } if self.query.get("job").is_some() => {}
            _ => return false,
        }
        let Some(own) = &self.endpoint else { return true };
        if let Some(known) = self.printers.get(worker) {
            return *known;
        }
        // One whose record is not there yet may be.
        let Ok(Some(record)) = self.visit.console.inner.engine.reader().worker(worker) else { return true };
        if self.printers.len() == MOST_PRINTERS {
            self.printers.clear();
        }
        *self.printers.entry(worker.clone()).or_insert(record.endpoint == *own)
    }

    /// The parts that are others than those that were sent, as one message.
    fn changed(&mut self, parts: Vec<(&'static str, String)>) -> String {
        let mut message = String::new();
        for (id, html) in parts {
            let mut hasher = DefaultHasher::new();
            html.hash(&mut hasher);
            let hash = hasher.finish();
            if self.sent.insert(id, hash) == Some(hash) {
                continue;
            }
            message.push_str("data: <hx-partial hx-target=\"#");
            message.push_str(id);
            message.push_str("\" hx-swap=\"outerMorph\">\n");
            for line in html.lines().filter(|line| !line.is_empty()) {
                message.push_str("data: ");
                message.push_str(line);
                message.push('\n');
            }
            message.push_str("data: </hx-partial>\n");
        }
        if !message.is_empty() {
            message.push('\n');
        }
        message
    }
}
