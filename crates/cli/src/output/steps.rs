//! A list of steps that fills up while work goes on: one line per step that ended, and on a terminal one line
//! below that says what happens now. It is talk, so it goes to stderr.

use unicode_width::UnicodeWidthStr;

use crate::output::live::Live;
use crate::output::{Tone, Ui, text, time};

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It is done.
    Done,
    /// It did not succeed.
    Failed,
    /// There was nothing to do.
    Skipped,
}

/// The column where the time of a step starts, where its message leaves room.
const TIME_COLUMN: usize = 52;

/// The live list; silent with `--json`.
pub struct Steps {
    ui: Ui,
    live: Live,
}

impl Steps {
    /// An empty list.
    pub fn new(ui: Ui) -> Self {
        Self { ui, live: Live::new(ui) }
    }

    /// Says what happens now. Only on a terminal, and only until the next line.
    pub fn now(&mut self, label: &str, message: &str) {
        self.live.set(&format!("  · {label:<10}{message}"));
    }

    /// Adds the line of a step that ended.
    pub fn end(&mut self, mark: Mark, label: &str, message: &str, ms: Option<i64>) {
        let (sign, tone) = match mark {
            Mark::Done => ("✓", Tone::Good),
            Mark::Failed => ("✗", Tone::Bad),
            Mark::Skipped => ("–", Tone::Dim),
        };
        let message = text::line(message, 400);
        let mut line = format!("  {} {label:<10}{message}", self.ui.err.tone(sign, tone));
        if let Some(ms) = ms {
            let used = 14 + message.width();
            line.push_str(&" ".repeat(TIME_COLUMN.saturating_sub(used).max(2)));
            line.push_str(&self.ui.err.tone(&time::span(Some(ms)), Tone::Dim));
        }
        self.line(line.trim_end());
    }

    /// Adds a line of its own.
    pub fn line(&mut self, line: &str) {
        if !self.ui.json {
            self.live.clear();
            self.ui.note(line);
        }
    }
}
