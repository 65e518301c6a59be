//! What the tests need of the machine: Linux, Python, strace, a container engine, a browser. What is missing is
//! installed where that can be done, else named with the command that does it.

use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// The oldest Python that the SDK and the suites run on.
const PYTHON: (u32, u32) = (3, 10);

/// Fails on other systems.
pub fn is_linux() -> anyhow::Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("runyard runs on Linux, and so do its tests");
    }
    Ok(())
}

/// Installs what is missing. With `optional`, what cannot be installed beyond Python is only told.
pub fn prepare(optional: bool) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    if python_version().is_none() {
        missing.push("python3");
    }
    if !succeeds("python3", &["-c", "import venv, ensurepip"]) {
        missing.push("python3-venv");
    }
    if !succeeds("strace", &["-V"]) {
        missing.push("strace");
    }
    if !succeeds("dockerd", &["--version"]) {
        missing.push("docker.io");
    }
    if !succeeds("docker-registry", &["--version"]) {
        missing.push("docker-registry");
    }
    if !succeeds("pebble", &["-h"]) {
        missing.push("pebble");
    }
    if !succeeds("chromium", &["--version"]) {
        missing.push("chromium");
    }
    if !succeeds("npm", &["--version"]) {
        missing.push("npm");
    }
    if !succeeds("ip", &["-V"]) {
        missing.push("iproute2");
    }
    if !missing.is_empty()
        && let Err(error) = install(&missing)
    {
        if !optional || missing.iter().any(|package| package.starts_with("python3")) {
            return Err(error);
        }
        println!("{error:#}");
    }
    match python_version() {
        Some(version) if version >= PYTHON => Ok(()),
        Some((major, minor)) => {
            bail!("python3 is {major}.{minor}; the tests need {}.{} or newer", PYTHON.0, PYTHON.1)
        }
        None => bail!("python3 does not run"),
    }
}

fn python_version() -> Option<(u32, u32)> {
    let script = "import sys; print(*sys.version_info[:2])";
    let output = Command::new("python3").args(["-c", script]).output().ok().filter(|o| o.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Installs packages of Debian; where that cannot be done, the error says how to.
pub fn install(packages: &[&str]) -> anyhow::Result<()> {
    let wanted = packages.join(" ");
    let by_hand = format!("{wanted} is needed. Debian and Ubuntu: sudo apt-get install {wanted}");
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if !root {
        bail!("{by_hand}");
    }
    if !succeeds("apt-get", &["--version"]) {
        bail!("{by_hand}; here is no apt-get, so use what this system installs with");
    }
    println!("installing {wanted}");
    apt(&["update"], &by_hand)?;
    apt(&[&["install", "--yes", "--no-install-recommends"], packages].concat(), &by_hand)
}

fn apt(arguments: &[&str], by_hand: &str) -> anyhow::Result<()> {
    let mut command = Command::new("apt-get");
    command.arg("--quiet").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    let status = command.status().context("cannot run apt-get")?;
    if !status.success() {
        bail!("apt-get {} failed ({status}); {by_hand}", arguments[0]);
    }
    Ok(())
}
