//! The user's terminal, lent to a command: its keys go there unread, and its size is told.

use std::io::stdin;

use runyard_runtime::session::Size;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// A terminal whose keys are passed on as they are pressed; as before when dropped.
pub struct Raw(Termios);

impl Raw {
    /// Passes them on from now on.
    pub fn enter() -> anyhow::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Nobody could be told.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}

/// How large it is.
pub fn size() -> anyhow::Result<Size> {
    let size = tcgetwinsize(stdin())?;
    Ok(Size { rows: size.ws_row, columns: size.ws_col })
}
