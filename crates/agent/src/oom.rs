//! Whether the kernel ended a process for want of memory. Best effort: the kernel's log where we may read
//! it, else its counters.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;

/// What the kernel's counters of such kills showed at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kills(u64);

/// Reads the counters: of our control group, or of the whole machine.
pub fn kills() -> Kills {
    let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| {
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
        fs::read_to_string(format!("/sys/fs/cgroup{path}/memory.events")).ok()
    });
    let count = group.as_deref().and_then(|text| counter(text, "oom_kill ")).or_else(|| {
        let text = fs::read_to_string("/proc/vmstat").ok()?;
        counter(&text, "oom_kill ")
    });
    Kills(count.unwrap_or(0))
}

fn counter(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// Whether `pid`, which died of a SIGKILL that was not ours, was ended for want of memory. `before` are the
/// counters at its start.
pub fn killed(pid: u32, before: Kills) -> bool {
    if kills() == before {
        return false;
    }
    log_names(pid).unwrap_or(true)
}

/// Whether the kernel's log names the process; `None` where the log cannot be read.
fn log_names(pid: u32) -> Option<bool> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut log = OpenOptions::new().read(true).custom_flags(flags).open("/dev/kmsg").ok()?;
    let wanted = format!("Killed process {pid} ");
    let mut record = [0; 8192];
    loop {
        match log.read(&mut record) {
            Ok(0) => return Some(false),
            Ok(len) if String::from_utf8_lossy(&record[..len]).contains(&wanted) => return Some(true),
            Ok(_) => {}
            // The record was overwritten while we read: go on with the next.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(false),
            Err(_) => return None,
        }
    }
}
