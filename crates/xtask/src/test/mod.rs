//! `cargo xtask test`: prepares the machine, builds the binary, runs the crates' tests and then the end-to-end
//! suites, and counts. A test that cannot run prints `SKIPPED: why`; such a skip fails the run unless it is
//! allowed, or nothing that could be installed would help, so that no requirement goes missing unseen.

mod cargo;
mod junit;
mod machine;
mod python;
mod report;
mod suites;

use std::path::Path;

use anyhow::bail;

pub use machine::install;
pub use python::environment as python_environment;
use report::Report;

/// How a skip begins that no installation helps against: what is needed is there and cannot run on this machine.
const NOT_HERE: &str = "not on this machine: ";

/// What the caller wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// The crates' own tests alone.
    fast: bool,
    /// Skips are no failures.
    allow_skips: bool,
}

impl Flags {
    /// Reads the command line.
    pub fn parse(flags: &[String]) -> anyhow::Result<Self> {
        let mut parsed = Self::default();
        for flag in flags {
            match flag.as_str() {
                "--fast" => parsed = Self { fast: true, allow_skips: true },
                "--allow-skips" => parsed.allow_skips = true,
                other => bail!("`cargo xtask test` knows --fast and --allow-skips, not {other}"),
            }
        }
        Ok(parsed)
    }
}

/// Runs every test; an error where one failed, or was skipped and may not be.
pub fn run(root: &Path, flags: Flags) -> anyhow::Result<()> {
    machine::is_linux()?;
    let mut env = vec![("RUNYARD_REQUIRE_ALL", if flags.allow_skips { "0" } else { "1" }.to_owned())];
    let target = cargo::target_folder(root)?;
    let mut python = None;
    if !flags.fast {
        machine::prepare(flags.allow_skips)?;
        let found = python::prepare(&target)?;
        env.push(("RUNYARD_TEST_PYTHON", found.display().to_string()));
        python = Some(found);
    }
    let binary = cargo::build_binary(root, &target)?;
    env.push(("RUNYARD_BIN", binary.display().to_string()));

    let mut reports = vec![cargo::test(root, &target, &env)?];
    match &python {
        Some(python) if suites::are_there(root) => reports.push(suites::run(root, &target, python, &env)?),
        Some(_) => println!("tests/ holds no end-to-end suite"),
        None => println!("the end-to-end suites of tests/ are left out by --fast"),
    }
    let whole = Report::sum(&reports);
    for report in &reports {
        println!("{:<12} {}", report.name, report.counts());
    }
    for (test, why) in &whole.skipped {
        println!("SKIPPED {test}: {why}");
    }
    for test in &whole.failed {
        println!("FAILED {test}");
    }
    println!("{}", whole.counts());
    if let Some(broken) = reports.iter().find_map(|report| report.broken.as_deref()) {
        bail!("{broken}");
    }
    if !whole.failed.is_empty() {
        bail!("{} failed", count(whole.failed.len(), "test"));
    }
    let installable = whole.skipped.iter().filter(|(_, why)| !why.starts_with(NOT_HERE)).count();
    if installable > 0 && !flags.allow_skips {
        bail!(
            "{} skipped: install what they need, or allow it with --allow-skips",
            count(installable, "test")
        );
    }
    Ok(())
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_allows_skips() {
        let parsed = Flags::parse(&["--fast".to_owned()]).expect("a known flag");
        assert_eq!(parsed, Flags { fast: true, allow_skips: true });
        assert!(Flags::parse(&["--slow".to_owned()]).is_err());
    }
}
