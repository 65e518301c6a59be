//! The Python of the tests and of the benchmarks: environments in the target folder, the tests' with the real SDK
//! and what the end-to-end suites use. Made anew when what it shall hold changes, else kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// What it holds. The SDK is the version whose wire the project is held to.
const PACKAGES: [&str; 6] =
    ["runpod==1.12.0", "pytest", "pytest-xdist", "aiohttp", "requests", "prometheus-client"];

/// The interpreter of the tests' environment; installs what is missing.
pub fn prepare(target: &Path) -> anyhow::Result<PathBuf> {
    environment(target, "test-python", &PACKAGES)
}

/// The interpreter of an environment that holds `packages`, in folder `name` of the target folder; installs what is
/// missing.
pub fn environment(target: &Path, name: &str, packages: &[&str]) -> anyhow::Result<PathBuf> {
    let folder = target.join(name);
    let (python, mark) = (folder.join("bin/python"), folder.join("complete"));
    let wanted = format!("{}\n{}\n", version()?, packages.join("\n"));
    if fs::read_to_string(&mark).is_ok_and(|text| text == wanted) && python.is_file() {
        return Ok(python);
    }
    println!("making the Python environment {name}: {}", packages.join(", "));
    must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    if let Err(error) = install_with_uv(&python, &folder, packages) {
        println!("uv did not do it ({error:#}), so pip does, slower");
        must(pip(&python).arg("install").args(packages))?;
    }
    // Written last: an environment that was given up half-way is made anew.
    fs::write(&mark, wanted).with_context(|| format!("cannot write {}", mark.display()))?;
    Ok(python)
}

fn version() -> anyhow::Result<String> {
    let output =
        Command::new("python3").args(["-c", "import sys; print(sys.executable, sys.version)"]).output();
    let output = output.context("cannot run python3")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().replace('\n', " "))
}

fn install_with_uv(python: &Path, folder: &Path, packages: &[&str]) -> anyhow::Result<()> {
    must(pip(python).args(["install", "uv"]))?;
    let mut uv = Command::new(folder.join("bin/uv"));
    uv.args(["pip", "install", "--quiet", "--python"]).arg(python).args(packages);
    // uv does not read pip's configuration, where people name their index and its certificate.
    let told = |variable: &str| std::env::var_os(variable).is_some();
    if !told("UV_INDEX_URL")
        && !told("UV_DEFAULT_INDEX")
        && let Some(index) = pip_setting(python, "index-url")
    {
        uv.args(["--index-url", &index]);
    }
    if !told("SSL_CERT_FILE")
        && let Some(certificate) = pip_setting(python, "cert")
    {
        uv.env("SSL_CERT_FILE", certificate);
    }
    must(&mut uv)
}

fn pip(python: &Path) -> Command {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]);
    pip
}

/// A setting of pip: its environment before its files.
fn pip_setting(python: &Path, name: &str) -> Option<String> {
    let variable = format!("PIP_{}", name.to_uppercase().replace('-', "_"));
    if let Ok(value) = std::env::var(variable) {
        return Some(value);
    }
    ["install", "global"].iter().find_map(|section| {
        let output = pip(python).args(["config", "get", &format!("{section}.{name}")]).output().ok()?;
        let value = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !value.is_empty()).then_some(value)
    })
}

fn must(command: &mut Command) -> anyhow::Result<()> {
    let name =
        Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot run {name}"))?;
    if !status.success() {
        let first = command.get_args().next().unwrap_or_default().to_string_lossy().into_owned();
        bail!("{name} {first} … failed ({status})");
    }
    Ok(())
}
