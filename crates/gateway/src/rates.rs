//! How often a key may call an endpoint: per group of operations a rate and a number at once. A call costs one look
//! into a map that is only read, and two atomics; nothing is locked that another call would wait for.
//!
//! The rate is kept as one number, the time at which all calls so far would be paid for at the allowed pace (the
//! generic cell rate algorithm): a whole window may come at once, and then each as its time comes.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use runyard_domain::rates::{Group, Rate, Rates, WINDOW_S};
use runyard_domain::{Endpoint, EndpointId};
use runyard_vault::Caller;
use tokio::time::Instant;

const WINDOW_NS: u64 = WINDOW_S * 1_000_000_000;

/// Few writers in each, and little that a reader touches together with others.
const SHARDS: usize = 16;

/// A shard with more callers than this forgets those that owe nothing.
const MANY: usize = 4_096;

type Shard = RwLock<HashMap<EndpointId, HashMap<String, Arc<Account>>>>;

/// The accounts of all callers.
#[derive(Debug)]
pub(crate) struct Limiter {
    shards: [Shard; SHARDS],
    hasher: RandomState,
    began: Instant,
    usual: Rates,
}

/// One caller's calls of one endpoint, by group.
#[derive(Debug, Default)]
struct Account([Counter; Group::ALL.len()]);

#[derive(Debug, Default)]
struct Counter {
    /// When all calls are paid for, in ns since the limiter began.
    paid_at: AtomicU64,
    /// The rate that it was counted by.
    per_window: AtomicU32,
    at_once: AtomicU32,
}

/// A call that may go on; it counts as one of those at once until it is dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    account: Arc<Account>,
    group: Group,
}

/// Where a caller stands after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// What is counted.
    pub(crate) group: Group,
    /// What is allowed.
    pub(crate) rate: Rate,
    /// How many calls are left now.
    remaining: u64,
    /// Until all of them are there again.
    full_in: Duration,
}

/// A call that comes too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// Where the caller stands.
    pub(crate) standing: Standing,
    /// Until another call is allowed; `None` where too many are under way at once.
    pub(crate) wait: Option<Duration>,
}

impl Limiter {
    /// A limiter with what holds where neither key nor endpoint say something else.
    pub(crate) fn new(usual: Rates) -> Self {
        Self {
            shards: std::array::from_fn(|_| Shard::default()),
            hasher: RandomState::new(),
            began: Instant::now(),
            usual,
        }
    }

    /// What holds for this caller: what its key says, else the endpoint, else the server.
    fn rate(&self, caller: &Caller, endpoint: &Endpoint, group: Group) -> Rate {
        let said = caller.rates().get(group).or_else(|| endpoint.settings.rates.get(group));
        said.or_else(|| self.usual.get(group)).unwrap_or_else(|| group.usual())
    }

    /// Counts a call.
    pub(crate) fn admit(
        &self,
        caller: &Caller,
        endpoint: &Endpoint,
        group: Group,
    ) -> Result<(Pass, Standing), TooMany> {
        let rate = self.rate(caller, endpoint, group);
        let account = self.account(caller.name(), &endpoint.id);
        let counter = &account.0[group as usize];
        let before = counter.at_once.fetch_add(1, Ordering::Relaxed);
        // From here on it counts, and is taken back when it is dropped.
        let pass = Pass { account: Arc::clone(&account), group };
        let now = self.began.elapsed().as_nanos() as u64;
        if rate.at_once != 0 && before >= rate.at_once {
            let paid_at = counter.paid_at.load(Ordering::Relaxed);
            return Err(TooMany { standing: standing(group, rate, paid_at, now), wait: None });
        }
        match counter.spend(rate, now) {
            Ok(paid_at) => Ok((pass, standing(group, rate, paid_at, now))),
            Err((paid_at, wait)) => {
                Err(TooMany { standing: standing(group, rate, paid_at, now), wait: Some(wait) })
            }
        }
    }

    fn account(&self, caller: &str, endpoint: &EndpointId) -> Arc<Account> {
        let shard = &self.shards[self.hasher.hash_one((caller, endpoint)) as usize % SHARDS];
        let known = shard.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = known.get(endpoint).and_then(|callers| callers.get(caller)) {
            return Arc::clone(account);
        }
        drop(known);
        let mut known = shard.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() > MANY || known.get(endpoint).is_some_and(|callers| callers.len() > MANY) {
            let now = self.began.elapsed().as_nanos() as u64;
            known.retain(|_, callers| {
                callers.retain(|_, account| Arc::strong_count(account) > 1 || account.owes(now));
                !callers.is_empty()
            });
        }
        Arc::clone(known.entry(endpoint.clone()).or_default().entry(caller.to_owned()).or_default())
    }
}

impl Account {
    fn owes(&self, now: u64) -> bool {
        self.0.iter().any(|counter| counter.paid_at.load(Ordering::Relaxed) > now)
    }
}

impl Counter {
    /// Takes one call off; else says until when, and how long the wait for it is.
    fn spend(&self, rate: Rate, now: u64) -> Result<u64, (u64, Duration)> {
        let Some(each) = each(rate) else { return Ok(now) };
        // What was owed by another rate means nothing by this one.
        if self.per_window.swap(rate.per_window, Ordering::Relaxed) != rate.per_window {
            self.paid_at.store(now, Ordering::Relaxed);
        }
        let spent = self.paid_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid_at| {
            let next = paid_at.max(now) + each;
            (next - now <= WINDOW_NS).then_some(next)
        });
        match spent {
            Ok(before) => Ok(before.max(now) + each),
            Err(paid_at) => {
                Err((paid_at, Duration::from_nanos((paid_at + each).saturating_sub(now + WINDOW_NS))))
            }
        }
    }
}

/// What one call costs, in ns; `None` without a limit.
fn each(rate: Rate) -> Option<u64> {
    (rate.per_window != 0).then(|| WINDOW_NS / u64::from(rate.per_window))
}

fn standing(group: Group, rate: Rate, paid_at: u64, now: u64) -> Standing {
    let owed = paid_at.saturating_sub(now);
    let remaining = each(rate).map_or(u64::MAX, |each| WINDOW_NS.saturating_sub(owed) / each);
    Standing { group, rate, remaining, full_in: Duration::from_nanos(owed) }
}

impl Pass {
    /// Gives the call back that was taken off.
    pub(crate) fn refund(&self) {
        let counter = &self.account.0[self.group as usize];
        let per_window = counter.per_window.load(Ordering::Relaxed);
        if let Some(each) = each(Rate { per_window, at_once: 0 }) {
            let refunded = |paid_at: u64| paid_at.checked_sub(each);
            let _ = counter.paid_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, refunded);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.account.0[self.group as usize].at_once.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Standing {
    /// The fields `RateLimit` and `RateLimit-Policy` of the IETF's draft, in the form that RunPod's REST API uses.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        if self.rate.per_window == 0 {
            return;
        }
        let Self { group, rate, remaining, full_in } = *self;
        let left = remaining.min(u64::from(rate.per_window));
        let fields = [
            ("ratelimit", format!("\"{group}\";r={left};t={}", full_in.as_secs_f64().ceil())),
            ("ratelimit-policy", format!("\"{group}\";q={};w={WINDOW_S}", rate.per_window)),
        ];
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

impl TooMany {
    /// Whole seconds after which a retry makes sense.
    pub(crate) fn retry_after(&self) -> u64 {
        self.wait.map_or(1, |wait| wait.as_secs_f64().ceil() as u64).max(1)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use runyard_domain::{Settings, Timestamp};
    use tokio::time::advance;

    use super::*;

    fn house(rates: &str) -> (Limiter, Endpoint) {
        let settings = Settings { rates: serde_json::from_str(rates).unwrap(), ..Settings::default() };
        let endpoint = Endpoint::new(EndpointId::new("e"), "e".into(), Timestamp(0), settings);
        (Limiter::new(Rates::default()), endpoint)
    }

    fn caller() -> Caller {
        runyard_vault::Vault::new(Arc::new(Still), runyard_vault::Sealer::new([0; 32]), vec![]).local_caller()
    }

    #[derive(Debug)]
    struct Still;

    impl runyard_domain::Env for Still {
        fn now(&self) -> Timestamp {
            Timestamp(0)
        }
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_may_come_at_once_and_then_each_in_its_time() {
        let (limiter, endpoint) = house(r#"{"run": "10"}"#);
        let (caller, ask) = (caller(), Group::Run);
        for left in (0..10).rev() {
            assert_eq!(limiter.admit(&caller, &endpoint, ask).unwrap().1.remaining, left);
        }
        let refused = limiter.admit(&caller, &endpoint, ask).unwrap_err();
        assert_eq!((refused.wait, refused.retry_after()), (Some(Duration::from_secs(1)), 1));
        // Another group, and another endpoint, are not touched.
        limiter.admit(&caller, &endpoint, Group::Status).unwrap();
        let other = Endpoint { id: EndpointId::new("f"), ..endpoint.clone() };
        limiter.admit(&caller, &other, ask).unwrap();
        advance(Duration::from_secs(1)).await;
        limiter.admit(&caller, &endpoint, ask).unwrap();
        limiter.admit(&caller, &endpoint, ask).unwrap_err();
        advance(Duration::from_secs(100)).await;
        assert_eq!(limiter.admit(&caller, &endpoint, ask).unwrap().1.remaining, 9, "no more than a window");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_at_once_count_until_they_are_over() {
        let (limiter, endpoint) = house(r#"{"runsync": "0/2"}"#);
        let (caller, ask) = (caller(), Group::Runsync);
        let first = limiter.admit(&caller, &endpoint, ask).unwrap();
        let _second = limiter.admit(&caller, &endpoint, ask).unwrap();
        for _ in 0..3 {
            assert_eq!(limiter.admit(&caller, &endpoint, ask).unwrap_err().wait, None);
        }
        drop(first);
        let _third = limiter.admit(&caller, &endpoint, ask).unwrap();
        limiter.admit(&caller, &endpoint, ask).unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn headers_say_what_is_left() {
        let (limiter, endpoint) = house(r#"{"run": "10/5", "status": "off"}"#);
        let mut headers = HeaderMap::new();
        limiter.admit(&caller(), &endpoint, Group::Status).unwrap().1.write(&mut headers);
        assert!(headers.is_empty());
        limiter.admit(&caller(), &endpoint, Group::Run).unwrap().1.write(&mut headers);
        assert_eq!(headers["ratelimit"], "\"run\";r=9;t=1");
        assert_eq!(headers["ratelimit-policy"], "\"run\";q=10;w=10");
    }
}
