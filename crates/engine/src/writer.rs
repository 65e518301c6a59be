//! The one writer. Commands from everywhere are drained into a batch, committed in one transaction, applied
//! to memory in commit order, and answered. Where the disk is full, new jobs are refused, and everything else goes
//! into the reserve; when that is used up, the batch is tried command by command, so that what fits is taken.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use runyard_domain::{Env, Timestamp};
use runyard_store::{Command, Reply, Store, StoreError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::EngineError;
use crate::gate::Gate;
use crate::meter::Meter;

/// The most commands in one transaction.
const BATCH: usize = 1_000;

/// How often the disk is looked at while it is full.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

type Answer = Result<Reply, EngineError>;

struct Item {
    command: Command,
    answer: Option<oneshot::Sender<Answer>>,
    /// What belongs into the same transaction, behind it.
    then: Vec<Command>,
}

/// Sends commands to the writer.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: Queue,
    meter: Arc<Meter>,
}

#[derive(Clone)]
enum Queue {
    Thread(Sender<Item>),
    Task(UnboundedSender<Item>),
}

impl Queue {
    /// Whether there is still somebody who takes it.
    fn send(&self, item: Item) -> bool {
        match self {
            Self::Thread(queue) => queue.send(item).is_ok(),
            Self::Task(queue) => queue.send(item).is_ok(),
        }
    }
}

/// How long each batch of a simulation takes.
pub type Latency = Box<dyn FnMut() -> Duration + Send>;

/// Where the writer runs.
pub(crate) enum Seat {
    /// On a thread of its own.
    Thread,
    /// As a task of the runtime that it is started on.
    Task(Latency),
}

/// Called in commit order with each command and its reply, before the reply is sent.
pub(crate) type Apply = Box<dyn FnMut(Timestamp, &Command, &Reply) + Send>;

/// Called after a whole batch was applied.
pub(crate) type Flush = Box<dyn FnMut() + Send>;

/// Called once when the store has failed for good.
pub(crate) type Fatal = Box<dyn FnOnce() + Send>;

impl Writer {
    /// Starts the writer. It ends when the last handle is dropped.
    pub(crate) fn start(
        seat: Seat,
        store: Box<dyn Store>,
        env: Arc<dyn Env>,
        gate: Gate,
        apply: Apply,
        flush: Flush,
        fatal: Fatal,
    ) -> Self {
        let meter = Arc::new(Meter::default());
        let mut desk = Desk { store, env, gate, apply, flush, meter: meter.clone() };
        let queue = match seat {
            Seat::Thread => {
                let (queue, items) = channel();
                let spawned = std::thread::Builder::new().name("writer".into()).spawn(move || {
                    let mut ending = Ending(Some(fatal));
                    if desk.serve(&items).is_ok() {
                        ending.0 = None;
                    }
                });
                if let Err(error) = spawned {
                    tracing::error!(%error, "cannot start the writer's thread");
                }
                Queue::Thread(queue)
            }
            Seat::Task(latency) => {
                let (queue, items) = unbounded_channel();
                tokio::spawn(async move {
                    let mut ending = Ending(Some(fatal));
                    if desk.serve_slowly(items, latency).await.is_ok() {
                        ending.0 = None;
                    }
                });
                Queue::Task(queue)
            }
        };
        Self { queue, meter }
    }

    /// How it does.
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Commits one command; resolves when it is durable. It stands in the queue when this returns, so that
    /// several make one batch before the first of them is awaited.
    pub(crate) fn commit(&self, command: Command) -> impl Future<Output = Answer> + Send + use<> {
        self.commit_then(command, Vec::new())
    }

    /// The same, and in the same transaction behind it what nobody waits for.
    pub(crate) fn commit_then(
        &self,
        command: Command,
        then: Vec<Command>,
    ) -> impl Future<Output = Answer> + Send + use<> {
        let (answer, reply) = oneshot::channel();
        let queued = self.queue.send(Item { command, answer: Some(answer), then });
        async move {
            if !queued {
                return Err(EngineError::Stopped);
            }
            reply.await.map_err(|_| EngineError::Stopped)?
        }
    }

    /// Commits one command some time; nobody waits.
    pub(crate) fn submit(&self, command: Command) {
        // A stopped writer is reported to whoever waits for an answer.
        self.queue.send(Item { command, answer: None, then: Vec::new() });
    }
}

/// What the writer works with.
struct Desk {
    store: Box<dyn Store>,
    env: Arc<dyn Env>,
    gate: Gate,
    apply: Apply,
    flush: Flush,
    meter: Arc<Meter>,
}

impl Desk {
    fn serve(&mut self, items: &Receiver<Item>) -> Result<(), StoreError> {
        loop {
            match self.next(items) {
                Ok(first) => self.batch(first, || items.try_recv().ok())?,
                Err(RecvTimeoutError::Timeout) => drop(self.gate.look()),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn next(&self, items: &Receiver<Item>) -> Result<Item, RecvTimeoutError> {
        if self.gate.is_shut() {
            items.recv_timeout(LOOK_AGAIN)
        } else {
            items.recv().map_err(|_| RecvTimeoutError::Disconnected)
        }
    }

    async fn serve_slowly(
        &mut self,
        mut items: UnboundedReceiver<Item>,
        mut latency: Latency,
    ) -> Result<(), StoreError> {
        while let Some(first) = items.recv().await {
            let pause = latency();
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            self.batch(first, || items.try_recv().ok())?;
        }
        Ok(())
    }

    /// Commits what waits as one batch.
    fn batch(&mut self, first: Item, mut next: impl FnMut() -> Option<Item>) -> Result<(), StoreError> {
        let mut batch = Vec::new();
        let mut item = Some(first);
        while let Some(mut first) = item {
            let then = std::mem::take(&mut first.then).into_iter();
            batch.push(first);
            batch.extend(then.map(|command| Item { command, answer: None, then: Vec::new() }));
            item = if batch.len() < BATCH { next() } else { None };
        }
        if (self.gate.is_shut() || batch.iter().any(|item| item.command.is_new_work())) && !self.gate.look() {
            batch = refuse_new_work(batch);
        }
        let failed = self.commit(self.env.now(), batch);
        (self.flush)();
        if let Some(error) = failed {
            tracing::error!(error = %Chain(&error), "the store failed; the server stops");
            return Err(error);
        }
        Ok(())
    }
}

/// Reports the end of the writer, also one by a panic: a server without a writer must not live on.
struct Ending(Option<Fatal>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(fatal) = self.0.take() {
            fatal();
        }
    }
}

impl Desk {
    /// Commits a batch and answers; returns an error that the store cannot recover from.
    fn commit(&mut self, now: Timestamp, batch: Vec<Item>) -> Option<StoreError> {
        let (commands, answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|item| (item.command, item.answer)).unzip();
        let began = Instant::now();
        match self.store.commit(now, &commands) {
            Ok(replies) => {
                self.meter.note(began.elapsed(), commands.len());
                for ((command, reply), answer) in commands.iter().zip(replies).zip(answers) {
                    (self.apply)(now, command.plain(), &reply);
                    if let Some(answer) = answer {
                        let _ = answer.send(Ok(reply));
                    }
                }
                None
            }
            Err(StoreError::DiskFull) => {
                let again = commands.into_iter().zip(answers).map(|(command, answer)| Item {
                    command,
                    answer,
                    then: Vec::new(),
                });
                self.commit_on_full_disk(now, again.collect())
            }
            Err(error) => Some(error),
        }
    }

    /// New work is refused; the rest goes into the reserve, and without one whatever fits is taken.
    fn commit_on_full_disk(&mut self, now: Timestamp, batch: Vec<Item>) -> Option<StoreError> {
        let before = batch.len();
        let mut rest = refuse_new_work(batch);
        if rest.is_empty() {
            return None;
        }
        if rest.len() < before || self.gate.give() {
            return self.commit(now, rest);
        }
        if rest.len() == 1 {
            refuse(rest.remove(0));
            return None;
        }
        rest.into_iter().find_map(|item| self.commit(now, vec![item]))
    }
}

/// What is left of a batch when its new work is refused.
fn refuse_new_work(batch: Vec<Item>) -> Vec<Item> {
    let (new, rest): (Vec<_>, Vec<_>) = batch.into_iter().partition(|item| item.command.is_new_work());
    new.into_iter().for_each(refuse);
    rest
}

fn refuse(item: Item) {
    if let Some(answer) = item.answer {
        let _ = answer.send(Err(EngineError::DiskFull));
    }
}

/// An error with its sources, on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
