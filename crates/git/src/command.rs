//! One run of the system's `git`: alone with what it needs, bounded in time and size, and ended with everything that
//! it started.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval_at};

use crate::GitError;

/// Variables of the server that `git` may see: where programs are, the way through a proxy, certificates.
const PASSED: [&str; 11] = [
    "PATH",
    "LANG",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Settings that hold for every run, whatever a repository or the machine says.
const SETTINGS: [(&str, &str); 12] = [
    // A folder that holds none: repositories bring no programs of their own.
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.askPass", ""),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("credential.helper", ""),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("http.followRedirects", "false"),
    ("submodule.recurse", "false"),
    ("fetch.fsckObjects", "true"),
    ("advice.detachedHead", "false"),
];

/// How often the size is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// The most that is kept of what `git` says about itself.
const WORDS: usize = 16 << 10;

/// What a run may take.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Its time.
    pub time: Duration,
    /// Bytes of its answer.
    pub answer: u64,
    /// A folder that may grow to so many bytes meanwhile.
    pub folder: Option<(PathBuf, u64)>,
}

impl Bounds {
    /// For what answers with a few lines.
    pub fn brief() -> Self {
        Self { time: Duration::from_secs(30), answer: 8 << 20, folder: None }
    }
}

/// A `git` that sees nothing of the server's but what it needs. `home` is a folder of its own.
pub fn git(home: &Path) -> Command {
    program("git", home)
}

/// The same for another program, which may run Git.
pub fn program(name: &str, home: &Path) -> Command {
    let mut command = Command::new(name);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true).process_group(0).current_dir("/");
    for name in PASSED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home)
        .env("TMPDIR", home)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "true")
        .env("GIT_OPTIONAL_LOCKS", "0")
        // Above all not `ext`, which runs a program, and `file`, which reads this machine.
        .env("GIT_ALLOW_PROTOCOL", "http:https:ssh");
    settings(&mut command, SETTINGS.iter().map(|(name, value)| (*name, (*value).to_owned())));
    command
}

/// Adds settings through the environment: arguments can be read by every user of the machine.
pub fn settings<'a>(command: &mut Command, more: impl IntoIterator<Item = (&'a str, String)>) {
    let set =
        |name: &OsStr| command.as_std().get_envs().find(|(known, _)| *known == name).and_then(|(_, v)| v);
    let mut count: usize =
        set(OsStr::new("GIT_CONFIG_COUNT")).and_then(|text| text.to_str()?.parse().ok()).unwrap_or(0);
    for (name, value) in more {
        command.env(format!("GIT_CONFIG_KEY_{count}"), name).env(format!("GIT_CONFIG_VALUE_{count}"), value);
        count += 1;
    }
    command.env("GIT_CONFIG_COUNT", count.to_string());
}

/// Runs it to its end and returns its answer. `what` says in an error what failed.
pub async fn run(mut command: Command, what: &str, bounds: &Bounds) -> Result<Vec<u8>, GitError> {
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            GitError::here(what, &"there is no program 'git'; install it and try again")
        }
        _ => GitError::here(what, &format!("git cannot be started: {error}")),
    })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut group = Group(child.id());
    let read = async {
        let (answer, said) = tokio::join!(all(stdout, bounds.answer + 1), last(stderr));
        let status = child.wait().await;
        (answer, said, status)
    };
    let ended = tokio::select! {
        ended = read => Ok(ended),
        () = tokio::time::sleep(bounds.time) => Err(GitError::Slow { what: what.to_owned(), limit: bounds.time }),
        limit = grown(bounds.folder.as_ref()) => Err(GitError::Large { what: what.to_owned(), limit }),
    };
    let (answer, said, status) = ended?;
    group.0 = None;
    if answer.len() as u64 > bounds.answer {
        return Err(GitError::Large { what: what.to_owned(), limit: bounds.answer });
    }
    match status {
        Ok(status) if status.success() => Ok(answer),
        Ok(status) => Err(failed(what, &said, status)),
        Err(error) => Err(GitError::here(what, &error)),
    }
}

/// A process with all that it started; they end together.
pub(crate) struct Group(pub(crate) Option<u32>);

impl Group {
    /// That of a child that leads one.
    pub(crate) fn of(child: &Child) -> Self {
        Self(child.id())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Everything up to `most` bytes; what is more is not read, so that the writer ends.
async fn all(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let _ = pipe.take(most).read_to_end(&mut bytes).await;
    }
    bytes
}

/// The end of what is said; everything is read.
pub(crate) async fn last(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let (mut kept, mut piece) = (Vec::new(), vec![0; 4096]);
    while let Ok(read @ 1..) = pipe.read(&mut piece).await {
        kept.extend_from_slice(&piece[..read]);
        if kept.len() > 2 * WORDS {
            kept.drain(..kept.len() - WORDS);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Resolves when the folder is larger than it may be.
async fn grown(folder: Option<&(PathBuf, u64)>) -> u64 {
    let Some((path, limit)) = folder else { return std::future::pending().await };
    let mut every = interval_at(Instant::now() + LOOK, LOOK);
    loop {
        every.tick().await;
        let path = path.clone();
        let size = tokio::task::spawn_blocking(move || size(&path)).await.unwrap_or(0);
        if size > *limit {
            return *limit;
        }
    }
}

/// Bytes of the files below a folder. What goes away meanwhile counts nothing.
pub fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => size(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}

fn failed(what: &str, said: &str, status: std::process::ExitStatus) -> GitError {
    const DENIALS: [&str; 7] = [
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "terminal prompts disabled",
        "Permission denied (",
        "returned error: 401",
        "returned error: 403",
    ];
    if said.contains("fsck error") {
        let said = cause(said).unwrap_or_default();
        return GitError::Refused(format!(
            "{what} was refused, since an object of it is no valid one: {said}"
        ));
    }
    let what = what.to_owned();
    let said_so = cause(said).unwrap_or_else(|| status.to_string());
    if DENIALS.iter().any(|words| said.contains(words)) {
        return GitError::Denied { what, said: said_so };
    }
    GitError::Failed { what, said: said_so }
}

/// The lines that say what went wrong, without control characters.
fn cause(said: &str) -> Option<String> {
    let lines: Vec<String> = said
        .split(['\n', '\r'])
        .map(|line| line.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    let telling =
        |line: &&String| ["fatal:", "error:", "remote:", "ssh:"].iter().any(|s| line.starts_with(s));
    let mut chosen: Vec<&str> = lines.iter().filter(telling).map(String::as_str).collect();
    if chosen.is_empty() {
        chosen.extend(lines.last().map(String::as_str));
    }
    chosen.truncate(3);
    let text = chosen.join("; ");
    (!text.is_empty()).then(|| text.chars().take(600).collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command
    }

    #[tokio::test]
    async fn time_and_size_have_an_end() {
        let slow = Bounds { time: Duration::from_millis(100), ..Bounds::brief() };
        let error = run(shell("sleep 60"), "Waiting", &slow).await.unwrap_err();
        assert!(matches!(error, GitError::Slow { .. }), "{error}");
        let large = Bounds { answer: 10, ..Bounds::brief() };
        let error = run(shell("yes"), "Talking", &large).await.unwrap_err();
        assert!(matches!(error, GitError::Large { .. }), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let folder = Some((dir.path().to_owned(), 1000));
        let script = format!("head -c 100000 /dev/zero > {}/x; sleep 60", dir.path().display());
        let error = run(shell(&script), "Writing", &Bounds { folder, ..Bounds::brief() }).await.unwrap_err();
        assert!(matches!(error, GitError::Large { limit: 1000, .. }), "{error}");
    }

    #[tokio::test]
    async fn errors_say_what_git_said() {
        let script = "echo noise >&2; printf 'fatal: no \\033[31msuch\\n' >&2; exit 128";
        let error = run(shell(script), "Asking", &Bounds::brief()).await.unwrap_err();
        assert_eq!(error.to_string(), "Asking failed: fatal: no [31msuch");
        let script = "echo 'fatal: Authentication failed for x' >&2; exit 128";
        let error = run(shell(script), "Asking", &Bounds::brief()).await.unwrap_err();
        assert!(matches!(error, GitError::Denied { .. }) && error.to_string().contains("--token"), "{error}");
        let script =
            "echo 'error: object a: gitmodulesUrl: x' >&2; echo 'fatal: fsck error in y' >&2; exit 128";
        let error = run(shell(script), "Asking", &Bounds::brief()).await.unwrap_err();
        assert!(!error.may_pass() && error.to_string().contains("gitmodulesUrl"), "{error}");
    }

    #[tokio::test]
    async fn nothing_of_the_servers_environment_comes_along() {
        let dir = tempfile::tempdir().unwrap();
        let command = git(dir.path());
        let names: Vec<_> = command.as_std().get_envs().filter_map(|(name, _)| name.to_str()).collect();
        assert!(!names.iter().any(|name| name.starts_with("CARGO")), "{names:?}");
        let mut command = git(dir.path());
        settings(&mut command, [("user.name", "Ann".to_owned())]);
        command.args(["config", "--list"]);
        let told = String::from_utf8(run(command, "Asking", &Bounds::brief()).await.unwrap()).unwrap();
        assert!(told.contains("core.hookspath=/dev/null") && told.contains("user.name=Ann"), "{told}");
    }
}
