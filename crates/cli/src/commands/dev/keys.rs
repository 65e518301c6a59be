//! Single keys from a terminal. The terminal is put back as it was when the reading ends, also by a signal.

use std::io::IsTerminal as _;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

/// Keys as they are pressed.
pub struct Keys {
    pressed: mpsc::Receiver<char>,
    _terminal: Option<AsItWas>,
}

impl Keys {
    /// The next key; `None` where there is no terminal to read from.
    pub async fn recv(&mut self) -> Option<char> {
        self.pressed.recv().await
    }
}

/// Reads keys; without a terminal there are none.
pub fn read() -> anyhow::Result<Keys> {
    let (press, pressed) = mpsc::channel(16);
    if !std::io::stdin().is_terminal() {
        return Ok(Keys { pressed, _terminal: None });
    }
    let before = tcgetattr(std::io::stdin())?;
    let mut single = before.clone();
    // Ctrl-C stays a signal.
    single.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    tcsetattr(std::io::stdin(), OptionalActions::Now, &single)?;
    tokio::spawn(async move {
        let mut stdin = tokio::io::stdin();
        while let Ok(byte) = stdin.read_u8().await {
            if press.send(char::from(byte)).await.is_err() {
                return;
            }
        }
    });
    Ok(Keys { pressed, _terminal: Some(AsItWas(before)) })
}

struct AsItWas(Termios);

impl Drop for AsItWas {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing put back.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
