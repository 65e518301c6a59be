//! The terminal while `top` has it: a screen of its own, keys as they are pressed; as before when dropped.

use std::io::{IsTerminal as _, Read as _, Write as _, stdin, stdout};

use tokio::sync::mpsc;

use crate::commands::exec::terminal::Raw;
use crate::output::Ui;

/// Whether there is a terminal to look at and to press keys on.
pub fn is_there(ui: Ui) -> bool {
    ui.out_terminal && stdin().is_terminal()
}

/// The terminal.
pub struct Screen {
    _raw: Raw,
    keys: mpsc::Receiver<bool>,
}

impl Screen {
    /// Takes it.
    pub fn open() -> anyhow::Result<Self> {
        let raw = Raw::enter()?;
        let (sender, keys) = mpsc::channel(16);
        std::thread::spawn(move || {
            let mut byte = [0];
            while matches!(stdin().lock().read(&mut byte), Ok(1)) {
                // q, Q, Ctrl-C, Ctrl-D, Escape
                let leaves = matches!(byte[0], b'q' | b'Q' | 3 | 4 | 27);
                let counts = leaves || matches!(byte[0], b' ' | b'r');
                if counts && sender.blocking_send(!leaves).is_err() {
                    return;
                }
            }
            let _ = sender.blocking_send(false);
        });
        // Another screen, without a cursor.
        stdout().write_all(b"\x1b[?1049h\x1b[?25l")?;
        stdout().flush()?;
        Ok(Self { _raw: raw, keys })
    }

    /// Waits for a key: false where the user leaves.
    pub async fn key(&mut self) -> bool {
        self.keys.recv().await.unwrap_or(false)
    }

    /// Waits until the user leaves.
    pub async fn left(&mut self) {
        while self.key().await {}
    }

    /// Rows and columns.
    pub fn size() -> (usize, usize) {
        match rustix::termios::tcgetwinsize(stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_row.into(), size.ws_col.into()),
            _ => (24, 80),
        }
    }

    /// Shows a page, as much of it as there are rows.
    #[allow(clippy::unused_self, reason = "there is nothing to draw on without one")]
    pub fn draw(&self, ui: Ui, page: &str, rows: usize) -> anyhow::Result<()> {
        let mut frame = String::from("\x1b[H");
        for (at, line) in page.lines().take(rows).enumerate() {
            if at > 0 {
                frame.push_str("\r\n");
            }
            frame.push_str(line);
            frame.push_str("\x1b[K");
        }
        frame.push_str("\x1b[J");
        ui.write(&frame)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nobody could be told.
        let _ = stdout().write_all(b"\x1b[?25h\x1b[?1049l");
        let _ = stdout().flush();
    }
}
