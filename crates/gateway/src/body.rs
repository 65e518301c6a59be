//! Reading bodies within limits: a size for each, a budget of bytes for all together, and no endless silence.
//! Room in the budget is taken as bytes arrive, so that a slow sender holds only what it has sent.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

/// Room in the budget is counted in pieces of this size.
const PIECE: usize = 64 << 10;

/// How much of a refused body is read and thrown away, so that its sender sees the refusal instead of a reset.
const DISCARD: u64 = 256 << 20;

/// And for how long.
const DISCARD_FOR: Duration = Duration::from_secs(20);

/// Room for the bodies that are in memory at once.
#[derive(Debug)]
pub(crate) struct Budget {
    pieces: Arc<Semaphore>,
}

/// A whole body, with its room in the budget until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    /// The body.
    pub(crate) bytes: Bytes,
    room: Option<OwnedSemaphorePermit>,
}

/// A body that was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    /// It is larger than it may be.
    #[error("the body has {bytes} bytes")]
    TooLarge {
        /// How many bytes came, as far as they were counted.
        bytes: u64,
    },
    /// The budget has no room.
    #[error("too many bytes of other requests are in flight")]
    NoRoom,
    /// The sender fell silent.
    #[error("the body did not arrive in time")]
    Silent,
    /// The connection broke, or the framing is wrong.
    #[error("the body broke off")]
    Broken(#[source] axum::Error),
}

/// The limits of one body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The most bytes.
    pub(crate) size: usize,
    /// The longest wait for room in the budget.
    pub(crate) room_wait: Duration,
    /// The longest silence.
    pub(crate) silence: Duration,
}

impl Budget {
    /// Room for this many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { pieces: Arc::new(Semaphore::new(bytes.div_ceil(PIECE).min(Semaphore::MAX_PERMITS))) }
    }

    /// Reads a body to its end.
    pub(crate) async fn read(
        &self,
        headers: &HeaderMap,
        mut body: Body,
        limits: Limits,
    ) -> Result<Held, Unread> {
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if let Some(bytes) = announced.filter(|bytes| *bytes > limits.size as u64) {
            // Who asks before sending ("Expect: 100-continue") gets the answer right away.
            if !headers.contains_key(header::EXPECT) {
                discard(body, 0, limits.silence).await;
            }
            return Err(Unread::TooLarge { bytes });
        }
        let mut bytes = BytesMut::with_capacity((announced.unwrap_or(0) as usize).min(1 << 20));
        let mut room = None;
        while let Some(data) = next(&mut body, limits.silence).await? {
            if bytes.len() + data.len() > limits.size {
                let seen = (bytes.len() + data.len()) as u64;
                drop((bytes, room));
                return Err(Unread::TooLarge { bytes: discard(body, seen, limits.silence).await });
            }
            self.grow(&mut room, bytes.len() + data.len(), limits.room_wait).await?;
            bytes.extend_from_slice(&data);
        }
        Ok(Held { bytes: bytes.freeze(), room })
    }

    /// Takes room until there is enough for `bytes`.
    async fn grow(
        &self,
        room: &mut Option<OwnedSemaphorePermit>,
        bytes: usize,
        wait: Duration,
    ) -> Result<(), Unread> {
        let has = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(PIECE).saturating_sub(has) as u32;
        if more == 0 {
            return Ok(());
        }
        let acquired = timeout(wait, self.pieces.clone().acquire_many_owned(more)).await;
        let permit = acquired.map_err(|_| Unread::NoRoom)?.map_err(|_| Unread::NoRoom)?;
        match room {
            Some(room) => room.merge(permit),
            None => *room = Some(permit),
        }
        Ok(())
    }
}

impl Held {
    /// The room alone: for who keeps slices of the bytes.
    pub(crate) fn into_room(self) -> Option<OwnedSemaphorePermit> {
        self.room
    }
}

async fn next(body: &mut Body, silence: Duration) -> Result<Option<Bytes>, Unread> {
    loop {
        match timeout(silence, body.frame()).await {
            Err(_) => return Err(Unread::Silent),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(Unread::Broken(error)),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Reads the rest of a body away; says how long the whole body was, as far as it was read.
async fn discard(mut body: Body, mut seen: u64, silence: Duration) -> u64 {
    let until = Instant::now() + DISCARD_FOR;
    while seen < DISCARD {
        match timeout_at(until, next(&mut body, silence)).await {
            Ok(Ok(Some(data))) => seen += data.len() as u64,
            _ => break,
        }
    }
    seen
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    fn limits(size: usize) -> Limits {
        Limits { size, room_wait: Duration::from_millis(20), silence: Duration::from_millis(50) }
    }

    #[tokio::test]
    async fn the_limit_is_inclusive_and_counted_to_the_end() {
        let budget = Budget::new(PIECE);
        let headers = HeaderMap::new();
        let held = budget.read(&headers, Body::from("12345"), limits(5)).await.unwrap();
        assert_eq!(held.bytes, "12345");
        let error = budget.read(&headers, Body::from("123456"), limits(5)).await.unwrap_err();
        assert!(matches!(error, Unread::TooLarge { bytes: 6 }), "{error}");
    }

    #[tokio::test]
    async fn room_is_given_back_when_the_body_is_done_with() {
        let budget = Budget::new(PIECE);
        let headers = HeaderMap::new();
        let held = budget.read(&headers, Body::from("1"), limits(5)).await.unwrap();
        let error = budget.read(&headers, Body::from("2"), limits(5)).await.unwrap_err();
        assert!(matches!(error, Unread::NoRoom), "{error}");
        drop(held);
        assert_eq!(budget.read(&headers, Body::from("2"), limits(5)).await.unwrap().bytes, "2");
    }
}
