//! What stands for the process of a worker that is a container: how far its start is, and what was ordered for it.

#![cfg_attr(not(feature = "docker"), expect(dead_code, reason = "this build starts no containers"))]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use runyard_domain::Timestamp;
use runyard_domain::start::Seen;
use runyard_runtime::{StartPhase, Stop};
use tokio::sync::watch;

use crate::worker::locked;

/// What stands for the process of a worker that is a container.
#[derive(Debug)]
pub struct Inside {
    pid: AtomicU32,
    phase: Mutex<Option<StartPhase>>,
    seen: Mutex<Seen>,
    orders: watch::Sender<Option<Stop>>,
    engine: String,
}

impl Inside {
    /// One that is looked for its image, on the engine that listens there, and the end at which its orders arrive.
    pub fn new(engine: String) -> (Self, watch::Receiver<Option<Stop>>) {
        let (orders, told) = watch::channel(None);
        let phase = Mutex::new(Some(StartPhase::Resolving));
        (Self { pid: AtomicU32::new(0), phase, seen: Mutex::default(), orders, engine }, told)
    }

    /// Where its engine listens.
    pub fn engine(&self) -> &str {
        &self.engine
    }

    /// Its main process, as this machine sees it.
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// How far its start is; `None` where it runs, or ran.
    pub fn phase(&self) -> Option<StartPhase> {
        *locked(&self.phase)
    }

    /// Has it ended, now or as soon as it is there. A harder order replaces a softer one.
    pub fn order(&self, how: Stop) {
        self.orders.send_if_modified(|order| {
            let harder = *order != Some(Stop::Kill) && *order != Some(how);
            if harder {
                *order = Some(how);
            }
            harder
        });
    }

    /// What was seen of its start.
    pub fn seen(&self) -> Seen {
        *locked(&self.seen)
    }

    /// Its start is so far.
    pub fn set_phase(&self, phase: Option<StartPhase>) {
        if let Some(StartPhase::Pulling { .. }) = phase {
            locked(&self.seen).pulled = true;
        }
        *locked(&self.phase) = phase;
    }

    /// Its image is there.
    pub fn set_image(&self, at: Timestamp) {
        locked(&self.seen).image_at = Some(at);
    }

    /// Its main process is there.
    pub fn set_pid(&self, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
    }
}
