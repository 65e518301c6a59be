//! The way in: who calls, and how often one key may. The counts are told in every answer, as RunPod's are: calls left
//! in this minute and in this hour.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use runyard_vault::{Caller, Denied};
use tokio::time::Instant;

use crate::Manage;
use crate::problem::Problem;

/// The windows: name and seconds.
const WINDOWS: [(&str, u64); 2] = [("minute", 60), ("hour", 3_600)];

/// With more callers than this, those without a call in this hour are forgotten.
const MANY: usize = 4_096;

/// Counts the calls of each key.
pub(super) struct Meter {
    began: Instant,
    allowed: [u32; 2],
    callers: Mutex<HashMap<String, [Count; 2]>>,
}

/// Calls in one window.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    window: u64,
    calls: u32,
}

/// Where a caller stands in each window: calls left, and seconds until it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    left: [u32; 2],
    ends_in: [u64; 2],
    /// Whether the call is one too many.
    refused: bool,
}

impl Meter {
    pub(super) fn new((minute, hour): (u32, u32)) -> Self {
        Self { began: Instant::now(), allowed: [minute, hour], callers: Mutex::default() }
    }

    /// Counts a call, so many seconds after the meter began.
    fn count(&self, caller: &str, now: u64) -> Standing {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() > MANY {
            callers.retain(|_, counts| counts[1].window == now / WINDOWS[1].1);
        }
        let counts = callers.entry(caller.to_owned()).or_default();
        for (count, (_, seconds)) in counts.iter_mut().zip(WINDOWS) {
            if count.window != now / seconds {
                *count = Count { window: now / seconds, calls: 0 };
            }
        }
        let refused = (0..2).any(|at| counts[at].calls >= self.allowed[at]);
        if !refused {
            for count in counts.iter_mut() {
                count.calls += 1;
            }
        }
        Standing {
            left: std::array::from_fn(|at| self.allowed[at].saturating_sub(counts[at].calls)),
            ends_in: WINDOWS.map(|(_, seconds)| seconds - now % seconds),
            refused,
        }
    }

    fn write(&self, standing: Standing, response: &mut Response) {
        let each = |write: &dyn Fn(usize) -> String| (0..2).map(write).collect::<Vec<_>>().join(", ");
        let Standing { left, ends_in, .. } = standing;
        let limit = each(&|at| format!("\"{}\";r={};t={}", WINDOWS[at].0, left[at], ends_in[at]));
        let policy = each(&|at| format!("\"{}\";q={};w={}", WINDOWS[at].0, self.allowed[at], WINDOWS[at].1));
        for (name, value) in [("ratelimit", limit), ("ratelimit-policy", policy)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
    }
}

impl Standing {
    /// Seconds after which a call is allowed again.
    fn retry_after(self) -> u64 {
        let closed = (0..2).filter(|at| self.left[*at] == 0).map(|at| self.ends_in[at]);
        closed.max().unwrap_or(1)
    }
}

/// Lets a caller in that has a key of ours and calls left.
pub(super) async fn enter(State(manage): State<Manage>, mut request: Request, next: Next) -> Response {
    let caller = match caller(&manage, &request) {
        Ok(caller) => caller,
        Err(denied) => return Problem::from(denied).into_response(),
    };
    let meter = &manage.inner.rest.meter;
    let standing = meter.count(caller.name(), meter.began.elapsed().as_secs());
    let mut response = if standing.refused {
        let wait = standing.retry_after();
        let mut refused = Problem::rate_limited(wait).into_response();
        refused.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
        refused
    } else {
        request.extensions_mut().insert(caller);
        next.run(request).await
    };
    meter.write(standing, &mut response);
    response
}

fn caller(manage: &Manage, request: &Request) -> Result<Caller, Denied> {
    if let Some(caller) = request.extensions().get::<Caller>() {
        return Ok(caller.clone());
    }
    let value = request.headers().get(header::AUTHORIZATION).ok_or(Denied::NoKey)?;
    manage.inner.engine.vault().key_caller(value.to_str().map_err(|_| Denied::UnknownKey)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_and_an_hour_are_counted_for_each_key() {
        let meter = Meter::new((2, 3));
        assert_eq!(meter.count("a", 0).left, [1, 2]);
        assert_eq!(meter.count("a", 1).left, [0, 1]);
        let third = meter.count("a", 2);
        assert_eq!((third.refused, third.retry_after()), (true, 58));
        assert!(!meter.count("b", 2).refused);
        assert_eq!(meter.count("a", 60).left, [1, 0]);
        let last = meter.count("a", 60);
        assert_eq!((last.refused, last.retry_after()), (true, 3_540));
        let mut response = ().into_response();
        meter.write(last, &mut response);
        assert_eq!(response.headers()["ratelimit"], "\"minute\";r=1;t=60, \"hour\";r=0;t=3540");
        assert_eq!(response.headers()["ratelimit-policy"], "\"minute\";q=2;w=60, \"hour\";q=3;w=3600");
    }
}
