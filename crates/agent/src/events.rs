//! The event streams of the control socket. Each subscriber has a small set of what it has not been told
//! yet: output of one worker counts once, however much there was, so nobody can fall behind without bound.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::Frame;
use runyard_domain::WorkerId;
use runyard_runtime::wire::Notice;

use crate::worker::locked;

/// Everyone who listens.
#[derive(Debug, Default)]
pub struct Events {
    subscribers: Mutex<Vec<Weak<Mutex<Untold>>>>,
}

#[derive(Debug, Default)]
struct Untold {
    hello: bool,
    exited: BTreeSet<WorkerId>,
    progress: BTreeSet<WorkerId>,
    output: BTreeSet<WorkerId>,
    closed: bool,
    waker: Option<Waker>,
}

impl Events {
    /// A worker's end is known.
    pub fn exited(&self, worker: &WorkerId) {
        self.tell(|untold| {
            untold.exited.insert(worker.clone());
        });
    }

    /// A worker's log grew.
    pub fn output(&self, worker: &WorkerId) {
        self.tell(|untold| {
            if !untold.output.contains(worker) {
                untold.output.insert(worker.clone());
            }
        });
    }

    /// A worker's start is a step further.
    #[cfg(feature = "docker")]
    pub fn progress(&self, worker: &WorkerId) {
        self.tell(|untold| {
            untold.progress.insert(worker.clone());
        });
    }

    /// Ends all streams.
    pub fn close(&self) {
        self.tell(|untold| untold.closed = true);
    }

    /// Whether anybody listens.
    pub fn has_listeners(&self) -> bool {
        locked(&self.subscribers).iter().any(|subscriber| subscriber.strong_count() > 0)
    }

    /// A stream of events from now on.
    pub fn subscribe(&self) -> Stream {
        let untold = Arc::new(Mutex::new(Untold { hello: true, ..Untold::default() }));
        locked(&self.subscribers).push(Arc::downgrade(&untold));
        Stream(untold)
    }

    fn tell(&self, change: impl Fn(&mut Untold)) {
        locked(&self.subscribers).retain(|subscriber| {
            let Some(subscriber) = subscriber.upgrade() else { return false };
            let mut untold = locked(&subscriber);
            change(&mut untold);
            if let Some(waker) = untold.waker.take() {
                waker.wake();
            }
            true
        });
    }
}

/// The body of `GET /events`: one JSON notice a line.
#[derive(Debug)]
pub struct Stream(Arc<Mutex<Untold>>);

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut untold = locked(&self.0);
        let hello = std::mem::take(&mut untold.hello).then_some(Notice::Hello);
        // Output first: who hears of an end shall have been told of the last lines.
        let output = std::mem::take(&mut untold.output).into_iter().map(Notice::Output);
        let progress = std::mem::take(&mut untold.progress).into_iter().map(Notice::Progress);
        let exited = std::mem::take(&mut untold.exited).into_iter().map(Notice::Exited);
        let mut lines = Vec::new();
        for notice in hello.into_iter().chain(output).chain(progress).chain(exited) {
            if serde_json::to_writer(&mut lines, &notice).is_ok() {
                lines.push(b'\n');
            }
        }
        if !lines.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from(lines)))));
        }
        if untold.closed {
            return Poll::Ready(None);
        }
        untold.waker = Some(context.waker().clone());
        Poll::Pending
    }
}
