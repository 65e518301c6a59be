//! The engine accepts commands, makes them durable and tells the rest of the house what changed. It is the
//! only writer of job state. It knows neither HTTP nor processes.
//!
//! The road of a command: a method of [`Engine`] sends it to the [`writer`], one thread that drains whatever
//! waits into one transaction; what the transaction changed goes into the [`index`] (who waits, who runs),
//! wakes takes and waiters, and is published on the [`feed`]. Timers exist for limits only ([`timers`]).

mod batches;
mod catalog;
mod depth;
mod engine;
mod env;
mod error;
mod feed;
mod gate;
mod index;
mod intake;
mod lists;
mod live;
mod meter;
mod polls;
mod records;
mod registries;
mod results;
mod room;
mod secrets;
mod stops;
mod take;
mod timers;
mod traffic;
mod trail;
mod waiters;
mod writer;

pub use batches::BatchView;
pub use engine::{Engine, Options};
pub use env::SystemEnv;
pub use error::EngineError;
pub use feed::Change;
pub use index::{Lease, Place, Queued, Snapshot, Tally};
pub use intake::{Accepted, NewJob};
pub use live::{LiveWorker, Presence};
pub use meter::WriterLoad;
pub use registries::LoginError;
pub use room::InputRoom;
pub use take::{Ask, Handed, Take};
pub use trail::{Deed, Trail};
pub use waiters::{Ended, JobWaiter};
pub use writer::Latency;
