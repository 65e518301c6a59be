//! One line on stderr that says what happens now and rewrites itself; only on a terminal.

use std::io::Write;

use unicode_width::UnicodeWidthChar;

use crate::output::{Tone, Ui, text};

/// The line.
pub struct Live {
    ui: Ui,
    shown: bool,
}

impl Live {
    /// No line yet.
    pub fn new(ui: Ui) -> Self {
        Self { ui, shown: false }
    }

    /// Replaces the line, cut to the terminal's width. Without a terminal, and with `--json`, it says nothing.
    pub fn set(&mut self, message: &str) {
        let (false, Some(width)) = (self.ui.json, self.ui.err_width()) else { return };
        let line = fit(&text::clean(message).replace(['\n', '\t'], " "), width.saturating_sub(1));
        print(&format!("\r\u{1b}[2K{}", self.ui.err.tone(&line, Tone::Dim)));
        self.shown = true;
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            print("\r\u{1b}[2K");
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The beginning of `text` that is at most `width` columns wide: a line that wraps cannot be rewritten.
fn fit(text: &str, width: usize) -> String {
    let mut used = 0;
    text.chars()
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= width
        })
        .collect()
}

/// Talk that cannot be written is lost, and no work with it.
fn print(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}
