//! Running an installer: with an environment of its own, its lines shown as they come, its last ones kept for
//! the error. Where there is a room for it, it is held there.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::EnvironmentError;
use super::confine::Room;

/// How many lines an error carries.
const LAST_LINES: usize = 40;

/// The longest line that is passed on whole.
const LONGEST_LINE: usize = 8 * 1024;

/// Variables that installers may see. All others of the server's, its secrets among them, are none of the
/// business of the `setup.py` that they run.
const PASSED: [&str; 26] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "NETRC",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "CC",
    "CXX",
    "CUDA_HOME",
    "PYENV_ROOT",
    "PYENV_VERSION",
];

/// Families of variables that configure the installers.
const PASSED_FAMILIES: [&str; 3] = ["PIP_", "UV_", "SSL_"];

/// Members of those that would put packages elsewhere, or leave out what we need.
const KEPT_BACK: [&str; 16] = [
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_USER",
    "PIP_ROOT",
    "PIP_PYTHON",
    "PIP_NO_COMPILE",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_REPORT",
    "PIP_DRY_RUN",
    "UV_TARGET",
    "UV_PREFIX",
    "UV_PROJECT",
    "UV_WORKING_DIR",
    "UV_PROJECT_ENVIRONMENT",
    "UV_SYSTEM_PYTHON",
    "UV_PYTHON",
];

/// Where the lines go, the last of them, and what holds the commands that say them.
pub struct Talk<'a> {
    on_line: &'a mut (dyn FnMut(&str) + Send),
    last: VecDeque<String>,
    /// From the moment on that an environment is made.
    pub room: Option<Room>,
}

impl<'a> Talk<'a> {
    pub fn new(on_line: &'a mut (dyn FnMut(&str) + Send)) -> Self {
        Self { on_line, last: VecDeque::new(), room: None }
    }

    /// Passes a line on.
    pub fn say(&mut self, line: &str) {
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
        (self.on_line)(line);
    }

    /// An error with what was said before it.
    pub fn error(&self, message: String) -> EnvironmentError {
        EnvironmentError { message, last_lines: self.last.iter().cloned().collect() }
    }
}

/// A command with nothing but the variables that installers may see.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).kill_on_drop(true).current_dir("/");
    for (name, value) in std::env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let family = PASSED_FAMILIES.iter().any(|family| text.starts_with(family));
        if PASSED.contains(&text) || (family && !KEPT_BACK.contains(&text)) {
            command.env(name, value);
        }
    }
    command.env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("PIP_NO_INPUT", "1").env("PYTHONUNBUFFERED", "1");
    command
}

/// Runs a command to its end, its lines told as they come. `what` says in an error what failed.
pub async fn run(mut command: Command, what: &str, talk: &mut Talk<'_>) -> Result<(), EnvironmentError> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    if let Some(room) = &talk.room {
        command = room
            .command(&command)
            .map_err(|error| talk.error(format!("{what} failed: cannot hold {program}: {error}.")))?;
    }
    let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child =
        spawned.map_err(|error| talk.error(format!("{what} failed: cannot start {program}: {error}.")))?;
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let (mut out_lines, mut err_lines) = (Lines::default(), Lines::default());
    let (mut out_piece, mut err_piece) = (vec![0; 4096], vec![0; 4096]);
    while out.is_some() || err.is_some() {
        tokio::select! {
            read = piece(&mut out, &mut out_piece) => {
                out_lines.push(&out_piece[..read], |line| talk.say(line));
                if read == 0 { out = None; }
            }
            read = piece(&mut err, &mut err_piece) => {
                err_lines.push(&err_piece[..read], |line| talk.say(line));
                if read == 0 { err = None; }
            }
        }
    }
    out_lines.end(|line| talk.say(line));
    err_lines.end(|line| talk.say(line));
    match child.wait().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let how = match status.code() {
                Some(code) => format!("exit code {code}"),
                None => status.to_string(),
            };
            let cause =
                talk.last.iter().rev().find(|line| is_cause(line)).map(|line| format!(": {}", line.trim()));
            Err(talk.error(format!("{what} failed with {how}{}", cause.unwrap_or_else(|| ".".to_owned()))))
        }
        Err(error) => Err(talk.error(format!("{what} failed: waiting for {program}: {error}."))),
    }
}

/// Whether a line of uv's or pip's is the one that says what went wrong.
fn is_cause(line: &str) -> bool {
    ["error:", "ERROR:", "×", "  × "].iter().any(|mark| line.trim_start().starts_with(mark))
}

/// Reads a piece; 0 at the end, and never for a pipe that has ended before.
async fn piece(pipe: &mut Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> usize {
    match pipe {
        Some(pipe) => pipe.read(buffer).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

/// Cuts a stream into lines, also at the carriage returns of progress bars, without colours.
#[derive(Default)]
struct Lines {
    open: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        for byte in bytes {
            if matches!(byte, b'\n' | b'\r') {
                self.end(&mut line);
            } else if self.open.len() < LONGEST_LINE {
                self.open.push(*byte);
            }
        }
    }

    fn end(&mut self, mut line: impl FnMut(&str)) {
        let text = plain(&String::from_utf8_lossy(&self.open));
        self.open.clear();
        if !text.trim().is_empty() {
            line(text.trim_end());
        }
    }
}

/// A text without terminal escapes and control characters.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        if next == '\u{1b}' {
            if rest.next_if_eq(&'[').is_some() {
                while rest.next().is_some_and(|part| !('@'..='~').contains(&part)) {}
            } else {
                rest.next();
            }
        } else if next == '\t' || !next.is_control() {
            plain.push(next);
        }
    }
    plain
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_from_both_pipes_and_errors_keep_them() {
        let mut seen = Vec::new();
        let mut keep = |line: &str| seen.push(line.to_owned());
        let mut talk = Talk::new(&mut keep);
        let mut shell = command("/bin/sh");
        shell.args([
            "-c",
            "echo one; printf '10%%\\r20%%\\n'; printf '\\033[31merror: bad\\033[0m' >&2; exit 3",
        ]);
        let error = run(shell, "Trying", &mut talk).await.unwrap_err();
        assert_eq!(error.message, "Trying failed with exit code 3: error: bad");
        assert_eq!(error.last_lines.len(), 4);
        seen.sort();
        assert_eq!(seen, ["10%", "20%", "error: bad", "one"]);
    }

    #[tokio::test]
    async fn installers_see_little() {
        let mut lines = String::new();
        let mut keep = |line: &str| lines.push_str(line);
        let mut shell = command("/usr/bin/env");
        shell.env_remove("PATH");
        run(shell, "Asking", &mut Talk::new(&mut keep)).await.unwrap();
        assert!(!lines.contains("CARGO") && !lines.contains("PYTHONDONTWRITEBYTECODE"), "{lines}");
        let missing = run(command("/no/such"), "Asking", &mut Talk::new(&mut |_| ())).await.unwrap_err();
        assert!(missing.message.contains("cannot start /no/such"));
    }
}
