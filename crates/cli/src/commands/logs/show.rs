//! How lines of logs are shown.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Subject;
use crate::client::{Client, path};
use crate::output::{Tone, Ui, text, time};
use crate::views::{Endpoint, Record};

/// What was shown last, to tell new lines from those that a second connection brings again.
#[derive(Default)]
pub(super) struct Shown {
    pub(super) any: bool,
    pub(super) at: i64,
    /// Worker, number and text of the lines of that millisecond.
    there: Vec<(Option<String>, Option<u64>, String)>,
}

impl Shown {
    pub(super) fn is_new(&mut self, record: &Record) -> bool {
        let key = (record.worker.clone(), record.seq, record.message.clone());
        if self.any && record.at == self.at && self.there.contains(&key) {
            return false;
        }
        if record.at != self.at {
            self.there.clear();
        }
        (self.any, self.at) = (true, record.at);
        self.there.push(key);
        true
    }
}

/// Prints lines for people, or as JSON.
pub(super) struct Printer {
    pub(super) ui: Ui,
    timestamps: bool,
    /// Whether lines are documents.
    pub(super) json: bool,
    /// Names by id, where lines of several endpoints are mixed.
    endpoints: Option<BTreeMap<String, String>>,
}

impl Printer {
    pub(super) async fn new(
        subject: &Subject,
        timestamps: bool,
        jsonl: bool,
        client: &Client,
        ui: Ui,
    ) -> Self {
        #[derive(Deserialize)]
        struct Endpoints {
            endpoints: Vec<Endpoint>,
        }
        let json = jsonl || ui.json;
        let mut printer = Self { ui, timestamps, json, endpoints: None };
        let mixed = subject.endpoint.is_none() && subject.job.is_none() && subject.worker.is_none();
        if mixed && !json {
            let listed =
                client.all(path::api(&["endpoints"]), "endpoints").await.and_then(|r| r.parse::<Endpoints>());
            let listed = listed.map(|l| l.endpoints).unwrap_or_default();
            printer.endpoints = Some(listed.into_iter().map(|e| (e.id, e.name)).collect());
        }
        printer
    }

    /// Prints a record as the server sent it.
    pub(super) fn print_line(&self, text: &str) -> anyhow::Result<()> {
        if self.json {
            self.ui.json_line(text)
        } else {
            self.ui.line(&self.render(&serde_json::from_str(text)?))
        }
    }

    /// Prints records, with a mark where lines around one end and those around another begin.
    pub(super) fn print_all(&self, records: &[Record]) -> anyhow::Result<()> {
        let has_context = records.iter().any(|record| record.context);
        let mut before: Option<&Record> = None;
        for (at, record) in records.iter().enumerate() {
            let goes_on = before.is_none_or(|before| {
                before.worker == record.worker && before.seq.map(|seq| seq + 1) == record.seq
            });
            if has_context && !goes_on {
                self.ui.line(&self.ui.out.tone("--", Tone::Dim))?;
            }
            before = Some(record);
            if !is_overwritten(record, &records[at + 1..]) {
                self.ui.line(&self.render(record))?;
            }
        }
        Ok(())
    }

    fn render(&self, record: &Record) -> String {
        let paint = self.ui.out;
        let at = if self.timestamps { time::rfc3339(record.at) } else { time::clock(record.at) };
        let mut head = paint.tone(&at, Tone::Dim);
        if let (Some(names), Some(id)) = (&self.endpoints, &record.endpoint) {
            let name = format!(" {:<12}", text::line(names.get(id).unwrap_or(id), 24));
            head.push_str(&name);
        }
        let worker = record.worker.as_deref().map(text::short_id);
        let who = worker.or_else(|| record.source.clone()).unwrap_or_else(|| "–".to_owned());
        let sign = if record.inferred { "~" } else { "" };
        let job =
            record.job.as_deref().map_or("–".to_owned(), |job| format!("{sign}{}", text::short_id(job)));
        head.push_str(
            &paint.tone(&format!(" {:<14} {:<9}", text::line(&who, 40), text::line(&job, 40)), Tone::Dim),
        );
        let level = record.level.as_deref().unwrap_or_default();
        head.push_str(&paint.tone(&format!(" {:<5}", text::line(&level.to_uppercase(), 12)), tone(level)));
        let said = record.said();
        let message = text::clean(&said);
        // Further lines of a message stand apart from lines of their own.
        format!("{head} {}", message.trim_end().replace('\n', "\n    "))
    }
}

/// Whether a progress bar was drawn over by the next line of the same pipe.
fn is_overwritten(record: &Record, later: &[Record]) -> bool {
    let same = |other: &&Record| other.worker == record.worker && other.source == record.source;
    record.partial && later.iter().find(same).is_some_and(|next| next.message.starts_with('\r'))
}

fn tone(level: &str) -> Tone {
    match level {
        "error" => Tone::Bad,
        "warn" => Tone::Warn,
        _ => Tone::Dim,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_that_was_drawn_over_is_not_shown() {
        let line = |worker: &str, message: &str| Record {
            worker: Some(worker.to_owned()),
            partial: true,
            message: message.to_owned(),
            ..Record::default()
        };
        let later = [line("b", "x"), line("a", "\r100%")];
        assert!(is_overwritten(&line("a", "\r10%"), &later));
        assert!(!is_overwritten(&line("b", "\r10%"), &later));
        assert!(!is_overwritten(&Record { partial: false, ..line("a", "x") }, &later));
    }

    #[test]
    fn lines_that_come_again_are_known() {
        let line = |at, seq, message: &str| Record {
            at,
            seq: Some(seq),
            message: message.to_owned(),
            ..Record::default()
        };
        let mut shown = Shown::default();
        assert!(shown.is_new(&line(1, 1, "a")));
        assert!(shown.is_new(&line(1, 2, "b")));
        assert!(!shown.is_new(&line(1, 1, "a")));
        assert!(shown.is_new(&line(2, 3, "a")));
        assert!(!shown.is_new(&line(2, 3, "a")));
    }
}
