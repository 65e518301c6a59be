//! What a connection is doing, shared by its stream, its service and the doors. All of it runs in one task, so the
//! atomics are never fought over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// One connection's state.
#[derive(Debug)]
pub(crate) struct Pulse {
    born: Instant,
    /// Milliseconds after birth at which the last answer was done with.
    rests_since: AtomicU64,
    requests: AtomicU64,
    busy: AtomicBool,
    answering: AtomicBool,
    /// Rung when the connection has to make room for another.
    pub(crate) evicted: Notify,
}

/// A request that is being answered; dropped when its answer was taken or given up.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Pulse>);

impl Pulse {
    /// A connection that was just accepted.
    pub(crate) fn new() -> Self {
        Self {
            born: Instant::now(),
            rests_since: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            answering: AtomicBool::new(false),
            evicted: Notify::new(),
        }
    }

    /// When the last answer was done with; at first, when the connection was accepted.
    pub(crate) fn rests_since(&self) -> Instant {
        self.born + Duration::from_millis(self.rests_since.load(Ordering::Relaxed))
    }

    /// A request goes to the service.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.busy.store(true, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// How many requests there were.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether a request is being answered.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// The service has answered; the next bytes written are that answer's.
    pub(crate) fn answers(&self) {
        self.answering.store(true, Ordering::Relaxed);
    }

    /// Whether the bytes about to be written begin what no service answered.
    pub(crate) fn writes_unasked(&self) -> bool {
        !self.answering.swap(false, Ordering::Relaxed) && !self.is_busy()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let now = self.0.born.elapsed().as_millis() as u64;
        self.0.rests_since.store(now, Ordering::Relaxed);
        self.0.busy.store(false, Ordering::Relaxed);
    }
}
