//! Deliveries: each end of a job that has a webhook is told to its address, until that hears it or the
//! patience is over. A delivery is made in the transaction that ends the job, and carries that end: a job that
//! is retried meanwhile ends again, which is another delivery.

use serde::{Deserialize, Serialize};

use crate::{DeliveryId, Job, JobId, Phase, Timestamp};

/// How long an ended job is kept for a delivery that is not settled, also beyond its retention: its input and
/// output are what is delivered.
pub const HOLD_MS: i64 = 86_400_000;

/// How many tries are kept; of more, the newest.
pub const TRIES_KEPT: usize = 20;

/// The pause after the first try; each further one is [`GROWTH`] times as long.
const FIRST_PAUSE_MS: i64 = 5_000;
const GROWTH: i64 = 3;
const LONGEST_PAUSE_MS: i64 = 3_600_000;

/// One end of a job, to be told to its webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Unique, and the same in every try: the receiver knows repetitions by it.
    pub id: DeliveryId,
    /// Whose end.
    pub job: JobId,
    /// The job's `seq` when it ended: unique among deliveries, because a retry gives a new one.
    pub seq: u64,
    /// Where to.
    pub url: String,
    /// When the job ended.
    pub made_at: Timestamp,
    /// The end: always [`Phase::Done`].
    pub end: Phase,
    /// Where it is.
    pub state: DeliveryState,
    /// Tries so far, since it was last begun anew.
    pub tried: u32,
    /// The newest of them, oldest first.
    pub tries: Vec<Try>,
}

/// Where a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be tried.
    Pending {
        /// When.
        next_at: Timestamp,
    },
    /// The receiver took it.
    Delivered {
        /// When.
        at: Timestamp,
        /// With which HTTP status.
        status: u16,
    },
    /// It is not tried any more.
    GivenUp {
        /// Since when.
        at: Timestamp,
    },
}

/// One try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub ms: i64,
    /// What came of it.
    pub heard: Heard,
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heard {
    /// The receiver answered with this HTTP status.
    Status(u16),
    /// There was no answer: why, in words.
    Error(String),
}

impl Heard {
    /// Whether the receiver took it: any status from 200 to 299.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Status(200..=299))
    }
}

impl Delivery {
    /// The delivery that the end of `job` entails: none for a job that lives, or has no webhook.
    pub fn of(job: &Job) -> Option<Self> {
        let (Phase::Done { at, .. }, Some(url)) = (&job.phase, &job.webhook) else { return None };
        Some(Self {
            id: DeliveryId::new(format!("msg_{}-{}", job.id, job.seq)),
            job: job.id.clone(),
            seq: job.seq,
            url: url.clone(),
            made_at: *at,
            end: job.phase.clone(),
            state: DeliveryState::Pending { next_at: *at },
            tried: 0,
            tries: Vec::new(),
        })
    }

    /// It once more from the start, at once: somebody asked for it. The tries before stay on record.
    #[must_use]
    pub fn again(&self, now: Timestamp) -> Self {
        Self { state: DeliveryState::Pending { next_at: now }, tried: 0, ..self.clone() }
    }

    /// When it is to be tried, while it is not settled.
    pub fn next_at(&self) -> Option<Timestamp> {
        match self.state {
            DeliveryState::Pending { next_at } => Some(next_at),
            _ => None,
        }
    }

    /// How long its job is kept for it.
    pub fn held_until(&self) -> Option<Timestamp> {
        self.next_at().map(|_| self.made_at.plus(HOLD_MS))
    }

    /// What deliveries that must not be in each other's way have in common: host and port of the address.
    pub fn destination(&self) -> String {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        host.to_ascii_lowercase()
    }

    /// The delivery after one more try; where that failed, it is tried again at `again`, or given up. `None`
    /// if it is settled already.
    #[must_use]
    pub fn after(&self, tried: &Try, again: Option<Timestamp>, now: Timestamp) -> Option<Self> {
        self.next_at()?;
        let mut next = self.clone();
        next.tried += 1;
        next.tries.push(tried.clone());
        if next.tries.len() > TRIES_KEPT {
            next.tries.remove(0);
        }
        next.state = match (&tried.heard, again) {
            (Heard::Status(status @ 200..=299), _) => DeliveryState::Delivered { at: now, status: *status },
            (_, Some(next_at)) => DeliveryState::Pending { next_at },
            (_, None) => DeliveryState::GivenUp { at: now },
        };
        Some(next)
    }
}

/// How often a delivery is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Tries in all, at least one.
    pub tries: u32,
    /// No try begins later than this after the end of the job.
    pub max_age_ms: i64,
}

impl Default for Patience {
    /// RunPod's three tries, at once and after 5 and 20 seconds.
    fn default() -> Self {
        Self { tries: 3, max_age_ms: HOLD_MS }
    }
}

impl Patience {
    /// When to try again after a failure at `now`, which `delivery` does not count yet. `None`: it is given up.
    pub fn again(&self, delivery: &Delivery, now: Timestamp) -> Option<Timestamp> {
        if delivery.tried.saturating_add(1) >= self.tries {
            return None;
        }
        let pause =
            GROWTH.saturating_pow(delivery.tried).saturating_mul(FIRST_PAUSE_MS).min(LONGEST_PAUSE_MS);
        Some(now.plus(pause)).filter(|at| at.since(delivery.made_at) <= self.max_age_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EndpointId, Outcome, Policy};

    fn delivery(url: &str) -> Delivery {
        let job = Job {
            id: JobId::new("j"),
            endpoint: EndpointId::new("e"),
            seq: 7,
            sync: false,
            submitted_at: Timestamp(0),
            submitted_by: "local".into(),
            policy: Policy { execution_timeout_ms: 0, ttl_ms: 1_000, low_priority: false },
            expires_at: Timestamp(1_000),
            requeues: 1,
            retention_ms: 1_000,
            pinned: None,
            batch: None,
            webhook: Some(url.into()),
            has_s3: false,
            attempt: 1,
            losses: 0,
            lost_by: vec![],
            attempts: vec![],
            phase: Phase::Done {
                at: Timestamp(100),
                outcome: Outcome::Completed,
                worker: None,
                release: None,
                delay_ms: None,
                execution_ms: None,
                upload_ms: None,
            },
        };
        Delivery::of(&job).expect("it ended and has a webhook")
    }

    fn failing(patience: Patience) -> Vec<i64> {
        let mut delivery = delivery("http://h/");
        let mut at = vec![];
        while let Some(next) = delivery.next_at() {
            at.push(next.0 - 100);
            let tried = Try { at: next, ms: 0, heard: Heard::Status(500) };
            delivery = delivery.after(&tried, patience.again(&delivery, next), next).expect("it is pending");
        }
        assert!(matches!(delivery.state, DeliveryState::GivenUp { .. }));
        assert_eq!(delivery.tried as usize, at.len());
        assert!(delivery.tries.len() <= TRIES_KEPT);
        at
    }

    #[test]
    fn the_default_is_runpods_three_tries() {
        assert_eq!(failing(Patience::default()), [0, 5_000, 20_000]);
        assert_eq!(failing(Patience { tries: 1, max_age_ms: HOLD_MS }), [0]);
    }

    #[test]
    fn pauses_grow_to_an_hour_and_end_after_a_day() {
        let at = failing(Patience { tries: 1_000, max_age_ms: HOLD_MS });
        assert_eq!(at[..7], [0, 5_000, 20_000, 65_000, 200_000, 605_000, 1_820_000]);
        let last = at.windows(2).map(|w| w[1] - w[0]).max();
        assert_eq!(last, Some(LONGEST_PAUSE_MS));
        assert!(at.last().is_some_and(|at| *at <= HOLD_MS), "{at:?}");
        assert!(at.len() > TRIES_KEPT);
    }

    #[test]
    fn any_2xx_settles_and_nothing_follows() {
        let tried = |heard| Try { at: Timestamp(200), ms: 3, heard };
        let again = Some(Timestamp(900));
        let pending = delivery("http://h/");
        let done = pending.after(&tried(Heard::Status(204)), again, Timestamp(203)).expect("pending");
        assert_eq!(done.state, DeliveryState::Delivered { at: Timestamp(203), status: 204 });
        assert_eq!(done.after(&tried(Heard::Status(200)), again, Timestamp(204)), None);
        for heard in [Heard::Status(199), Heard::Status(302), Heard::Status(404), Heard::Error("no".into())] {
            let next = pending.after(&tried(heard), again, Timestamp(203)).expect("pending");
            assert_eq!(next.state, DeliveryState::Pending { next_at: Timestamp(900) });
        }
    }

    #[test]
    fn a_destination_is_host_and_port() {
        for (url, destination) in [
            ("http://Example.com/a?b@c", "example.com"),
            ("https://user:p%40ss@h:8443", "h:8443"),
            ("http://[::1]:80/x", "[::1]:80"),
            ("https://h?x#y", "h"),
        ] {
            assert_eq!(delivery(url).destination(), destination);
        }
    }
}
