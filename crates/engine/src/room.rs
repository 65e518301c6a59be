//! Room in memory for large inputs on their way to workers. It is taken before they are read, so that many workers that
//! ask at once cannot fill the memory; jobs that find none go back to the queue.

use std::sync::Arc;
use std::time::Duration;

use runyard_domain::Payload;
use runyard_store::Taken;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::Engine;

/// How long jobs wait for room. It is freed as connections take what they are answered, or end.
const WAIT: Duration = Duration::from_secs(5);

/// A budget that inputs share with others.
#[derive(Debug, Clone)]
pub struct InputRoom {
    /// The budget's pieces.
    pub pieces: Arc<Semaphore>,
    /// How many bytes one of them stands for.
    pub piece: usize,
    /// How many there are.
    pub total: usize,
}

/// There is no room.
pub(crate) struct Full;

impl InputRoom {
    /// Room for what is read from files. The rest is in memory already.
    async fn enter(&self, taken: &[Taken]) -> Result<Option<OwnedSemaphorePermit>, Full> {
        let files = taken.iter().filter(|t| matches!(t.input, Payload::File { .. }));
        let bytes: u64 = files.map(|t| t.input.len()).sum();
        // More than there is would wait in vain.
        let pieces = usize::try_from(bytes).unwrap_or(usize::MAX).div_ceil(self.piece).min(self.total);
        if pieces == 0 {
            return Ok(None);
        }
        let entered = timeout(WAIT, self.pieces.clone().acquire_many_owned(pieces as u32)).await;
        entered.map_err(|_| Full)?.map(Some).map_err(|_| Full)
    }
}

impl Engine {
    /// Bounds the inputs that are on their way to workers. Once; without, nothing does.
    pub fn bound_inputs(&self, room: InputRoom) {
        let _ = self.shared.input_room.set(room);
    }

    pub(crate) async fn room_for(&self, taken: &[Taken]) -> Result<Option<OwnedSemaphorePermit>, Full> {
        match self.shared.input_room.get() {
            Some(room) => room.enter(taken).await,
            None => Ok(None),
        }
    }
}
