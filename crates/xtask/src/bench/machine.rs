//! What the figures were measured on: the machine, the versions, and how busy it was beside the benchmark.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// Everything that can be found out.
pub fn look(root: &Path, python: Option<&Path>) -> Value {
    let cpu = line("/proc/cpuinfo", "model name");
    let memory =
        line("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let threads = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    json!({
        "cpu": cpu, "threads": threads, "memoryGiB": memory.map(|kib| (kib / 1024.0 / 1024.0).round()),
        "kernel": said("uname", &["-sr"]), "system": line("/etc/os-release", "PRETTY_NAME"),
        "fileSystem": said("stat", &["-f", "-c", "%T", &std::env::temp_dir().display().to_string()]),
        "load": load(),
        "date": said("date", &["-u", "+%Y-%m-%d %H:%M"]),
        "commit": said("git", &["-C", &root.display().to_string(), "rev-parse", "--short=12", "HEAD"]),
        "rust": said("rustc", &["--version"]),
        "redis": said("redis-server", &["--version"]).and_then(|text| {
            text.split(' ').find_map(|word| word.strip_prefix("v=")).map(str::to_owned)
        }),
        "packages": python.and_then(packages),
    })
}

/// The load average of the last minute.
pub fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// The value of the first line that begins with `name`, without quotes.
fn line(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.trim().trim_start_matches([':', '=']).trim().trim_matches('"').to_owned())
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The versions of what the Python rows run.
fn packages(python: &Path) -> Option<String> {
    let script = "import sys, importlib.metadata as m\n\
                  print('Python', sys.version.split()[0], end='')\n\
                  for name in ('runpod', 'celery', 'taskiq', 'taskiq-redis', 'redis', 'aiohttp'):\n    \
                  print(', ' + name, m.version(name), end='')";
    said(&python.display().to_string(), &["-c", script])
}
