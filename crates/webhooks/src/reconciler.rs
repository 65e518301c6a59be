//! Looks at the outbox, tries what is due, records what came of it, and sleeps until more is due. It has no
//! memory but of the tries in flight: what a crash leaves is found again at the next start, so a receiver gets
//! every delivery at least once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use runyard_domain::delivery::{Delivery, Heard, Patience, Try};
use runyard_domain::{DeliveryId, Payload, Timestamp};
use runyard_engine::{Change, Engine, EngineError};
use runyard_vault::Signer;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::address::Reach;
use crate::connect::{Connector, Resolve, SystemResolver};
use crate::message::Message;
use crate::post::{Limits, Poster};

/// The longest sleep: a wall clock that was set forward is noticed by then.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The pause before the store is asked again after it failed.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// How webhooks are delivered.
pub struct Options {
    /// Whose outbox.
    pub engine: Engine,
    /// Signs what is sent; `None`: nothing is signed.
    pub signer: Option<Signer>,
    /// How often a delivery is tried.
    pub patience: Patience,
    /// Where webhooks may go.
    pub reach: Reach,
    /// Bounds of the work.
    pub limits: Limits,
    /// Finds the addresses of names.
    pub resolver: Arc<dyn Resolve>,
    /// Certificate authorities in PEM to trust instead of the machine's.
    pub authorities: Option<Vec<u8>>,
}

impl Options {
    /// RunPod's three tries, to public addresses, unsigned.
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            signer: None,
            patience: Patience::default(),
            reach: Reach::default(),
            limits: Limits::default(),
            resolver: Arc::new(SystemResolver),
            authorities: None,
        }
    }
}

/// Delivers webhooks for as long as it [runs](Self::run).
pub struct Webhooks {
    courier: Arc<Courier>,
    nudged: Arc<Notify>,
}

/// Reaches [`Webhooks`] that run.
#[derive(Debug, Clone)]
pub struct Handle {
    nudged: Arc<Notify>,
}

impl Handle {
    /// Has the outbox looked at now: the clock was moved.
    pub fn nudge(&self) {
        self.nudged.notify_one();
    }
}

/// The tries in flight.
#[derive(Default)]
struct Flights {
    tasks: JoinSet<()>,
    aboard: HashMap<Id, (DeliveryId, String)>,
}

impl Flights {
    fn carries(&self, delivery: &DeliveryId) -> bool {
        self.aboard.values().any(|(id, _)| id == delivery)
    }

    fn to(&self, destination: &str) -> usize {
        self.aboard.values().filter(|(_, to)| to == destination).count()
    }

    /// Destinations that take no more tries at the moment.
    fn full(&self, per_destination: usize) -> Vec<String> {
        let mut all: Vec<String> = self.aboard.values().map(|(_, to)| to.clone()).collect();
        all.sort_unstable();
        all.dedup();
        all.retain(|destination| self.to(destination) >= per_destination);
        all
    }

    fn landed(&mut self, landed: Result<(Id, ()), JoinError>) {
        let id = match landed {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "a try to deliver a webhook panicked; it is tried again");
                error.id()
            }
        };
        self.aboard.remove(&id);
    }
}

impl Webhooks {
    /// Made, and not running yet.
    pub fn new(options: Options) -> Self {
        let Options { engine, signer, patience, reach, limits, resolver, authorities } = options;
        #[cfg(not(feature = "tls"))]
        drop(authorities);
        let connector = Connector {
            rule: "webhooks go to public addresses only, unless the server's webhook_allow_private is true",
            reach,
            resolver,
            #[cfg(feature = "tls")]
            tls: crate::tls::Tls::new(authorities),
        };
        let room = Semaphore::new(permits(limits.bytes) as usize);
        let poster = Poster { connector, limits };
        let courier = Arc::new(Courier { engine, signer, patience, poster, room });
        Self { courier, nudged: Arc::default() }
    }

    /// A way to reach it while it runs.
    pub fn handle(&self) -> Handle {
        Handle { nudged: self.nudged.clone() }
    }

    /// Delivers until the engine is gone. Dropping the future gives up the tries in flight; they are pending
    /// still, and are tried again by whoever runs next.
    pub async fn run(self) {
        let mut changes = self.courier.engine.watch();
        let mut flights = Flights::default();
        loop {
            let pause = match self.look(&mut flights) {
                Ok(next) => next.map_or(LONGEST_SLEEP, |at| self.until(at)),
                Err(error) => {
                    tracing::warn!(%error, "the outbox of webhooks could not be read; trying again");
                    STORE_PAUSE
                }
            };
            let wake = Instant::now() + pause.min(LONGEST_SLEEP);
            tokio::select! {
                more = touched(&mut changes) => if !more { return },
                Some(landed) = flights.tasks.join_next_with_id() => flights.landed(landed),
                () = self.nudged.notified() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    fn until(&self, at: Timestamp) -> Duration {
        Duration::from_millis(at.since(self.courier.engine.now()) as u64)
    }

    /// Sends what is due and has room; says when the next delivery is due that was not sent.
    fn look(&self, flights: &mut Flights) -> Result<Option<Timestamp>, EngineError> {
        let Limits { at_once, per_destination, .. } = self.courier.poster.limits;
        loop {
            let free = at_once.saturating_sub(flights.aboard.len());
            if free == 0 {
                return Ok(None);
            }
            // Those in flight are pending still; one more tells when the next is due.
            let full = flights.full(per_destination);
            let page = flights.aboard.len() + free + 1;
            let pending = self.courier.engine.reader().pending_deliveries(&full, page)?;
            let now = self.courier.engine.now();
            let (mut passed_over, mut next) = (false, None);
            for delivery in pending {
                let Some(at) = delivery.next_at() else { continue };
                if at > now {
                    next = Some(at);
                    break;
                }
                let destination = delivery.destination();
                if flights.carries(&delivery.id) {
                    continue;
                }
                if flights.aboard.len() >= at_once {
                    return Ok(None);
                }
                if flights.to(&destination) >= per_destination {
                    passed_over = true;
                    continue;
                }
                let id = delivery.id.clone();
                let task = flights.tasks.spawn(self.courier.clone().deliver(delivery));
                flights.aboard.insert(task.id(), (id, destination));
            }
            // What stands behind a destination that became full is on the next page.
            if !passed_over {
                return Ok(next);
            }
        }
    }
}

/// Resolves when deliveries changed, or may have; `false`: nothing will change any more.
async fn touched(changes: &mut Receiver<Change>) -> bool {
    loop {
        match changes.recv().await {
            Ok(Change::Deliveries) | Err(RecvError::Lagged(_)) => return true,
            Ok(_) => {}
            Err(RecvError::Closed) => return false,
        }
    }
}

/// Payload bytes as the semaphore counts them.
fn permits(bytes: u64) -> u32 {
    (bytes >> 10).clamp(1, 1 << 28) as u32
}

/// Makes one try.
struct Courier {
    engine: Engine,
    signer: Option<Signer>,
    patience: Patience,
    poster: Poster,
    /// For payloads in memory, in KiB.
    room: Semaphore,
}

impl Courier {
    async fn deliver(self: Arc<Self>, delivery: Delivery) {
        let (input, output) = match self.payloads(&delivery) {
            Ok(Some(payloads)) => payloads,
            // The job is gone, and its delivery with it.
            Ok(None) => return,
            Err(error) => return self.unreadable(&delivery, &error).await,
        };
        let size = input.len() + output.as_ref().map_or(0, Payload::len);
        let wanted = permits(size).min(permits(self.poster.limits.bytes));
        let Ok(_room) = self.room.acquire_many(wanted).await else { return };
        let (at, clock) = (self.engine.now(), Instant::now());
        // Its receiver compares the signed time with a clock of its own.
        let heard = match self.message(&delivery, input, output, self.engine.env().wall()).await {
            Ok(message) => self.poster.post(&delivery.url, &message).await,
            Err(error) => return self.unreadable(&delivery, &error).await,
        };
        let ms = clock.elapsed().as_millis() as i64;
        self.record(&delivery, Try { at, ms, heard }).await;
    }

    /// What the job was asked and what it answered; `None` if it is gone. A job that was retried since has lost
    /// the output of the end that is told here.
    fn payloads(&self, delivery: &Delivery) -> Result<Option<(Payload, Option<Payload>)>, EngineError> {
        let reader = self.engine.reader();
        let Some(input) = reader.input(&delivery.job)? else { return Ok(None) };
        let output = reader.output(&delivery.job)?;
        let Some(job) = reader.job(&delivery.job)? else { return Ok(None) };
        Ok(Some((input, output.filter(|_| job.seq == delivery.seq))))
    }

    async fn message(
        &self,
        delivery: &Delivery,
        input: Payload,
        output: Option<Payload>,
        now: Timestamp,
    ) -> Result<Message, EngineError> {
        let input = self.engine.bytes(input).await?;
        let output: Option<Bytes> = match output {
            Some(output) => Some(self.engine.bytes(output).await?),
            None => None,
        };
        Ok(Message::new(delivery, input, output, self.signer.as_ref(), now))
    }

    /// The store failed: it counts as a try, so that it comes to an end.
    async fn unreadable(&self, delivery: &Delivery, error: &EngineError) {
        tracing::warn!(job.id = %delivery.job, %error, "the payloads of a webhook cannot be read");
        let heard = Heard::Error("the server could not read the job's input and output".to_owned());
        self.record(delivery, Try { at: self.engine.now(), ms: 0, heard }).await;
    }

    /// Keeps what came of a try. As long as that fails the delivery stays in flight: it is not tried again and
    /// again by a server that cannot remember it.
    async fn record(&self, delivery: &Delivery, tried: Try) {
        let again = self.patience.again(delivery, self.engine.now());
        tell(delivery, &tried, again);
        loop {
            match self.engine.record_try(&delivery.id, tried.clone(), again).await {
                Ok(()) | Err(EngineError::Stopped) => return,
                Err(error) => {
                    tracing::warn!(job.id = %delivery.job, %error, "a try to deliver a webhook could not be kept");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        }
    }
}

/// The address is left out: it may carry a secret.
fn tell(delivery: &Delivery, tried: &Try, again: Option<Timestamp>) {
    let nth = delivery.tried + 1;
    let (job, duration_ms) = (&delivery.job, tried.ms);
    match (&tried.heard, again) {
        (heard, _) if heard.is_success() => {
            tracing::debug!(job.id = %job, duration_ms, nth, "a webhook was delivered");
        }
        (heard, Some(_)) => {
            tracing::info!(job.id = %job, duration_ms, nth, ?heard, "a webhook was not taken; it is tried again");
        }
        (heard, None) => {
            tracing::warn!(job.id = %job, duration_ms, nth, ?heard, "a webhook is given up");
        }
    }
}
