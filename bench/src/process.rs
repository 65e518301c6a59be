//! What processes use, read from `/proc`: memory and processor time.

use std::net::TcpListener;

use anyhow::Context as _;

/// Clock ticks a second in `/proc`: fixed on Linux.
const TICKS: f64 = 100.0;

/// What a process uses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Resident memory, in MiB.
    pub resident_mib: f64,
    /// Processor time so far, in seconds, of user and system together.
    pub cpu_s: f64,
}

impl Usage {
    /// Of this process; nothing where it is not there.
    pub fn of(pid: u32) -> Self {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let status = read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        let stat = read("stat");
        // The name stands in parentheses and may hold anything; what follows has fixed places.
        let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = |at: usize| after.split_whitespace().nth(at).and_then(|n| n.parse::<f64>().ok());
        Self {
            resident_mib: kib.unwrap_or(0.0) / 1024.0,
            cpu_s: (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / TICKS,
        }
    }

    /// Of this program.
    pub fn own() -> Self {
        Self::of(std::process::id())
    }
}

/// The processes whose command line holds every one of `words`.
pub fn find(words: &[&str]) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
        words.iter().all(|word| line.contains(word))
    })
    .collect()
}

/// A port of loopback that nobody listens on.
pub fn free_port() -> anyhow::Result<u16> {
    let probe = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(probe.local_addr()?.port())
}
