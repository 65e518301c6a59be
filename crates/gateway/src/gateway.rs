//! The state behind every route: the engine, the fleet's answers, and the limits that hold.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use runyard_domain::{Rates, WorkerId};
use runyard_engine::Engine;
use runyard_vault::Vault;

use crate::Reasons;
use crate::body::{Budget, Limits, Room, Unread, Watched};
use crate::jobs::Notings;
use crate::rates::Limiter;

/// Called when a worker asked to be replaced after the job that it just answered (`refresh_worker`).
pub type OnRefresh = Arc<dyn Fn(WorkerId) + Send + Sync>;

/// How the gateway behaves.
#[derive(Clone)]
pub struct Options {
    /// No key is needed, and only programs on this machine are answered (development on loopback).
    pub open: bool,
    /// The largest body of `/run`, in bytes.
    pub run_limit: usize,
    /// The largest body of `/runsync`, in bytes.
    pub runsync_limit: usize,
    /// The largest output of a job and the largest streamed value, in bytes.
    pub result_limit: usize,
    /// Bytes of bodies that may be in memory at once: a third for what clients send, a third for what workers
    /// send, a third for what is answered, so that none of them can starve another.
    pub in_flight_bytes: usize,
    /// How often a key may call an endpoint, where neither of them says it; for other groups the usual holds.
    pub rates: Rates,
    /// Holds and pauses.
    pub timing: Timing,
    /// Told when a worker asked to be replaced.
    pub on_refresh: OnRefresh,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            open: false,
            run_limit: 10 << 20,
            runsync_limit: 20 << 20,
            result_limit: 20 << 20,
            in_flight_bytes: 768 << 20,
            rates: Rates::default(),
            timing: Timing::default(),
            on_refresh: Arc::new(|_| {}),
        }
    }
}

/// Every hold and pause of the wire, so that tests can shorten them.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long a take and a stop poll are held. Below 30 s for SDK 1.7.3 to 1.7.5, which give up then.
    pub take_hold: Duration,
    /// How long a take is held whose worker prefetches: it posts its result only when both are done.
    pub busy_take_hold: Duration,
    /// The pause before a draining worker's poll is answered.
    pub drained_pause: Duration,
    /// The pause before a worker's request is refused; the SDK asks again at once.
    pub error_pause: Duration,
    /// The same for an unknown token.
    pub auth_pause: Duration,
    /// How long `runsync` and `status-sync` wait without `wait`.
    pub sync_wait: Duration,
    /// How long an empty `stream` is held without `wait`. The Python client gives up after 10 s.
    pub stream_hold: Duration,
    /// After this the stream of a cancelled job is gone, so that the Python client, to which CANCELLED is no
    /// end, ends.
    pub cancelled_stream: Duration,
    /// How long a body waits for room in the budget.
    pub budget_wait: Duration,
    /// How long a body may make us wait in all; bytes above the rate pay it back.
    pub body_silence: Duration,
    /// Bytes a second that a body has to bring, once that time is used up.
    pub body_rate: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            take_hold: Duration::from_secs(22),
            busy_take_hold: Duration::from_millis(200),
            drained_pause: Duration::from_secs(1),
            error_pause: Duration::from_millis(1_500),
            auth_pause: Duration::from_secs(2),
            sync_wait: Duration::from_secs(90),
            stream_hold: Duration::from_secs(8),
            cancelled_stream: Duration::from_secs(5),
            budget_wait: Duration::from_secs(5),
            body_silence: Duration::from_secs(30),
            body_rate: 500,
        }
    }
}

/// The state of all routes. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    reasons: Arc<dyn Reasons>,
    options: Options,
    requests: Budget,
    results: Budget,
    answers: Budget,
    limiter: Limiter,
    notings: Notings,
}

impl Gateway {
    /// A gateway in front of `engine`.
    pub fn new(engine: Engine, reasons: Arc<dyn Reasons>, options: Options) -> Self {
        let largest = options.run_limit.max(options.runsync_limit).max(options.result_limit);
        // A body that could never fit would wait in vain.
        let third = || Budget::new((options.in_flight_bytes / 3).max(largest.saturating_mul(2)));
        let (requests, results, answers) = (third(), third(), third());
        engine.bound_inputs(answers.for_inputs());
        let (limiter, notings) = (Limiter::new(options.rates.clone()), Notings::default());
        let shared = Shared { engine, reasons, options, requests, results, answers, limiter, notings };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    pub(crate) fn vault(&self) -> &Vault {
        self.shared.engine.vault()
    }

    pub(crate) fn reasons(&self) -> &dyn Reasons {
        &*self.shared.reasons
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shared.options
    }

    pub(crate) fn timing(&self) -> &Timing {
        &self.shared.options.timing
    }

    /// Room for bodies of clients.
    pub(crate) fn requests(&self) -> &Budget {
        &self.shared.requests
    }

    /// Room for bodies of workers.
    pub(crate) fn results(&self) -> &Budget {
        &self.shared.results
    }

    /// Room for an answer with a payload of so many bytes.
    pub(crate) async fn answer_room(&self, bytes: u64) -> Result<Option<Room>, Unread> {
        self.shared.answers.room(bytes, self.timing().budget_wait).await
    }

    /// Hands a body of another API on, within the pace and the budget of ours.
    pub fn watch_body(&self, body: Body) -> (Body, Watched) {
        self.shared.requests.watch(body, Limits::new(self.timing(), usize::MAX))
    }

    /// Who may call how often.
    pub(crate) fn limiter(&self) -> &Limiter {
        &self.shared.limiter
    }

    pub(crate) fn notings(&self) -> &Notings {
        &self.shared.notings
    }
}
