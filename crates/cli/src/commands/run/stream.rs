//! Printing what a handler yields as it comes: text without anything between the pieces, other values one a line,
//! with `--json` every piece as one line.

use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::commands::run::Submitted;
use crate::commands::run::wait::{Patience, poll};
use crate::output::{Live, Ui, json, text};
use crate::views::{JobAnswer, is_final};

/// As long as RunPod's clients let a poll be held.
const HOLD: Duration = Duration::from_secs(8);

/// How long to leave a server alone that did not hold a poll.
const PAUSE: Duration = Duration::from_millis(100);

/// Prints pieces until the job is done and the last one came.
pub async fn follow(job: &Submitted<'_>, ui: Ui) -> anyhow::Result<()> {
    let mut live = Live::new(ui);
    let mut patience = Patience::default();
    let mut printer = Printer { ui, open_line: false };
    loop {
        let asked = Instant::now();
        let answer: JobAnswer = match poll(job, "stream", HOLD).await {
            Ok(reply) => reply.parse()?,
            Err(e) => {
                patience.spend(e)?;
                tokio::time::sleep(PAUSE * 5).await;
                continue;
            }
        };
        patience = Patience::default();
        live.clear();
        for chunk in answer.stream.iter().filter_map(|chunk| chunk.output.as_deref()) {
            printer.print(chunk)?;
        }
        if is_final(&answer.status) {
            return printer.end();
        }
        if !printer.open_line {
            live.set(&answer.reason.map_or("waiting".to_owned(), |r| format!("queued: {}", r.message)));
        }
        if answer.stream.is_empty() && asked.elapsed() < PAUSE {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

struct Printer {
    ui: Ui,
    /// Text was printed and its line is not ended.
    open_line: bool,
}

impl Printer {
    fn print(&mut self, chunk: &RawValue) -> anyhow::Result<()> {
        if self.ui.json {
            return self.ui.json_line(&format!("{{\"output\":{}}}", chunk.get()));
        }
        let Ok(piece) = serde_json::from_str::<String>(chunk.get()) else {
            self.end()?;
            return self.ui.line(&json::compact(chunk.get()));
        };
        self.open_line = if piece.is_empty() { self.open_line } else { !piece.ends_with('\n') };
        // A pipe gets the text as it is: it is data. A terminal would obey it.
        if self.ui.out_terminal { self.ui.write(&text::clean(&piece)) } else { self.ui.write(&piece) }
    }

    fn end(&mut self) -> anyhow::Result<()> {
        if std::mem::take(&mut self.open_line) { self.ui.write("\n") } else { Ok(()) }
    }
}
