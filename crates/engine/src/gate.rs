//! Whether the disk has room for new jobs. The writer looks before each batch that brings some, and every second
//! while they are refused; everybody else sees what it found last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use runyard_store::{Blobs, Reserve};

/// Shut while the disk is full.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    reserve: Reserve,
    shut: Arc<AtomicBool>,
}

impl Gate {
    /// The gate before what `blobs` shares a disk with.
    pub(crate) fn of(blobs: &Blobs) -> Self {
        let gate = Self { reserve: blobs.reserve().clone(), shut: Arc::default() };
        gate.look();
        gate
    }

    /// Whether new jobs were refused when somebody looked last.
    pub(crate) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }

    /// Looks at the disk; makes the reserve whole where that can be. Says whether new jobs have room.
    pub(crate) fn look(&self) -> bool {
        let before = self.is_shut();
        self.reserve.restore();
        let open = self.reserve.has_room(before);
        self.shut.store(!open, Ordering::Release);
        match (before, open) {
            (false, false) => {
                let room = self.reserve.room();
                let (free, kept) = room.map_or((0, 0), |room| (room.free, room.kept));
                tracing::warn!(free, kept, "the disk is full: new jobs are refused, results are still taken");
            }
            (true, true) => tracing::info!("the disk has room again: new jobs are taken"),
            _ => {}
        }
        open
    }

    /// Gives up a part of the reserve; `false` where there is none.
    pub(crate) fn give(&self) -> bool {
        self.reserve.give(0)
    }
}
