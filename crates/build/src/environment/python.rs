//! Which interpreter: `python3`, unless somebody, `.python-version` or `requires-python` asks for another that is
//! there: on the `PATH`, or among those that pyenv or uv keep. Nothing is downloaded.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::{PlanError, requirements};
use crate::read;

/// An interpreter on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Interpreter {
    /// Its real program: not a shim, not one in a virtual environment.
    #[serde(rename = "executable")]
    pub path: PathBuf,
    /// As `3.11.7`.
    pub version: String,
    /// Implementation and platform, as `cpython-linux-x86_64`.
    pub platform: String,
}

/// The most interpreters of one folder that are asked.
const MOST_KEPT: usize = 50;

/// What an interpreter is asked. A shim is not the program, and neither is a virtual environment's link.
const QUESTION: &str = "import json, platform, sys, sysconfig; print(json.dumps({\
    'executable': getattr(sys, '_base_executable', None) or sys.executable, \
    'version': platform.python_version(), \
    'platform': sys.implementation.name + '-' + sysconfig.get_platform()}))";

/// Names on the `PATH`, the preferred one first.
const NAMES: [&str; 9] = [
    "python3",
    "python3.14",
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
    "python3.9",
    "python3.8",
    "python",
];

/// Folders of interpreters that are kept beside each other, below the home folder, with the variables that name them
/// elsewhere, and where each has its program.
const KEPT: [(&str, &str, &str); 2] =
    [("PYENV_ROOT", ".pyenv", "versions"), ("UV_PYTHON_INSTALL_DIR", ".local/share/uv/python", "")];

/// The interpreter for a folder, and for what is `asked`.
pub fn find(code_dir: &Path, asked: Option<&str>) -> Result<Interpreter, PlanError> {
    let (origin, wanted) = match asked {
        Some(asked) => ("build.python", Some(asked.to_owned())),
        None => wanted(code_dir)?,
    };
    let mut found: Vec<String> = Vec::new();
    let on_path = NAMES.iter().map(PathBuf::from);
    // Those that nobody put on the path are looked at only where somebody asks for a version.
    let kept = wanted.iter().flat_map(|_| kept());
    for interpreter in on_path.chain(kept).filter_map(|program| probe(&program)) {
        if wanted.as_ref().is_none_or(|wanted| fits(wanted, &interpreter.version)) {
            return Ok(interpreter);
        }
        if !found.contains(&interpreter.version) {
            found.push(interpreter.version);
        }
    }
    match wanted {
        Some(wanted) if !found.is_empty() => {
            Err(PlanError::NoPython { origin, wanted, found: found.join(", ") })
        }
        _ => Err(PlanError::Probe),
    }
}

/// Programs that pyenv and uv keep, the newest first.
fn kept() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let folders = KEPT.iter().filter_map(|(variable, usual, below)| {
        let named = std::env::var_os(variable).filter(|dir| !dir.is_empty()).map(PathBuf::from);
        Some(named.or_else(|| Some(home.as_ref()?.join(usual)))?.join(below))
    });
    folders.flat_map(|folder| programs(&folder)).collect()
}

/// The programs of interpreters that lie beside each other in a folder, the newest first.
fn programs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.take(MOST_KEPT).map(|entry| entry.path()).collect();
    let version = |folder: &PathBuf| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        numbers(name.trim_start_matches(|c: char| !c.is_ascii_digit()))
    };
    folders.sort_by_key(|folder| std::cmp::Reverse(version(folder)));
    folders.into_iter().map(|folder| folder.join("bin/python3")).filter(|program| program.is_file()).collect()
}

/// What the folder asks for, as a version specifier, and which file asks.
fn wanted(code_dir: &Path) -> Result<(&'static str, Option<String>), PlanError> {
    if let Ok(text) = read::text(&code_dir.join(".python-version")) {
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        let version = line.map(|line| line.trim_start_matches(|c: char| !c.is_ascii_digit()));
        // The patch level is whatever the machine has.
        let minor: Vec<&str> = version.unwrap_or("").split('.').take(2).collect();
        if minor.len() == 2 && minor.iter().all(|part| part.starts_with(|c: char| c.is_ascii_digit())) {
            let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
            let wanted = format!("{}.{}", digits(minor[0]), digits(minor[1]));
            return Ok((".python-version", Some(wanted)));
        }
    }
    Ok(("pyproject.toml", requirements::requires_python(code_dir)?))
}

/// Asks a program; `None` where it is not there or no Python. It runs in `/`, so that a folder's
/// `.python-version` does not change what a shim starts.
fn probe(program: &Path) -> Option<Interpreter> {
    let answer = Command::new(program)
        .args(["-I", "-c", QUESTION])
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    serde_json::from_slice(&answer.stdout).ok()
}

/// Whether a version fits a specifier such as `>=3.10,<3.13`, `~=3.11`, `==3.11.*`, or a bare `3.11`.
pub(crate) fn fits(specifier: &str, version: &str) -> bool {
    let have = numbers(version);
    specifier.split(',').map(str::trim).filter(|part| !part.is_empty()).all(|part| {
        let (operator, wanted) = match part.find(|c: char| c.is_ascii_digit()) {
            Some(at) => (part[..at].trim(), part[at..].trim()),
            None => return true,
        };
        let want = numbers(wanted);
        let prefix = have.iter().zip(&want).all(|(have, want)| have == want) && have.len() >= want.len();
        let mut padded = want.clone();
        padded.resize(have.len().max(want.len()), 0);
        match operator {
            ">=" => have >= padded,
            "<=" => have <= padded,
            ">" => have > padded,
            "<" => have < padded,
            "!=" if wanted.ends_with(".*") => !prefix,
            "!=" => have != padded,
            "~=" => have >= padded && have.starts_with(&want[..want.len().saturating_sub(1)]),
            "==" if !wanted.ends_with(".*") => have == padded,
            _ => prefix,
        }
    })
}

/// The release numbers of a version, without suffixes: `3.13.0rc1` → 3, 13, 0.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split('.')
        .map_while(|part| part.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok())
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn specifiers() {
        for yes in [
            "",
            ">=3.10",
            ">=3.10,<3.13",
            "~=3.11",
            "~=3.11.2",
            "==3.11.*",
            "3.11",
            "==3.11.7",
            "!=3.11.6",
            ">3.11",
            "<4",
            "<=3.11.7",
            "!=3.12.*",
        ] {
            assert!(fits(yes, "3.11.7"), "{yes}");
        }
        for no in
            [">=3.12", "<3.11", "~=3.12", "~=3.10.2", "==3.11", "3.1", "!=3.11.*", "!=3.11.7", "==3.10.*"]
        {
            assert!(!fits(no, "3.11.7"), "{no}");
        }
        assert!(fits(">=3.13", "3.13.0rc1"));
    }

    #[test]
    fn there_is_a_real_interpreter_here() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".python-version"), "cpython-3\n").unwrap();
        let python = find(dir.path(), None).unwrap();
        assert!(python.path.is_absolute() && python.path.exists());
        assert!(!python.path.to_string_lossy().contains("/shims/"), "{python:?}");
    }
}
