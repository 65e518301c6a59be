//! What is measured by files: of this process, of the disk, of the database and of the logs. And the GPUs, whose driver
//! takes its time, too.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use runyard_domain::EndpointId;
use runyard_metrics::{Key, Subject};
use runyard_runtime::Paths;
use runyard_runtime::gpu::Gpus;

use super::Levels;

/// The kernel's ticks are a hundredth of a second wherever programs see them.
const TICKS_PER_SECOND: f64 = 100.0;

/// How deep below an endpoint's folder logs may lie.
const DEEPEST: u32 = 3;

pub(super) struct Machine {
    paths: Paths,
    pub(super) gpus: Gpus,
    /// Ticks of processors that this process had used, and when that was read.
    ticks: Option<(u64, Instant)>,
    /// What each endpoint's logs take.
    logs: BTreeMap<EndpointId, u64>,
}

impl Machine {
    pub(super) fn new(paths: Paths, gpus: Gpus) -> Self {
        Self { paths, gpus, ticks: None, logs: BTreeMap::new() }
    }

    /// Counts what the logs of these endpoints take.
    pub(super) fn look_at_logs(&mut self, endpoints: &[EndpointId]) {
        let logs = self.paths.logs();
        let sizes = endpoints.iter().map(|id| (id.clone(), size_of(&logs.join(id.as_str()), DEEPEST)));
        self.logs = sizes.collect();
    }

    /// What is to be said of the server and of logs.
    pub(super) fn levels(&mut self) -> Levels {
        let mut levels = Levels::default();
        for (endpoint, bytes) in &self.logs {
            levels.put(&Subject::Endpoint(endpoint.clone()), Key::LogBytes, *bytes as f64);
        }
        let database = size_of(&self.paths.db(), 1) as f64;
        for (key, value) in [
            (Key::ServerCpu, self.cores()),
            (Key::ServerMemory, memory()),
            (Key::ServerFiles, open_files()),
            (Key::DatabaseBytes, Some(database)),
            (Key::DiskFree, free(&self.paths.data)),
        ] {
            if let Some(value) = value {
                levels.put(&Subject::Server, key, value);
            }
        }
        levels
    }

    /// Processors in use since this was asked last.
    fn cores(&mut self) -> Option<f64> {
        let (ticks, now) = (ticks(&fs::read_to_string("/proc/self/stat").ok()?)?, Instant::now());
        let (before, when) = self.ticks.replace((ticks, now))?;
        let seconds = now.duration_since(when).as_secs_f64();
        (seconds > 0.0).then(|| ticks.saturating_sub(before) as f64 / TICKS_PER_SECOND / seconds)
    }
}

/// Ticks that a process has used, from the kernel's line about it.
fn ticks(stat: &str) -> Option<u64> {
    // The name in parentheses may hold anything, also parentheses.
    let rest = stat.get(stat.rfind(')')? + 1..)?;
    let mut fields = rest.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn memory() -> Option<f64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some((pages * rustix::param::page_size() as u64) as f64)
}

fn open_files() -> Option<f64> {
    // One of them is this look.
    fs::read_dir("/proc/self/fd").ok().map(|all| all.count().saturating_sub(1) as f64)
}

/// What is free for us on a disk.
fn free(path: &Path) -> Option<f64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some((disk.f_bavail * disk.f_frsize) as f64)
}

/// The bytes of all files below a folder; links are not followed.
fn size_of(folder: &Path, depth: u32) -> u64 {
    let mut sum = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(about) if about.is_dir() && depth > 1 => sum += size_of(&entry.path(), depth - 1),
            Ok(about) if about.is_file() => sum += about.len(),
            _ => {}
        }
    }
    sum
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read() {
        assert_eq!(ticks("7 (a) b) S 1 7 7 0 -1 0 1 2 3 4 100 20 3 1 20 0 2 0 5"), Some(120));
        assert_eq!((ticks(""), ticks("7 (x) S 1")), (None, None));
    }

    #[test]
    fn this_process_is_measured() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().to_owned());
        fs::create_dir_all(paths.logs().join("e/older")).unwrap();
        fs::write(paths.logs().join("e/w.jsonl"), "12345").unwrap();
        fs::write(paths.logs().join("e/older/w.gz"), "123").unwrap();
        let mut machine = Machine::new(paths, Gpus::find(0, &[]));
        let endpoint = EndpointId::new("e");
        machine.look_at_logs(std::slice::from_ref(&endpoint));
        let levels = machine.levels();
        let level = |subject: &Subject, key: Key| levels.by_subject()[subject].get(&key).copied();
        assert_eq!(level(&Subject::Endpoint(endpoint), Key::LogBytes), Some(8.0));
        for key in [Key::ServerMemory, Key::ServerFiles, Key::DiskFree] {
            assert!(level(&Subject::Server, key).is_some_and(|value| value > 0.0), "{key:?}");
        }
        assert_eq!(level(&Subject::Server, Key::ServerCpu), None, "the first look has none before it");
    }
}
