//! The fleet keeps as many workers as the work needs. It is a reconciler: it looks at what an endpoint
//! should have (`domain::scaling`, `domain::placement`) and at what is there, does one step, and can be run
//! twice without harm. It is woken by the engine's feed, the runtime's events and deadlines; never by polling.
//!
//! [`Fleet`] is the handle; [`reconcile`] takes the steps, [`exits`] handles workers that end, [`rollout`]
//! tests releases, [`secrets`] puts values into variables, [`traffic`] moves jobs from one to the next, [`rolling`] their workers, [`reasons`] says why a job
//! waits.

mod attach;
mod error;
mod exits;
mod fleet;
mod reasons;
mod reconcile;
mod rolling;
mod rollout;
mod secrets;
mod spec;
mod starts;
mod state;
mod stops;
mod traffic;

pub use error::FleetError;
pub use fleet::{Fleet, Options};
pub use reasons::{EndpointState, StartView, WorkerCounts};
pub use rollout::{Expected, TestRequest, TestRun};
pub use secrets::secrets_of;
pub use traffic::{Followed, Progress};
