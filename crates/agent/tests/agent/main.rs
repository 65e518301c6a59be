//! The agent as a process of its own, with real workers (`sh` and `python3`) and a server played by the
//! test. Nothing sleeps for luck: everything is waited for, with a deadline.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod boundary;
#[cfg(feature = "docker")]
mod container;
mod harness;
mod life;
mod loss;
mod requests;
mod server;
