//! What commands print: data on stdout, talk on stderr, the same text with and without colour. A closed pipe is
//! the reader's way to say "enough" and ends the command quietly ([`OutputClosed`]).

pub mod json;
mod live;
mod steps;
mod table;
pub mod text;
pub mod time;

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use clap::ValueEnum;

pub use live::Live;
pub use steps::{Mark, Steps};
pub use table::{Cell, Table};

use crate::errors::OutputClosed;

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ColorChoice {
    // Plain comments: clap would print a paragraph for each of these in every command's help.
    // On a terminal, unless `NO_COLOR` or `TERM=dumb` says no; `CLICOLOR_FORCE` says yes.
    #[default]
    Auto,
    Always,
    Never,
}

/// The meaning of a piece of text; terminals show it as a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// No meaning.
    Plain,
    /// Less important.
    Dim,
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Wrong.
    Bad,
}

/// Puts tones into colours, or leaves them out.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// Without colours.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self { on: false }
    }

    fn decide(choice: ColorChoice, terminal: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let on = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto if set("NO_COLOR") => false,
            ColorChoice::Auto
                if std::env::var_os("CLICOLOR_FORCE").is_some_and(|v| v != "0" && !v.is_empty()) =>
            {
                true
            }
            ColorChoice::Auto => terminal && std::env::var_os("TERM").is_none_or(|t| t != "dumb"),
        };
        Self { on }
    }

    /// `text` in the colour of `tone`.
    pub fn tone(self, text: &str, tone: Tone) -> String {
        let code = match tone {
            Tone::Plain => "",
            Tone::Dim => "2",
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
        };
        if !self.on || code.is_empty() || text.is_empty() {
            return text.to_owned();
        }
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Where a command prints, and how.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    /// `--json`: one document on stdout, or lines of them where a command streams.
    pub json: bool,
    /// Colours of stdout.
    pub out: Paint,
    /// Colours of stderr.
    pub err: Paint,
    /// Whether stdout is a terminal.
    pub out_terminal: bool,
    /// Whether stderr is a terminal: only then do lines rewrite themselves.
    pub err_terminal: bool,
}

impl Ui {
    /// Looks at the process's streams and environment.
    pub fn new(choice: ColorChoice, json: bool) -> Self {
        let (out_terminal, err_terminal) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        Self {
            json,
            out: Paint::decide(choice, out_terminal),
            err: Paint::decide(choice, err_terminal),
            out_terminal,
            err_terminal,
        }
    }

    /// Writes to stdout as it is. A reader that went away is the error [`OutputClosed`].
    #[allow(clippy::unused_self, reason = "what prints goes through a `Ui`, so that one place decides")]
    pub fn write(self, text: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| match e.kind() {
            std::io::ErrorKind::BrokenPipe => OutputClosed.into(),
            _ => anyhow::Error::new(e).context("cannot write to stdout"),
        })
    }

    /// Writes one line to stdout as it is.
    pub fn line(self, text: &str) -> anyhow::Result<()> {
        self.write(&format!("{text}\n"))
    }

    /// Writes a document of the server's to stdout, laid out.
    pub fn document(self, json: &str) -> anyhow::Result<()> {
        self.line(&json::pretty(json))
    }

    /// Writes one document of a stream to stdout, on one line.
    pub fn json_line(self, json: &str) -> anyhow::Result<()> {
        self.line(&json::compact(json))
    }

    /// Writes a table to stdout.
    pub fn table(self, table: &Table) -> anyhow::Result<()> {
        self.write(&table.render(self.out, self.out_width()))
    }

    /// Writes one line of talk to stderr. A stderr that is gone loses talk, not work.
    #[allow(clippy::unused_self, reason = "what prints goes through a `Ui`, so that one place decides")]
    pub fn note(self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// The columns of the terminal behind stdout.
    pub fn out_width(self) -> Option<usize> {
        self.out_terminal.then(|| columns(rustix::stdio::stdout()))
    }

    /// The columns of the terminal behind stderr.
    pub fn err_width(self) -> Option<usize> {
        self.err_terminal.then(|| columns(rustix::stdio::stderr()))
    }
}

/// A terminal that does not tell its width has 80 columns, as ever.
fn columns(stream: impl rustix::fd::AsFd) -> usize {
    match rustix::termios::tcgetwinsize(stream) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => 80,
    }
}

/// Named values below each other, aligned: what `show` commands print.
#[derive(Default)]
pub struct Facts(Vec<(&'static str, String)>);

impl Facts {
    /// Adds a value; an empty one is left out.
    pub fn add(&mut self, name: &'static str, value: impl AsRef<str>) {
        let value = text::clean(value.as_ref()).trim_end().to_owned();
        if !value.is_empty() {
            self.0.push((name, value));
        }
    }

    /// The lines, each with two spaces in front.
    pub fn render(&self, paint: Paint) -> String {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut out = String::new();
        for (name, value) in &self.0 {
            let pad = " ".repeat(width - name.len() + 2);
            let value = value.replace('\n', &format!("\n  {}", " ".repeat(width + 2)));
            let _ = writeln!(out, "  {}{pad}{value}", paint.tone(name, Tone::Dim));
        }
        out
    }
}
