//! The end-to-end suites in `tests/`: pytest with the real clients against the real binary.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::junit;
use super::report::Report;

/// What this part of the tests is called.
const NAME: &str = "end to end";

/// Whether there is a `test_*.py` in `tests/`.
pub fn are_there(root: &Path) -> bool {
    holds_suite(&root.join("tests"))
}

fn holds_suite(folder: &Path) -> bool {
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        let suite = path.extension().is_some_and(|e| e == "py")
            && entry.file_name().to_string_lossy().starts_with("test_");
        suite || (path.is_dir() && holds_suite(&path))
    })
}

/// Runs them.
pub fn run(
    root: &Path,
    target: &Path,
    python: &Path,
    env: &[(&'static str, String)],
) -> anyhow::Result<Report> {
    let junit = target.join("xtask/pytest.xml");
    let _ = fs::remove_file(&junit);
    let mut pytest = Command::new(python);
    pytest.args(["-m", "pytest", "tests", "-q", "-rs", "-p", "no:cacheprovider"]);
    // They wait most of the time. Whole files side by side, in the order that `conftest.py` gives.
    pytest.args(["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]);
    pytest.arg(format!("--junitxml={}", junit.display()));
    pytest
        .current_dir(root)
        .stdin(Stdio::null())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(env.iter().cloned());
    let status = pytest.status().context("cannot run pytest")?;
    let text = fs::read_to_string(&junit).unwrap_or_default();
    Ok(junit::read(NAME, &text).ended(status.success()))
}
