//! Where the binary runs in tests: a home of its own and no variable of ours, so that nothing of the machine's
//! user is read or written.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A home and a working directory that go with the value.
pub struct Sandbox {
    dir: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

/// What a command did.
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Sandbox {
    /// An empty home.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("ry").tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("work")).expect("a folder");
        Self { dir, variables: Vec::new() }
    }

    /// A home in which `RUNYARD_URL` names the server.
    pub fn with(url: &str) -> Self {
        let mut sandbox = Self::new();
        sandbox.set("RUNYARD_URL", url);
        sandbox
    }

    /// Sets a variable for the commands that follow.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// The home.
    pub fn home(&self) -> &Path {
        self.dir.path()
    }

    /// A file below the working directory.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work().join(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        std::fs::write(&path, content).expect("it is written");
        path
    }

    /// The working directory.
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// The command, ready to run.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runyard"));
        command.args(arguments).env_clear().current_dir(self.work()).stdin(Stdio::null());
        command.env("HOME", self.home()).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("TZ", "UTC").envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Done {
        Done::from(self.command(arguments).output().expect("the binary runs"))
    }

    /// Runs it with something on stdin.
    pub fn run_with<S: AsRef<OsStr>>(&self, arguments: &[S], stdin: &str) -> Done {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        // One that fails early reads nothing; that is for the assertions to judge.
        let _ = child.stdin.take().expect("it is piped").write_all(stdin.as_bytes());
        Done::from(child.wait_with_output().expect("it ends"))
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("no signal ended it"),
            out: String::from_utf8(output.stdout).expect("UTF-8 on stdout"),
            err: String::from_utf8(output.stderr).expect("UTF-8 on stderr"),
        }
    }
}

impl Done {
    /// Fails unless the command exited so.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}
