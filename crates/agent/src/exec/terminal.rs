//! The terminal of a command beside a worker that is a process: a pseudo-terminal, of which the agent has the one side and
//! the launcher makes the other the command's own.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use futures_util::stream::{self, Stream};
use runyard_runtime::session::{Frame, Size};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::net::unix::pipe::{Receiver, Sender};

use super::process::read;

/// Our side of it.
pub struct Terminal {
    ours: OwnedFd,
    /// Where the other side is opened.
    pub path: PathBuf,
}

impl Terminal {
    pub fn open(size: Size) -> io::Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        unlockpt(&ours)?;
        fcntl_setfl(&ours, OFlags::RDWR | OFlags::NONBLOCK)?;
        let path = OsString::from_vec(ptsname(&ours, Vec::new())?.into_bytes()).into();
        let terminal = Self { ours, path };
        terminal.resize(size);
        Ok(terminal)
    }

    /// What is shown on it, and what is typed.
    pub fn ends(&self) -> io::Result<(impl Stream<Item = Frame> + Send + 'static, Sender)> {
        let shown = Receiver::from_file_unchecked(File::from(self.ours.try_clone()?))?;
        let typed = Sender::from_file_unchecked(File::from(self.ours.try_clone()?))?;
        // Once nobody has the other side, to read fails.
        let frames = stream::unfold(shown, |mut shown| async move {
            let bytes = read(Some(&mut shown)).await?;
            Some((Frame::Out(bytes.freeze()), shown))
        });
        Ok((frames, typed))
    }

    pub fn resize(&self, size: Size) {
        let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        let _ = tcsetwinsize(&self.ours, size);
    }
}
