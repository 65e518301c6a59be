//! Webhooks to real receivers on this machine, out of real stores, with a clock that is set by hand.
#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

mod house;
mod receiver;

mod addresses;
mod crashes;
mod downloads;
mod messages;
mod retries;
mod room;
#[cfg(feature = "tls")]
mod tls;
