//! Checks of the machine: its clock, the programs that deploys need, GPUs and their driver, the container engine and
//! what lies about in it.

use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::check::{Check, size};
use crate::config::count_gpus;
use crate::operator::Options;

/// How long a program may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(10);
/// A clock that is off by more is worth a warning, in milliseconds.
const JUMP: i64 = 2_000;
/// Less memory than this is worth a warning, in bytes.
const LOW_MEMORY: u64 = 512 << 20;

/// All of them.
pub(super) async fn checks(options: &Options) -> Vec<Check> {
    let (python, uv, git) = tokio::join!(python(), uv(options), git());
    let mut checks = vec![clock(options).await, memory(), python, uv, git, gpus(options)];
    checks.extend(engine(options).await);
    checks
}

async fn clock(options: &Options) -> Check {
    let env = options.engine.env();
    let off = env.wall().0 - env.now().0;
    if off.abs() > JUMP {
        return Check::warn(
            "clock",
            format!("the machine's clock jumped by {} s since the server started", off / 1_000),
            "the server goes on by its own count: its times differ from others' until it starts again",
            "run a time service (chrony, systemd-timesyncd), and start the server again",
        );
    }
    let asked = run("timedatectl", &["show", "--property=NTPSynchronized", "--value"]).await;
    match asked.as_deref() {
        Some("no") => Check::warn(
            "clock",
            "no time service keeps it right",
            "times of jobs drift, and certificates are judged by a wrong date",
            "run a time service (chrony, systemd-timesyncd)",
        ),
        Some("yes") => Check::ok("clock", "kept right by a time service"),
        _ => Check::ok("clock", "it has not jumped"),
    }
}

fn memory() -> Check {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let Some(kib) = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()) else {
        return Check::ok("memory", "unknown");
    };
    let found = format!("{} available", size(kib << 10));
    if kib << 10 < LOW_MEMORY {
        let meaning = "workers are killed by the kernel when it is used up";
        return Check::warn("memory", found, meaning, "fewer workers at once (--max), or smaller models");
    }
    Check::ok("memory", found)
}

async fn python() -> Check {
    let ask = ["-c", "import sys, venv, ensurepip; print('%d.%d.%d' % sys.version_info[:3])"];
    let advice =
        "install Python 3.10 or newer with its venv module (Debian: apt install python3 python3-venv)";
    match run("python3", &ask).await {
        Some(version) if is_old(&version) => {
            Check::fail("python3", version, "handlers need 3.10 or newer", advice)
        }
        Some(version) => Check::ok("python3", version),
        None => Check::fail(
            "python3",
            "not found, or without venv or ensurepip",
            "folders cannot be deployed; ready images can",
            advice,
        ),
    }
}

/// Older than 3.10.
fn is_old(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next(), parts.next()) < (Some(3), Some(10))
}

async fn uv(options: &Options) -> Check {
    if let Some(version) = run("uv", &["--version"]).await {
        return Check::ok("uv", version);
    }
    let own = options.paths.tools();
    let there = std::fs::read_dir(own).into_iter().flatten().flatten();
    let is_uv = |name: &str| name.starts_with("uv") && name != "uv-cache";
    if there.into_iter().any(|entry| entry.file_name().to_str().is_some_and(is_uv)) {
        return Check::ok("uv", "the server's own");
    }
    Check::ok("uv", "none yet; the first deploy installs it, or uses pip")
}

async fn git() -> Check {
    match run("git", &["--version"]).await {
        Some(version) => Check::ok("git", version),
        None => Check::warn(
            "git",
            "not found",
            "endpoints cannot follow repositories, and nothing can be pushed here",
            "apt install git",
        ),
    }
}

fn gpus(options: &Options) -> Check {
    let (real, said) = (count_gpus(), options.config.said_gpus());
    let driver = options.config.driver();
    match (real, said) {
        (0, None | Some(0)) => Check::ok("gpu", "none; workers run on the CPU"),
        (0, Some(n)) => Check::warn(
            "gpu",
            format!("{n} are configured and the machine shows none"),
            "these are made up, for trying things out: workers find no GPU",
            "leave 'gpus' out of server.toml, or install the NVIDIA driver",
        ),
        (n, Some(said)) if said > n => Check::fail(
            "gpu",
            format!("{said} are configured and the machine has {n}"),
            "some workers are given a GPU that is not there",
            "leave 'gpus' out of server.toml: they are counted",
        ),
        (n, _) if driver.is_none() => Check::warn(
            "gpu",
            format!("{n}, and no driver tells its version"),
            "images that need a newer driver are found out only when they fail",
            "load the NVIDIA kernel module, or set cuda_version in server.toml",
        ),
        _ => {
            let cuda = driver.map(|driver| format!(", CUDA {}.{}", driver.cuda.0, driver.cuda.1));
            let there = runyard_domain::gpu::describe(&options.config.machine());
            Check::ok("gpu", format!("{there}{}", cuda.unwrap_or_default()))
        }
    }
}

#[cfg(feature = "docker")]
async fn engine(options: &Options) -> Vec<Check> {
    use runyard_runtime::docker::{Engine, Labels, find};

    let Some(address) = find(options.config.docker_host.as_deref()) else {
        return vec![Check::ok("engine", "none; endpoints that are images cannot run here")];
    };
    let engine = match timeout(PATIENCE, Engine::connect(&address)).await {
        Ok(Ok(engine)) => engine,
        Ok(Err(fault)) => return vec![no_engine(&address, &fault.sentence())],
        Err(_) => return vec![no_engine(&address, "no answer")],
    };
    let about = engine.about();
    let kind = if about.podman { "Podman" } else { "Docker" };
    let mut checks = vec![Check::ok("engine", format!("{kind} {} at {address}", about.version))];
    let data = real(&options.paths.data);
    let labels = Labels { data: runyard_runtime::name_of(&data), path: data.display().to_string() };
    if let (Ok(Ok(there)), Ok(known)) =
        (timeout(PATIENCE, engine.containers(&labels)).await, options.runtime.list().await)
    {
        let is_known = |name: &str| known.iter().any(|worker| name.contains(worker.id.as_str()));
        let lost: Vec<String> = there.into_iter().filter(|name| !is_known(name)).collect();
        checks.push(leftovers(&lost));
    }
    checks
}

#[cfg(feature = "docker")]
fn real(folder: &std::path::Path) -> std::path::PathBuf {
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned())
}

#[cfg(feature = "docker")]
fn no_engine(address: &str, why: &str) -> Check {
    Check::warn(
        "engine",
        format!("{address}: {why}"),
        "endpoints that are images cannot run",
        "start the engine, and let the server's user reach its socket",
    )
}

#[cfg(feature = "docker")]
fn leftovers(names: &[String]) -> Check {
    if names.is_empty() {
        return Check::ok("containers", "none is left behind");
    }
    Check::warn(
        "containers",
        format!("{} that no worker belongs to: {}", names.len(), names.join(", ")),
        "they hold memory, and perhaps a GPU",
        "docker rm -f NAME; the next start of the agent removes them too",
    )
}

#[cfg(not(feature = "docker"))]
#[allow(clippy::unused_async, reason = "the same as with containers")]
async fn engine(_options: &Options) -> Vec<Check> {
    vec![Check::ok("engine", "this runyard was built without containers")]
}

/// What a program says on its standard output; `None` where it is not there or fails.
async fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).kill_on_drop(true).output();
    let output = timeout(PATIENCE, output).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_pythons_are_told_apart() {
        let old = ["3.9.18", "2.7.1", "x"].map(is_old);
        let new = ["3.10.0", "3.11.2", "4.0.0"].map(is_old);
        assert_eq!((old, new), ([true; 3], [false; 3]));
    }
}
