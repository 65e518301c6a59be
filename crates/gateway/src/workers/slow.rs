//! Refusals are answered slowly, because SDKs ask again at once. Only so many of them wait at one time, so that
//! nobody holds connections here without bound; what comes beyond that is told at once to go away for a while.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use tokio::sync::Semaphore;

/// The most refusals that wait at one time.
const MOST_WAITING: usize = 512;

/// How long SDKs stay away after a 429 of their own accord, in seconds.
const AWAY_S: u16 = 5;

/// Room for refusals that wait.
#[derive(Debug, Clone)]
pub(super) struct Slow(Arc<Semaphore>);

impl Default for Slow {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_WAITING)))
    }
}

impl Slow {
    /// The refusal after its pause; where too many wait already, 429 at once, and the connection ends. A failure of
    /// our own (5xx) stays what it is: with one, SDKs try a result again, and with a 429 never.
    pub(super) async fn answer(&self, refusal: Response, pause: Duration) -> Response {
        if let Ok(_room) = self.0.try_acquire() {
            tokio::time::sleep(pause).await;
            return refusal;
        }
        let mut answer = match refusal.status() {
            status if status.is_server_error() => refusal,
            _ => StatusCode::TOO_MANY_REQUESTS.into_response(),
        };
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(AWAY_S));
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        answer
    }
}
