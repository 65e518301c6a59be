//! The port of a server, held open beside its listener, so that one program can take the place of another in the same
//! process while clients only wait a moment.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::io::{FdFlags, fcntl_setfd};
use tokio::net::TcpListener;

use crate::ServerError;

/// An open port.
#[derive(Debug)]
pub struct Port(OwnedFd);

impl Port {
    /// The same port as this listener's.
    pub(crate) fn of(listener: &TcpListener, address: &str) -> Result<Self, ServerError> {
        let held = listener.as_fd().try_clone_to_owned();
        held.map(Self).map_err(|source| ServerError::Listen { address: address.to_owned(), source })
    }

    /// Becomes `program` with these arguments and this port; comes back only where that cannot be.
    pub fn become_program(&self, program: &Path, arguments: &[OsString]) -> io::Error {
        if let Err(error) = fcntl_setfd(&self.0, FdFlags::empty()) {
            return error.into();
        }
        Command::new(program)
            .args(arguments)
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDS_FIRST_FD", self.0.as_raw_fd().to_string())
            .env("LISTEN_PID", std::process::id().to_string())
            .exec()
    }
}
