//! Secrets that people type or pipe in: read from standard input, and not shown while they are typed. None is ever an
//! argument, where every user of the machine could read it.

use std::io::{BufRead, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::context::Context;
use crate::errors::Failure;
use crate::output::text;

/// The longest secret, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Asks a terminal for a secret.
pub fn ask(question: &str) -> anyhow::Result<String> {
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "{}: ", text::line(question, 300));
    let _ = err.flush();
    let secret = read_hidden();
    let _ = writeln!(err);
    secret
}

/// A secret from standard input, less its last line break: all of what is piped in, or a line that is asked for.
pub fn read(question: &str, context: &Context) -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        if !context.ui.err_terminal {
            return Err(Failure::usage(
                "the password is read from standard input, and nobody can be asked here",
            )
            .hint("pipe it in: command < FILE")
            .into());
        }
        return ask(question);
    }
    let mut secret = String::new();
    stdin.lock().take(LONGEST).read_to_string(&mut secret)?;
    let line =
        secret.strip_suffix('\n').map_or(secret.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if line.is_empty() {
        return Err(Failure::usage("standard input holds no password")
            .hint("pipe it in: command < FILE")
            .into());
    }
    Ok(line.to_owned())
}

/// Reads a line from the terminal without showing it.
fn read_hidden() -> anyhow::Result<String> {
    let stdin = std::io::stdin().lock();
    let before = tcgetattr(&stdin)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
    let mut secret = String::new();
    let read = stdin.take(LONGEST).read_line(&mut secret);
    tcsetattr(std::io::stdin(), OptionalActions::Now, &before)?;
    read?;
    Ok(secret.trim_end_matches(['\n', '\r']).to_owned())
}
