//! The composition root: configuration → parts → listeners → shutdown. No logic of its own.
//!
//! - [`config`] layers defaults, `server.toml`, environment and flags, and remembers where each value is from.
//! - [`home`] makes and locks the data directory.
//! - [`client`] tells who a request comes from, `tls` keeps the listener's certificate fresh,
//!   `acme` has an authority give it.
//! - [`environments`] makes what restored releases lack.
//! - [`operator`] answers who runs the server: health, examination, backups.
//! - `telemetry` measures, for the store and for `/metrics`.
//! - `sweep` removes from it what nobody needs any more.
//! - [`Server`] puts the parts together and serves; [`offline`] opens a data directory without workers.

mod acme;
pub mod client;
pub mod config;
mod edge;
pub mod environments;
mod error;
mod home;
mod keys;
mod listen;
pub mod offline;
pub mod operator;
mod port;
mod reasons;
mod serve;
mod sides;
mod sweep;
mod telemetry;
mod tls;
mod webhooks;

pub use config::{Config, Flags};
pub use error::ServerError;
pub use keys::FirstKey;
pub use listen::inherited;
pub use port::Port;
pub use serve::{Mode, Server};
