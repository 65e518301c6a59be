//! Webhooks go out here. Each end of a job that has one is a row of the store's outbox, written in the
//! transaction that ended the job; [`Webhooks`] is the reconciler that looks at that outbox, posts what is due,
//! and records every try. It holds no job and no writer: a receiver that is slow or gone costs only its own
//! deliveries.
//!
//! - [`reconciler`] decides what is tried when, and how much at once.
//! - [`message`] makes the body, RunPod's, and signs it.
//! - [`post`] sends one message: redirects, time limits, what came back, in words.
//! - [`ask`] calls another server's API over the same connections, for those who tell forges of commits, and
//!   [`download`] reads a file of it.
//! - [`connect`] makes the connection, to an address that [`address`] allows and to no other; [`tls`] wraps it.

mod address;
mod ask;
mod connect;
mod download;
mod message;
mod post;
#[doc(hidden)]
pub mod probe;
mod reconciler;
#[cfg(feature = "tls")]
mod tls;
mod url;

pub use address::Reach;
pub use ask::{Asker, Said};
pub use connect::{Resolve, Resolving, SystemResolver};
pub use post::Limits;
pub use reconciler::{Handle, Options, Webhooks};
