//! Whether a process is held up from outside: stopped by a signal, or frozen with its container. The kernel's files say it.

use std::fs;
use std::path::Path;

/// Whether a process is stopped by a signal.
pub fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| state(&stat) == Some('T'))
}

/// The state in the line of a process: what follows its name, which may hold anything.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether the group of a process is frozen, as `docker pause` does it.
pub fn is_frozen(pid: u32) -> bool {
    if pid == 0 {
        return false;
    }
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let says = |file: &Path, word: &str| fs::read_to_string(file).is_ok_and(|text| text.contains(word));
    groups.lines().any(|line| match place(line) {
        Some(("", group)) => says(&Path::new("/sys/fs/cgroup").join(group).join("cgroup.events"), "frozen 1"),
        Some(("freezer", group)) => {
            says(&Path::new("/sys/fs/cgroup/freezer").join(group).join("freezer.state"), "FROZEN")
        }
        _ => false,
    })
}

/// The controllers and the group of a line of `/proc/PID/cgroup`.
fn place(line: &str) -> Option<(&str, &str)> {
    let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
    Some((controllers, group.trim_start_matches('/')))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        assert_eq!(state("12 (a) b) T 1 12"), Some('T'));
        assert_eq!(state(""), None);
        assert_eq!(place("0::/docker/abc"), Some(("", "docker/abc")));
        assert_eq!(place("7:freezer:/docker/abc"), Some(("freezer", "docker/abc")));
        assert_eq!(place("nonsense"), None);
    }

    #[test]
    fn a_stopped_process_is_seen_and_one_that_goes_on_is_not() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
        assert!(!is_stopped(child.id()));
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::UNTRACED).unwrap();
        assert!(is_stopped(child.id()));
        assert!(!is_frozen(child.id()) && !is_frozen(0));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_stopped(child.id()));
    }
}
