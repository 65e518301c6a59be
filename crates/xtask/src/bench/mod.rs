//! `cargo xtask bench`: builds the binary and the load program, prepares what the rows need, runs them, and prints
//! the figures as Markdown. The report and every latency that was measured stay in a folder of `target/bench`.
//! `--gate` compares ratios of the same run, never times; `--docs` puts the figures into `docs/benchmarks.md`.

mod figures;
mod gate;
mod machine;
mod seen;
mod table;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::test::{install, python_environment};
use figures::Report;

/// What the Python rows run: the SDK whose wire the project is held to, and the peers.
/// Celery needs `packaging` and does not say so.
const PACKAGES: [&str; 7] =
    ["runpod==1.12.0", "celery", "packaging", "redis", "taskiq", "taskiq-redis", "aiohttp"];

/// Between these lines of `docs/benchmarks.md` stand the figures.
const MARKS: (&str, &str) = ("<!-- figures: cargo xtask bench --docs -->\n", "<!-- end of the figures -->");

/// What was asked for.
#[derive(Debug, Default)]
pub struct Flags {
    quick: bool,
    gate: bool,
    docs: bool,
    only: Vec<String>,
}

impl Flags {
    /// Reads the flags.
    pub fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut flags = Self::default();
        for argument in arguments {
            match argument.as_str() {
                "--quick" => flags.quick = true,
                "--gate" => flags.gate = true,
                "--docs" => flags.docs = true,
                only if only.starts_with("--only=") => flags.only.push(only.to_owned()),
                other => {
                    bail!("`cargo xtask bench` knows --quick, --gate, --docs and --only=ROW, not {other}")
                }
            }
        }
        Ok(flags)
    }
}

/// Runs it.
pub fn run(root: &Path, flags: &Flags) -> anyhow::Result<()> {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--release", "--package", "runyard-cli", "--package", "runyard-bench"]);
    ensure!(build.current_dir(root).status()?.success(), "the release build failed");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let python = prepare(&target);
    let machine = machine::look(root, python.as_deref());
    let kept = target.join("bench").join(machine["date"].as_str().unwrap_or("run").replace([' ', ':'], "-"));
    let began = Instant::now();
    let mut report = measure(&target, &kept, python.as_deref(), flags)?;
    report["machine"] = machine;
    report["minutes"] = json!(began.elapsed().as_secs_f64() / 60.0);
    report["loadAfter"] = json!(machine::load());
    std::fs::write(kept.join("report.json"), serde_json::to_string_pretty(&report)?)?;
    let text = table::render(Report(&report));
    std::fs::write(kept.join("table.md"), &text)?;
    println!("{text}\nthe report, and every latency that was measured: {}", kept.display());
    if flags.docs {
        write_docs(&root.join("docs/benchmarks.md"), &text)?;
    }
    if flags.gate { gate::check(Report(&report)) } else { Ok(()) }
}

/// The peers, as far as they can be had: a row whose peer is missing says so in the table.
fn prepare(target: &Path) -> Option<PathBuf> {
    if Command::new("redis-server").arg("--version").output().is_err()
        && let Err(error) = install(&["redis-server"])
    {
        println!("the rows beside Redis will be left out: {error:#}");
    }
    python_environment(target, "bench-python", &PACKAGES)
        .inspect_err(|error| println!("the rows in Python will be left out: {error:#}"))
        .ok()
}

fn measure(target: &Path, kept: &Path, python: Option<&Path>, flags: &Flags) -> anyhow::Result<Value> {
    let mut load = Command::new(target.join("release/runyard-bench"));
    load.arg("run").arg(format!("--out={}", kept.join("samples").display()));
    load.args(&flags.only).stderr(Stdio::inherit());
    if let Some(python) = python {
        load.arg(format!("--python={}", python.display()));
    }
    if flags.quick {
        load.arg("--quick");
    }
    let output = load.output().context("the load program did not start")?;
    ensure!(output.status.success(), "the load program failed");
    serde_json::from_slice(&output.stdout).context("the load program's report")
}

fn write_docs(file: &Path, text: &str) -> anyhow::Result<()> {
    let page = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let page = between(&page, text).with_context(|| format!("{} lost its marks", file.display()))?;
    std::fs::write(file, page).with_context(|| format!("cannot write {}", file.display()))
}

/// The page with the figures between its marks.
fn between(page: &str, figures: &str) -> Option<String> {
    let (before, rest) = page.split_once(MARKS.0)?;
    let (_, after) = rest.split_once(MARKS.1)?;
    Some(format!("{before}{}\n{figures}\n{}{after}", MARKS.0, MARKS.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_replace_figures() {
        let page = format!("a\n{}old\n{}\nb\n", MARKS.0, MARKS.1);
        let once = between(&page, "new").expect("the marks are there");
        assert_eq!(once, format!("a\n{}\nnew\n{}\nb\n", MARKS.0, MARKS.1));
        assert_eq!(between(&once, "new"), Some(once));
        assert_eq!(between("a page without marks", "new"), None);
    }
}
