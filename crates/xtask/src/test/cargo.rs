//! The crates' tests: through cargo-nextest, which runs each test in a process of its own, else through
//! `cargo test`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::junit;
use super::report::{Report, skip_reason};

/// What this part of the tests is called.
const NAME: &str = "crates";

/// Where cargo builds.
pub fn target_folder(root: &Path) -> anyhow::Result<PathBuf> {
    let output = cargo(root).args(["metadata", "--no-deps", "--format-version", "1"]).output();
    let output = output.context("cannot run cargo metadata")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    Ok(PathBuf::from(metadata["target_directory"].as_str().context("cargo has a target folder")?))
}

/// Builds the product as the suites use it, once.
pub fn build_binary(root: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    let status =
        cargo(root).args(["build", "--package", "runyard-cli"]).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("runyard does not build");
    }
    // A copy: a build that somebody starts meanwhile must not change what is being tested.
    let folder = target.join("xtask");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let copy = folder.join("runyard");
    let _ = fs::remove_file(&copy);
    fs::copy(target.join("debug/runyard"), &copy).context("cannot copy the binary")?;
    Ok(copy)
}

/// Runs the tests of every crate.
pub fn test(root: &Path, target: &Path, env: &[(&'static str, String)]) -> anyhow::Result<Report> {
    let nextest =
        cargo(root).args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if nextest.is_ok_and(|status| status.success()) {
        with_nextest(root, target, env)
    } else {
        println!("cargo-nextest is not installed, so cargo test runs the crates' tests, slower");
        with_cargo_test(root, env)
    }
}

fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root).stdin(Stdio::null());
    cargo
}

fn with_nextest(root: &Path, target: &Path, env: &[(&'static str, String)]) -> anyhow::Result<Report> {
    let junit = target.join("nextest/default/junit.xml");
    let _ = fs::remove_file(&junit);
    let config = root.join("crates/xtask/nextest.toml");
    let mut run = cargo(root);
    run.args(["nextest", "run", "--workspace", "--no-fail-fast", "--status-level", "slow"]);
    run.arg("--tool-config-file").arg(format!("runyard-xtask:{}", config.display()));
    let status = run.envs(env.iter().cloned()).status().context("cannot run cargo nextest")?;
    // Where nothing could be built there is no report.
    let text = fs::read_to_string(&junit).unwrap_or_default();
    Ok(junit::read(NAME, &text).ended(status.success()))
}

fn with_cargo_test(root: &Path, env: &[(&'static str, String)]) -> anyhow::Result<Report> {
    let mut run = cargo(root);
    run.args(["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast", "--", "--show-output"]);
    let mut child =
        run.envs(env.iter().cloned()).stdout(Stdio::piped()).spawn().context("cannot run cargo test")?;
    let output = child.stdout.take().context("cargo test has a standard output")?;
    let mut reader = Reader::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read what cargo test prints")?;
        if reader.line(&line) {
            println!("{line}");
        }
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    Ok(reader.report.ended(status.success()))
}

/// Reads what `cargo test -- --show-output` prints.
struct Reader {
    report: Report,
    /// Inside the output of tests that passed.
    successes: bool,
    /// Whose output it is.
    test: String,
}

impl Default for Reader {
    fn default() -> Self {
        let report = Report { name: NAME, ..Report::default() };
        Self { report, successes: false, test: String::new() }
    }
}

impl Reader {
    /// Takes a line; whether people want to see it.
    fn line(&mut self, line: &str) -> bool {
        if let Some(rest) = line.strip_prefix("test ").filter(|_| !self.successes) {
            if let Some(name) = rest.strip_suffix(" ... FAILED") {
                self.report.failed.push(name.to_owned());
                return true;
            }
            if rest.ends_with(" ... ok") {
                self.report.passed += 1;
                return false;
            }
        }
        match line {
            "successes:" => self.successes = true,
            "failures:" => self.successes = false,
            _ if line.starts_with("test result: ") => self.successes = false,
            _ if self.successes => self.output(line),
            _ => {}
        }
        !self.successes
    }

    fn output(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            name.clone_into(&mut self.test);
        } else if let Some(why) = skip_reason(line) {
            self.report.passed = self.report.passed.saturating_sub(1);
            self.report.skipped.push((self.test.clone(), why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_test_prints_is_counted() {
        let text = "running 3 tests\ntest a ... ok\ntest b ... ok\ntest c ... FAILED\n\nsuccesses:\n\n\
                    ---- b stdout ----\ntest x ... ok\nSKIPPED: no strace\n\nsuccesses:\n    a\n    b\n\nfailures:\n\n\
                    test result: FAILED. 2 passed; 1 failed";
        let mut reader = Reader::default();
        let shown: Vec<&str> = text.lines().filter(|line| reader.line(line)).collect();
        assert_eq!(reader.report.counts(), "1 passed, 1 failed, 1 skipped");
        assert_eq!(reader.report.skipped, [("b".to_owned(), "no strace".to_owned())]);
        assert!(shown.contains(&"test c ... FAILED") && !shown.contains(&"SKIPPED: no strace"), "{shown:?}");
    }
}
