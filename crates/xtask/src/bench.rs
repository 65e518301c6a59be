//! `cargo xtask bench`: builds the binary and the load program, runs the loads beside their peers and floors,
//! prints them as a table and keeps the raw figures. `--gate` compares ratios of the same run, never times.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

/// What was asked for.
#[derive(Debug, Default)]
pub struct Flags {
    quick: bool,
    gate: bool,
}

impl Flags {
    /// Reads the flags.
    pub fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut flags = Self::default();
        for argument in arguments {
            match argument.as_str() {
                "--quick" => flags.quick = true,
                "--gate" => flags.gate = true,
                other => bail!("`cargo xtask bench` has no flag {other}; it has --quick and --gate"),
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
    let mut load = Command::new(target.join("release/runyard-bench"));
    load.arg("run").stderr(Stdio::inherit());
    if flags.quick {
        load.arg("--quick");
    }
    let output = load.output().context("the load program did not start")?;
    ensure!(output.status.success(), "the load program failed");
    let report: Value = serde_json::from_slice(&output.stdout).context("the load program's report")?;
    let kept = target.join("bench.json");
    std::fs::write(&kept, serde_json::to_string_pretty(&report)?)?;
    print!("{}", table(&report));
    println!("\nraw figures: {}", kept.display());
    if flags.gate { gate(&report) } else { Ok(()) }
}

fn row<'a>(report: &'a Value, name: &str) -> &'a Value {
    let rows = report["rows"].as_array().map_or(&[][..], Vec::as_slice);
    rows.iter().find(|row| row["row"] == name).unwrap_or(&Value::Null)
}

/// One row a load: operations a second and the median and 99th percentile, for each number of clients.
fn table(report: &Value) -> String {
    let mut out =
        format!("{:<10}{:>9}{:>14}{:>12}{:>12}\n", "row", "clients", "per second", "p50 ms", "p99 ms");
    let line = |row: &str, clients: &str, run: &Value| {
        let ms = |field: &str| run[field].as_f64().unwrap_or(0.0) / 1000.0;
        let rate = run["perSecond"].as_f64().unwrap_or(0.0);
        format!("{row:<10}{clients:>9}{rate:>14.0}{:>12.2}{:>12.2}\n", ms("p50Us"), ms("p99Us"))
    };
    out.push_str(&line("fdatasync", "1", &row(report, "fdatasync")["append4KiB"]));
    for name in ["echo", "store", "submit", "jobs", "redis"] {
        let found = row(report, name);
        if let Some(why) = found["skipped"].as_str() {
            let skipped = format!("{name:<10}skipped: {why}\n");
            out.push_str(&skipped);
        }
        for clients in report["clients"].as_array().map_or(&[][..], Vec::as_slice) {
            let clients = clients.to_string();
            if !found["clients"][&clients].is_null() {
                out.push_str(&line(name, &clients, &found["clients"][&clients]));
            }
        }
    }
    let (start, after) = (row(report, "start"), row(report, "after"));
    let start_line = format!(
        "start     ready after {:.0} ms with {:.0} MiB resident; {:.0} MiB after the loads\n",
        start["readyMs"].as_f64().unwrap_or(0.0),
        start["residentMib"].as_f64().unwrap_or(0.0),
        after["residentMib"].as_f64().unwrap_or(0.0),
    );
    out + &start_line
}

/// The ratios that have to hold within one run.
fn gate(report: &Value) -> anyhow::Result<()> {
    let rate = |name: &str| row(report, name)["clients"]["64"]["perSecond"].as_f64().unwrap_or(0.0);
    let p50 =
        |name: &str, clients: &str| row(report, name)["clients"][clients]["p50Us"].as_f64().unwrap_or(0.0);
    let floor = p50("echo", "1") + row(report, "fdatasync")["append4KiB"]["p50Us"].as_f64().unwrap_or(0.0);
    let ratios = [
        ("whole jobs beside Redis streams, 64 clients", rate("jobs") / rate("redis"), 0.5, true),
        ("submit beside one sync and one echo, p50", p50("submit", "1") / floor, 4.0, false),
    ];
    let mut missed = 0;
    for (what, ratio, limit, at_least) in ratios {
        let holds = if at_least { ratio >= limit } else { ratio <= limit };
        let bound = if at_least { "at least" } else { "at most" };
        println!("{} {what}: {ratio:.2} ({bound} {limit})", if holds { "ok  " } else { "MISS" });
        missed += usize::from(!holds);
    }
    ensure!(missed == 0, "{missed} of the ratios do not hold");
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(jobs: f64) -> Value {
        let clients = |rate: f64, p50: f64| {
            let run = json!({"perSecond": rate, "p50Us": p50, "p99Us": p50});
            json!({"1": run, "64": run})
        };
        json!({"clients": [1, 64], "rows": [
            {"row": "fdatasync", "append4KiB": {"p50Us": 200.0}},
            {"row": "echo", "clients": clients(10_000.0, 100.0)},
            {"row": "submit", "clients": clients(3_000.0, 500.0)},
            {"row": "jobs", "clients": clients(jobs, 900.0)},
            {"row": "redis", "clients": clients(2_000.0, 900.0)},
        ]})
    }

    #[test]
    fn the_gate_looks_at_ratios() {
        gate(&report(1_500.0)).expect("0.75 of the peer");
        gate(&report(900.0)).expect_err("0.45 of the peer");
    }

    #[test]
    fn the_table_names_every_row() {
        let table = table(&report(1_500.0));
        for name in ["fdatasync", "echo", "submit", "jobs", "redis"] {
            assert!(table.contains(name), "{table}");
        }
    }
}
