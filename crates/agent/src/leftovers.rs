//! Finds processes by the mark in their environment and ends them: what a worker left behind (heartbeat
//! children, daemons with sessions of their own), and the workers of an agent that was killed.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use runyard_domain::WorkerId;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The variable that marks every process of a worker: `<incarnation>:<name of the data directory>`.
pub const MARK: &str = "RUNYARD_INCARNATION";

/// How often the process list is gone through: a process may fork while it is read.
const ROUNDS: u32 = 50;

/// The mark of one incarnation.
pub fn mark(worker: &WorkerId, data_name: &str) -> String {
    format!("{worker}:{data_name}")
}

/// Which processes are meant.
#[derive(Debug, Clone)]
pub enum Which {
    /// All of one worker: its mark, or the session that its main process leads.
    Worker {
        /// Its mark.
        mark: String,
        /// Its main process.
        pid: u32,
    },
    /// All of the session that a process leads, or led.
    Session {
        /// That process.
        pid: u32,
    },
    /// All with one mark.
    Marked {
        /// The mark.
        mark: String,
    },
    /// All of a user that is nobody's but ours.
    User {
        /// Its number.
        uid: u32,
    },
    /// All workers of one data directory.
    Everyone {
        /// The directory's name in marks.
        data_name: String,
    },
}

impl Which {
    fn matches(&self, process: &Path) -> bool {
        if let Self::User { uid } = self {
            return user(process) == Some(*uid);
        }
        if let Self::Session { .. } = self {
            return self.leads(process);
        }
        let Ok(environ) = fs::read(process.join("environ")) else { return self.leads(process) };
        let found = environ
            .split(|byte| *byte == 0)
            .filter_map(|entry| entry.strip_prefix(MARK.as_bytes())?.strip_prefix(b"="))
            .any(|value| match self {
                Self::Worker { mark, .. } | Self::Marked { mark } => value == mark.as_bytes(),
                Self::User { .. } | Self::Session { .. } => false,
                Self::Everyone { data_name } => {
                    value.rsplit(|b| *b == b':').next() == Some(data_name.as_bytes())
                }
            });
        found || self.leads(process)
    }

    /// Whether the main process leads the session of `process`.
    fn leads(&self, process: &Path) -> bool {
        let (Self::Worker { pid, .. } | Self::Session { pid }) = self else { return false };
        stat(process).is_some_and(|stat| stat.session == *pid && !stat.dead)
    }
}

/// The user of a process that lives. The owner of its folder does not tell: it is root where the process says so.
fn user(process: &Path) -> Option<u32> {
    let text = fs::read_to_string(process.join("status")).ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    let lives = !matches!(field("State:")?, "Z" | "X");
    lives.then_some(field("Uid:")?.parse().ok()?)
}

struct Stat {
    session: u32,
    dead: bool,
}

/// The mark of a process, and the leader of its session.
pub fn mark_of(process: &Path) -> (Option<String>, Option<u32>) {
    let environ = fs::read(process.join("environ")).unwrap_or_default();
    let mut entries = environ.split(|byte| *byte == 0);
    let mark = entries.find_map(|entry| entry.strip_prefix(MARK.as_bytes())?.strip_prefix(b"="));
    let mark = mark.map(|mark| String::from_utf8_lossy(mark).into_owned());
    (mark, stat(process).map(|stat| stat.session))
}

fn stat(process: &Path) -> Option<Stat> {
    let text = fs::read_to_string(process.join("stat")).ok()?;
    // The name in parentheses may hold anything, also parentheses.
    let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_whitespace().collect();
    Some(Stat { session: fields.get(3)?.parse().ok()?, dead: matches!(*fields.first()?, "Z" | "X") })
}

/// Ends every process that is meant, until none is left; answers how many there were. Reads `/proc` and
/// sleeps between rounds, so it belongs on a thread that may block.
pub fn end(which: &Which) -> usize {
    let own = std::process::id();
    let mut ended = 0;
    for round in 0..ROUNDS {
        let Ok(entries) = fs::read_dir("/proc") else { return ended };
        let mut found = 0;
        for entry in entries.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let path = entry.path();
            if pid.unsigned_abs() == own || !which.matches(&path) {
                continue;
            }
            // Hold the process, look again, then kill: its number cannot come to mean another meanwhile.
            let Some(Ok(held)) = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
                continue;
            };
            if which.matches(&path) && pidfd_send_signal(&held, Signal::KILL).is_ok() {
                found += 1;
            }
        }
        if round == 0 {
            ended = found;
        }
        if found == 0 {
            return ended;
        }
        sleep(Duration::from_millis(u64::from(round + 1).min(20)));
    }
    ended
}
