//! The composition root: configuration → parts → listeners → shutdown. No logic of its own.
//!
//! - [`config`] layers defaults, `server.toml`, environment and flags, and remembers where each value is from.
//! - [`home`] makes and locks the data directory.
//! - `sweep` removes from it what nobody needs any more.
//! - [`Server`] puts the parts together and serves; [`offline`] opens a data directory without workers.

pub mod config;
mod edge;
mod error;
mod home;
mod listen;
pub mod offline;
mod serve;
mod sweep;
mod webhooks;

pub use config::{Config, Flags};
pub use error::ServerError;
pub use serve::{FirstKey, Mode, Server};
