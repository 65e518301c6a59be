//! Values that no argument, no terminal and no history shall show: asked for without echo, or read from stdin, a file or
//! a variable of this environment.

use std::io::{IsTerminal as _, Read as _};

use crate::errors::Failure;
use crate::output::Ui;
use crate::secret;

/// The longest value that a server takes, and one byte to see that there is more.
const MOST: u64 = runyard_domain::secret::LONGEST_VALUE as u64 + 1;

/// The value of `what`: asked for where somebody sits at a terminal, else all of stdin.
pub fn ask_or_read(what: &str, ui: Ui) -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() { ask(what, ui) } else { from_stdin() }
}

/// Asks for the value of `what` without showing it.
pub fn ask(what: &str, ui: Ui) -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() || !ui.err_terminal {
        return Err(Failure::usage(format!("{what} has no value, and nobody can be asked here")).into());
    }
    secret::ask(what)
}

/// All of stdin as one value.
pub fn from_stdin() -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(MOST + 1).read_to_end(&mut bytes)?;
    value_of(bytes, "what stdin holds")
}

/// A file as one value.
pub fn from_file(path: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path).and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes));
    if let Err(error) = opened {
        return Err(Failure::usage(format!("the file {path} cannot be read"))
            .cause(error.to_string())
            .into());
    }
    value_of(bytes, &format!("what {path} holds"))
}

/// The text, without the line feed that editors and `echo` put behind it.
fn value_of(bytes: Vec<u8>, what: &str) -> anyhow::Result<String> {
    let text = String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{what} is no text in UTF-8")))?;
    let value = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_feed_at_the_end_is_no_part_of_a_value() {
        for (bytes, value) in [("x\n", "x"), ("x\r\n", "x"), ("a\nb\n\n", "a\nb\n"), ("x", "x"), ("", "")] {
            assert_eq!(value_of(bytes.as_bytes().to_vec(), "it").ok().as_deref(), Some(value));
        }
        assert!(value_of(vec![0xff], "it").is_err());
    }
}
