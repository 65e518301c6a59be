//! Reading bodies within limits: a size for each, a budget of bytes for all together, and a pace. Room in the budget
//! is taken as bytes arrive, so that a slow sender holds only what it has sent. What is answered takes its room in a
//! budget of the same kind.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use runyard_engine::InputRoom;
use runyard_listener::Pace;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::Timing;

/// Room in the budget is counted in pieces of this size.
const PIECE: usize = 64 << 10;

/// How much of a refused body is read and thrown away, so that its sender sees the refusal instead of a reset.
const DISCARD: u64 = 256 << 20;

/// And for how long.
const DISCARD_FOR: Duration = Duration::from_secs(20);

/// Room in a budget; dropped, it is free again.
pub(crate) type Room = OwnedSemaphorePermit;

/// Room for the bodies that are in memory at once.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    pieces: Arc<Semaphore>,
    total: usize,
}

/// A whole body, with its room in the budget until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    /// The body.
    pub(crate) bytes: Bytes,
    room: Option<Room>,
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
    /// The sender is too slow.
    #[error("the body did not arrive in time")]
    Slow,
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
    /// How fast it has to come.
    pub(crate) pace: Pace,
}

impl Limits {
    /// The usual ones for a body of this size.
    pub(crate) fn new(timing: &Timing, size: usize) -> Self {
        let pace = Pace::new(timing.body_silence, timing.body_rate);
        Self { size, room_wait: timing.budget_wait, pace }
    }
}

impl Budget {
    /// Room for this many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let total = bytes.div_ceil(PIECE).min(Semaphore::MAX_PERMITS);
        Self { pieces: Arc::new(Semaphore::new(total)), total }
    }

    /// The same budget, for inputs that the engine reads for workers.
    pub(crate) fn for_inputs(&self) -> InputRoom {
        InputRoom { pieces: self.pieces.clone(), piece: PIECE, total: self.total }
    }

    /// Room for an answer of so many bytes; small ones need none, and none needs more than there is.
    pub(crate) async fn room(&self, bytes: u64, wait: Duration) -> Result<Option<Room>, Unread> {
        let pieces = usize::try_from(bytes).unwrap_or(usize::MAX).div_ceil(PIECE).min(self.total);
        if pieces <= 1 {
            return Ok(None);
        }
        let acquired = timeout(wait, self.pieces.clone().acquire_many_owned(pieces as u32)).await;
        acquired.map_err(|_| Unread::NoRoom)?.map(Some).map_err(|_| Unread::NoRoom)
    }

    /// Reads a body to its end.
    pub(crate) async fn read(
        &self,
        headers: &HeaderMap,
        mut body: Body,
        mut limits: Limits,
    ) -> Result<Held, Unread> {
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if let Some(bytes) = announced.filter(|bytes| *bytes > limits.size as u64) {
            // Who asks before sending ("Expect: 100-continue") gets the answer right away.
            if !headers.contains_key(header::EXPECT) {
                discard(body, 0, limits.pace).await;
            }
            return Err(Unread::TooLarge { bytes });
        }
        let mut bytes = BytesMut::with_capacity((announced.unwrap_or(0) as usize).min(1 << 20));
        let mut room = None;
        while let Some(data) = next(&mut body, &mut limits.pace).await? {
            if bytes.len() + data.len() > limits.size {
                let seen = (bytes.len() + data.len()) as u64;
                drop((bytes, room));
                return Err(Unread::TooLarge { bytes: discard(body, seen, limits.pace).await });
            }
            self.grow(&mut room, bytes.len() + data.len(), limits.room_wait).await?;
            bytes.extend_from_slice(&data);
        }
        Ok(Held { bytes: bytes.freeze(), room })
    }

    /// Takes room until there is enough for `bytes`.
    async fn grow(&self, room: &mut Option<Room>, bytes: usize, wait: Duration) -> Result<(), Unread> {
        let has = room.as_ref().map_or(0, Room::num_permits);
        // A bundle may be larger than all the room there is.
        let more = bytes.div_ceil(PIECE).min(self.total).saturating_sub(has) as u32;
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
    pub(crate) fn into_room(self) -> Option<Room> {
        self.room
    }
}

async fn next(body: &mut Body, pace: &mut Pace) -> Result<Option<Bytes>, Unread> {
    loop {
        let asked = Instant::now();
        match timeout(pace.left(), body.frame()).await {
            Err(_) => return Err(Unread::Slow),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(Unread::Broken(error)),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    pace.moved(asked.elapsed(), data.len());
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// A body that is read by somebody else within our limits, but for its size.
pub struct Watched {
    state: Arc<Mutex<Reading>>,
}

#[derive(Default)]
struct Reading {
    room: Option<Room>,
    failed: Option<Failed>,
}

/// Why a watched body broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// It came too slowly.
    Slow,
    /// There was no room for it.
    NoRoom,
}

impl Watched {
    /// Why it broke off, if it was us who broke it off. The room that it took is held as long as this lives.
    pub fn failed(&self) -> Option<Failed> {
        locked(&self.state).failed
    }
}

fn locked(state: &Mutex<Reading>) -> MutexGuard<'_, Reading> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Budget {
    /// Hands a body on that takes its room as it is read.
    pub(crate) fn watch(&self, body: Body, limits: Limits) -> (Body, Watched) {
        let state = Arc::new(Mutex::new(Reading::default()));
        let watched = Watched { state: Arc::clone(&state) };
        let reading = (body, self.clone(), limits, state, 0);
        let frames = stream::try_unfold(reading, |(mut body, budget, mut limits, state, seen)| async move {
            let read = async {
                let Some(data) = next(&mut body, &mut limits.pace).await? else { return Ok(None) };
                let seen = seen + data.len();
                let mut room = locked(&state).room.take();
                budget.grow(&mut room, seen, limits.room_wait).await?;
                locked(&state).room = room;
                Ok(Some((data, seen)))
            };
            match read.await {
                Ok(Some((data, seen))) => Ok(Some((data, (body, budget, limits, state, seen)))),
                Ok(None) => Ok(None),
                Err(error) => {
                    locked(&state).failed = match error {
                        Unread::Slow => Some(Failed::Slow),
                        Unread::NoRoom => Some(Failed::NoRoom),
                        Unread::TooLarge { .. } | Unread::Broken(_) => None,
                    };
                    Err(error)
                }
            }
        });
        (Body::from_stream(frames), watched)
    }
}

/// Reads the rest of a body away; says how long the whole body was, as far as it was read.
async fn discard(mut body: Body, mut seen: u64, mut pace: Pace) -> u64 {
    let until = Instant::now() + DISCARD_FOR;
    while seen < DISCARD {
        match timeout_at(until, next(&mut body, &mut pace)).await {
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
        Limits { size, room_wait: Duration::from_millis(20), pace: Pace::new(Duration::from_millis(50), 0) }
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

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_given_up() {
        let budget = Budget::new(PIECE);
        let bytes = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(40)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b"x")), ()))
        });
        let limits = Limits { pace: Pace::new(Duration::from_millis(50), 1_000), ..limits(1_000) };
        let error = budget.read(&HeaderMap::new(), Body::from_stream(bytes), limits).await.unwrap_err();
        assert!(matches!(error, Unread::Slow), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watched_body_holds_its_room_until_nobody_watches() {
        let budget = Budget::new(PIECE);
        let (body, watched) = budget.watch(Body::from("12345"), limits(0));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "12345");
        assert_eq!(watched.failed(), None);
        let (body, late) = budget.watch(Body::from("6"), limits(0));
        body.collect().await.unwrap_err();
        assert_eq!(late.failed(), Some(Failed::NoRoom));
        drop(watched);
        let (body, fresh) = budget.watch(Body::from("6"), limits(0));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "6");
        assert_eq!(fresh.failed(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_take_room_by_their_size() {
        let (budget, wait) = (Budget::new(4 * PIECE), Duration::from_millis(20));
        let all = budget.room(1 << 40, wait).await.unwrap();
        assert!(budget.room(PIECE as u64, wait).await.unwrap().is_none(), "small ones need none");
        assert!(matches!(budget.room(2 * PIECE as u64, wait).await, Err(Unread::NoRoom)));
        drop(all);
        assert!(budget.room(2 * PIECE as u64, wait).await.unwrap().is_some());
    }
}
