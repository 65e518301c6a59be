//! Room in memory for what workers send and what they are sent, so that many of them, or slow ones, cannot fill it. Small
//! bodies have room of their own: however slowly large ones come, a small result does not wait for them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies up to this length, in bytes, are small.
pub const SMALL: usize = 4 << 20;

/// Room for small bodies, in KiB.
const FOR_SMALL: usize = 64 << 10;

/// Room for the others, in KiB: three of the largest that are taken.
const FOR_LARGE: usize = 192 << 10;

/// Room for answers to workers, in KiB.
pub const FOR_ANSWERS: usize = 256 << 10;

/// A part of the room; dropped, it is free again.
pub type Part = OwnedSemaphorePermit;

/// Room for bodies.
#[derive(Debug)]
pub struct Room {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Default for Room {
    fn default() -> Self {
        Self { small: Arc::new(Semaphore::new(FOR_SMALL)), large: Arc::new(Semaphore::new(FOR_LARGE)) }
    }
}

impl Room {
    /// Waits for room for a body of so many bytes. `None`: the agent ends.
    pub async fn part(&self, bytes: usize) -> Option<Part> {
        let lane = if bytes <= SMALL { &self.small } else { &self.large };
        Arc::clone(lane).acquire_many_owned(in_kib(bytes)).await.ok()
    }
}

/// So many KiB hold so many bytes.
pub fn in_kib(bytes: usize) -> u32 {
    u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_small_body_does_not_wait_for_large_ones() {
        let room = Room::default();
        let mut large = Vec::new();
        while let Some(Some(part)) = room.part((64 << 20) - 1).now_or_never() {
            large.push(part);
        }
        assert_eq!(large.len(), 3);
        assert!(room.part(SMALL + 1).now_or_never().is_none());
        let small: Vec<_> = (0..15).map(|_| room.part(SMALL).now_or_never()).collect();
        assert!(small.iter().all(Option::is_some));
        assert!(room.part(SMALL).now_or_never().is_none(), "these have an end too");
        large.pop();
        assert!(room.part(SMALL + 1).now_or_never().is_some());
    }
}
