//! The agent: the process that owns local workers and outlives the server. It starts them, keeps every byte
//! they print, sees how they end, carries their requests to the server, and while the server is away holds
//! their polls and takes their results into a spool.
//!
//! - [`run`] is `runyard agent`; the server reaches it over the control socket (`control`), as
//!   `runyard_runtime::wire` describes.
//! - `spawn`, `supervise`, `reap` and `leftovers` are a worker's life; [`launch`] is what a new process does
//!   between its birth and the worker's first instruction (`runyard agent-exec`).
//! - `container` is the same life where a worker is a container.
//! - `listener`, `forward`, `upstream`, `spool` and `replay` are the road of its requests.
//! - [`Keeper`] holds the server's builds the way workers are held.
//!
//! It decides nothing about jobs.

mod agent;
mod boundary;
#[cfg(feature = "docker")]
mod container;
mod control;
mod delivery;
mod events;
mod exec;
mod forward;
mod halted;
mod held;
mod inside;
mod launch;
mod leftovers;
mod listener;
mod lock;
mod oom;
mod post;
#[doc(hidden)]
pub mod probe;
mod reap;
mod records;
mod replay;
mod reply;
mod room;
mod route;
mod sandbox;
mod spawn;
mod spool;
mod stats;
mod supervise;
mod upstream;
mod worker;

pub use agent::{AgentError, Options, run};
pub use held::{Held, Keeper, Wants};
pub use launch::{LaunchError, launch, launch_main};
