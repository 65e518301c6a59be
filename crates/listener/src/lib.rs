//! Listeners that hold under fire: accepted connections within limits of number, size and time, each speaking
//! HTTP/1.1 to a service. The server uses it towards users, the agent towards workers. It knows nothing of what is
//! spoken; a request that a route could answer is never cut here, however long it is held.
//!
//! - [`serve_tcp`], [`serve_unix`] accept and serve until they are told to close.
//! - [`Received`] is a request's body; what a service leaves of it does not end the connection.
//! - [`Limits`] says what one listener takes, [`Tls`] what it proves itself with.
//! - [`Pace`] tells who is too slow, for whoever reads or writes bytes.
//! - [`raise_open_files`] makes room for many connections.

mod accept;
mod arrival;
mod connection;
mod doors;
mod expiry;
mod files;
mod guarded;
mod networks;
mod pace;
#[doc(hidden)]
pub mod probe;
mod pulse;
mod received;
mod refusal;
mod tls;

pub use accept::{serve_tcp, serve_unix};
pub use files::{OpenFiles, raise_open_files};
pub use networks::{Networks, NotANetwork};
pub use pace::Pace;
pub use received::Received;
pub use tls::{Tls, TlsError};

use std::time::Duration;

/// What one listener takes.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once. When they are used up, the oldest that never sent a request gives way; where there
    /// is none, a newcomer is told so and closed.
    pub connections: usize,
    /// Connections at once from one address (IPv6: one /64 network) that is not this machine's.
    pub per_address: usize,
    /// Bytes of a request's line and headers together.
    pub header_bytes: usize,
    /// Header lines of a request.
    pub headers: usize,
    /// How long a request's head may take from its first byte to its last.
    pub header_timeout: Duration,
    /// How long a new connection may take until its first byte.
    pub first_timeout: Duration,
    /// How long a connection is kept that has nothing to do between two requests.
    pub idle_timeout: Duration,
    /// How long a reader of an answer may be slow in all; see [`Pace`].
    pub patience: Duration,
    /// Bytes a second that a reader of an answer has to take, once patience is used up. 0: any progress will do.
    pub rate: u64,
    /// What the kernel may keep for a reader, in bytes; `None` leaves it to the kernel.
    pub send_buffer: Option<usize>,
    /// Addresses that stand for many: their connections are counted in all, not by address.
    pub shared: Networks,
}

/// Whether an address is this machine's own.
fn is_own(address: std::net::IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
