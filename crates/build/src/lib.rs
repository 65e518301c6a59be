//! From a user's folder to something a worker can run: the release artifact.
//!
//! Four steps, each usable alone, in the order of a deployment: [`source`] finds the handler and what its source
//! reads, without importing it; [`bundle`] packs the folder into one deterministic archive and unpacks such an
//! archive safely; [`environment`] plans and prepares the Python environment that the code needs; [`cases`]
//! reads the test requests that come with the code, [`hub`] what a repository says of itself, and [`listing`] the same
//! as a catalogue shows it. [`upload`] makes a folder of what a browser sends. A folder with a
//! Dockerfile is packed by [`pack_context`] instead: a container engine makes the image of it. The first three block
//! their thread but for
//! [`environment::prepare`]; an asynchronous caller runs them on a blocking thread.
//!
//! Nothing here knows of endpoints, releases or stores: folders come in, folders and digests go out.

pub mod bundle;
pub mod cases;
mod context;
pub mod environment;
pub mod hub;
pub mod listing;
#[doc(hidden)]
pub mod probe;
mod read;
pub mod source;
pub mod upload;
mod walk;

pub use bundle::{Bundle, BundleError, Limits, Unpacked, pack, unpack};
pub use cases::{CasesError, TestCase, tests_of};
pub use context::pack_context;
pub use environment::{EnvPlan, Environment, EnvironmentError, PlanError, plan, prepare};
pub use source::{Handler, NoHandler, env_read, find_handler, imports};
